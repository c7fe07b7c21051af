"""Arguments and options that several commands share, and functions that check and use them."""

from __future__ import annotations

import contextlib
import os
import sys
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.parameters import OUTPUT_PANEL, read_config
from charrnn.cli.terminal import print_stderr
from charrnn.errors import RunError, UsageError
from charrnn.errors import needs_extra as needs_extra  # for the commands
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, RunConfig, check_exclusive
from charrnn.system import shell_join

if typing.TYPE_CHECKING:
    from charrnn.tasks.base import TrainedModel
    from charrnn.tasks.language.model import TextModel

RUN_PANEL = "Run"
EXCLUSIVE = (  # pairs of options of one command that cannot be used together, and the reason if it is not obvious
    ("resume", "run", ""),
    ("resume", "init_from", ""),
    ("resume", "resume_or_start", ""),
    ("run", "model", ""),
    ("copies", "model", "the training text is known only for a run"),
    ("prime", "prime_file", ""),
    ("per_line", "per_char", ""),
    ("top", "window", ""),
    ("unit", "find", ""),
    ("columns", "group_by", ""),
    ("json", "csv", ""),
    ("json", "toml", ""),
)


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file of options; the command line overrides it.",
        callback=read_config,
        is_eager=True,
        show_default=False,
        rich_help_panel=RUN_PANEL,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.", rich_help_panel=OUTPUT_PANEL)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Do not show progress and notices.", rich_help_panel=OUTPUT_PANEL)
]


def complete_run(incomplete: str) -> list[str]:
    """The runs whose names or paths begin with this text, for the completion of a shell."""
    from charrnn.runs.directory import runs_root

    folder, name = os.path.split(incomplete)
    parents = [Path(folder)] if folder else [Path(), runs_root()]
    names = {path.parent.name for parent in parents for path in parent.glob("*/config.json")}
    return [os.path.join(folder, match) for match in sorted(names) if match.startswith(name)]


RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="The run to use.", show_default="the newest", autocompletion=complete_run),
]
Runs = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        help="The run to use. Repeatable: the probabilities of several runs are averaged.",
        show_default="the newest",
        autocompletion=complete_run,
    ),
]
RunArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN", help="The run, or its name under runs/.", show_default="the newest", autocompletion=complete_run
    ),
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="A checkpoint file to use instead of a run.", show_default=False)
]
CheckpointOption = Annotated[
    str | None, typer.Option(help="Which checkpoint of the run to use: best or last.", show_default="best")
]
Device = Annotated[
    str,
    typer.Option(help="Where to compute: cpu (NumPy), torch (PyTorch on the CPU), cuda, cuda:N or mps."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of the text and the output in a TSV or CSV file of records, by number or name, such as 3,1.",
        show_default="the first two",
    ),
]
Header = Annotated[bool, typer.Option("--header", help="Records: the first line contains the names of the columns.")]
OnUnknown = Annotated[
    str, typer.Option(help="What to do with characters that are not in the vocabulary: error or skip.")
]


def check_pairs(**options: Any) -> None:
    """Raises UsageError if two options were given that cannot be used together; see EXCLUSIVE."""
    check_exclusive(options, EXCLUSIVE)


def check_choice(option: str, value: str, *choices: str) -> None:
    """Raises UsageError if the value is not one of the choices."""
    if value not in choices:
        raise UsageError(f"{option} {value}: not one of {', '.join(choices)}")


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, on the command line or in a TOML file."""
    return {name: value for name, value in options.items() if value is not None}


ON_BY_DEFAULT = [
    name
    for cls in (ModelOptions, DataOptions)
    for name, spec in cls.__dataclass_fields__.items()
    if spec.default is True
]


def train_command(corpus: Sequence[str], options: dict[str, Any]) -> str:
    """The command line that trains with these options."""
    words = ["charrnn", "train", *corpus]
    for name, value in options.items():
        if value is True:
            words.append(flag(name))
        elif value is False:
            if name in ON_BY_DEFAULT:
                words.append(flag(f"no_{name}"))
        else:
            for element in value if isinstance(value, list) else [value]:
                words += [flag(name), str(element)]
    return shell_join(words)


def load_model(
    runs: Sequence[Path],
    model: Path | None,
    checkpoint: str | None,
    *,
    methods: Collection[str] = (),
    device: str = "cpu",
) -> TrainedModel:
    """Loads the model that --run or --model names, or the model of the newest suitable run if neither is given.

    If stderr is a terminal, a line says which checkpoint is used.

    runs: several runs are combined into an ensemble.
    methods: the newest run is suitable if its model has at least one of these methods, such as `sample_many`. A run or
    model that the user names is not checked.
    """
    from charrnn.engines.select import new_backend
    from charrnn.runs.directory import Run, find_run, newest_run
    from charrnn.tasks import registry

    def has_method(config: RunConfig) -> bool:
        model_class = registry.model_class(config.data.task)
        return not methods or any(hasattr(model_class, method) for method in methods)

    check_pairs(run=runs or None, model=model)
    if model is not None:
        if checkpoint is not None:
            raise UsageError("--checkpoint needs --run: --model names a checkpoint file")
        if model.is_dir():
            raise RunError(f"{model}: is a directory", "to use a run, give --run")
    check_choice("--checkpoint", checkpoint or "best", "best", "last")
    with needs_extra("torch", "torch"):
        backend = new_backend(device)
    paths = [model] if model is not None else [find_run(run) for run in runs] or [newest_run(has_method).path]
    if model is None:
        for path in paths:
            Run(path).check_there()
    loaded = registry.load_ensemble(paths, checkpoint=checkpoint or "best", backend=backend)
    if sys.stderr.isatty():
        names = [str(loaded.checkpoint.path)] if len(paths) == 1 else map(str, paths)
        print_stderr(f"model: {', '.join(names)}")
    return loaded


def model_option(model: TrainedModel) -> str:
    """The option that selects a loaded model: `--run RUN`, or `--model FILE` for a file that is not in a run."""
    from charrnn.runs.directory import Run

    path = model.checkpoint.path
    run = Run(path.parent)
    return shell_join(["--run", str(run.path)] if run.config.exists() else ["--model", str(path)])


def load_text_model(run: Path | None, model: Path | None, checkpoint: str | None) -> TextModel:
    """Loads a model that can continue any text, like `load_model`. Raises UsageError for other models."""
    runs = [] if run is None else [run]
    return as_text_model(load_model(runs, model, checkpoint, methods=["sample_many"]))


def as_text_model(model: TrainedModel, user: str = "this command") -> TextModel:
    """Returns the model as a TextModel. Raises UsageError if the model cannot continue any text.

    user: the command or option that requires a TextModel, for the message.
    """
    from charrnn.tasks.base import GeneratesText

    if not isinstance(model, GeneratesText):
        raise UsageError(f"{model.checkpoint.path}: trained with --task {model.task}", f"{user} requires --task lm")
    return typing.cast("TextModel", model)


def refuse_to_overwrite(output: Path, runs: Sequence[Path]) -> None:
    """Raises UsageError if a file to write is a file of one of the runs, or a file that one was trained on."""
    from charrnn.runs.directory import Run

    for run in map(Run, runs):
        used = [run.config, run.metrics, run.best, run.last, run.result]
        with contextlib.suppress(RunError):  # a checkpoint that is not in a run directory
            config = run.read_config()
            used += map(Path, filter(None, [*config.corpus, config.data.val_file, config.data.features]))
        for file in used:
            if os.path.realpath(file) == os.path.realpath(output):
                raise UsageError(f"{output}: the run {run.path} uses this file", "choose another name for the output")


def refuse_run_as_file(file: str) -> None:
    """Raises UsageError if the name of a run is given where a file is needed."""
    from charrnn.runs.directory import find_run

    if not os.path.exists(file) and find_run(Path(file)).is_dir():
        raise UsageError(f"{file}: is a run, not a file", f"to use the run, give --run {file}")
