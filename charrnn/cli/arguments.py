"""Command-line options made from the settings classes, and the options that several commands share."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import shlex
import sys
import tomllib
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from charrnn.errors import RunError, UsageError
from charrnn.fields import CheckedFields, flag
from charrnn.options import (
    ALIASES,
    DataOptions,
    ModelOptions,
    RunConfig,
    SamplingOptions,
    TrainingOptions,
    check_exclusive,
)

if typing.TYPE_CHECKING:
    from charrnn.tasks.registry import Model

Command = TypeVar("Command", bound=Callable[..., Any])

PANELS = {
    ModelOptions: "Model",
    DataOptions: "Text",
    TrainingOptions: "Training",
    SamplingOptions: "Choice of characters",
}
OUTPUT, WHERE = "Output", "Where"
OUTPUT_SETTINGS = ("eval_every", "save_every", "sample_every")


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the options of a TOML file the command's defaults, so that the command line overrules them."""
    from charrnn.runs.files import read_regular

    if path is None:
        return None
    try:
        values = tomllib.loads(read_regular(path, 1 << 20).decode())
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path}: {error}") from None
    options = {name.lstrip("-").replace("-", "_"): param for param in context.command.params for name in param.opts}
    for key, value in values.items():
        if key not in options:
            raise UsageError(f"--config {path}: unknown setting {key!r}")
        is_flag = bool(getattr(options[key], "is_flag", False))
        if isinstance(value, bool) and not is_flag:
            raise UsageError(f"--config {path}: {key} = {value!r}: takes a value, not true or false")
        if is_flag and not isinstance(value, bool):
            raise UsageError(f"--config {path}: {key} = {value!r}: must be true or false")
        if isinstance(value, float) and options[key].type.name.startswith("int"):
            raise UsageError(f"--config {path}: {key} = {value!r}: must be a whole number")
        if isinstance(value, str) and (options[key].nargs == -1 or getattr(options[key], "multiple", False)):
            values[key] = [value]
    names = [str(options[key].name) for key in values]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--config {path}: {twice[0]} stands there twice, under two names")
    context.default_map = dict(zip(names, values.values(), strict=True))
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file of options (names with _), corpus too; the command line wins.",
        callback=_read_config,
        is_eager=True,
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.", rich_help_panel=OUTPUT)]
RunOption = Annotated[Path | None, typer.Option("--run", help="The run to use.", show_default="the newest")]
RunArgument = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="The run, or its name under runs/.", show_default="the newest"),
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="A checkpoint file to use instead of a run.", show_default=False)
]
CheckpointOption = Annotated[
    str | None, typer.Option(help="Which weights of the run: best or last.", show_default="best")
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu (NumPy), torch (PyTorch on the CPU), cuda, cuda:N or mps: where texts and records are read."
    ),
]
OnUnknown = Annotated[str, typer.Option(help="What to do with characters that the model does not know: error or skip.")]


def with_settings(*classes: type[CheckedFields], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Gives a command, in the place of its **settings, an option for each field of the classes but those `without`.

    An option that was not given arrives as None, so that a command can tell.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        fields = [(cls, spec) for cls in classes for spec in dataclasses.fields(cls)]  # type: ignore[arg-type]
        parameters += [_option(cls, spec) for cls, spec in fields if spec.name not in without]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _option(cls: type[CheckedFields], spec: dataclasses.Field[Any]) -> inspect.Parameter:
    kind = typing.get_type_hints(cls)[spec.name]
    base = next(t for t in (typing.get_args(kind) or (kind,)) if t is not type(None))
    default = spec.default if spec.metadata["shown"] is None else spec.metadata["shown"]
    option = typer.Option(
        flag(spec.name),
        *(f"--{alias}" for alias, name in ALIASES.items() if name == spec.name),
        help=spec.metadata["help"],
        show_default=str(default) if default is not None and base is not bool else False,
        rich_help_panel=OUTPUT if spec.name in OUTPUT_SETTINGS else PANELS[cls],
    )
    return inspect.Parameter(
        spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[base | None, option]
    )


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given, on the command line or in the --config file."""
    return {name: value for name, value in settings.items() if value is not None}


@contextlib.contextmanager
def extra(name: str, library: str) -> Iterator[None]:
    """For the imports of what an extra installs."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise UsageError(
            f"{library}, of the extra {name}, is not installed",
            f"{shlex.quote(sys.executable)} -m pip install {library}",
        ) from None


def train_command(corpus: Sequence[str], options: dict[str, Any]) -> str:
    """The command line that trains with these options."""
    words = ["charrnn", "train", *corpus]
    for name, value in options.items():
        if value is True:
            words.append(flag(name))
        elif value is not False:
            words += [flag(name), str(value)]
    return shlex.join(words)


def one_of(option: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise UsageError(f"{option} {value}: not one of {', '.join(choices)}")


def on_device(model: Model, device: str) -> Model:
    """The model, reading on what --device names."""
    if device != "cpu":
        with extra("torch", "torch"):
            from charrnn.engines.select import scoring_network

            model.new_network = scoring_network(device)
    return model


def load_model(
    run: Path | None, model: Path | None, checkpoint: str | None, fits: Callable[[RunConfig], bool] | None = None
) -> Model:
    """The model that --run, --model and --checkpoint name, or of the newest run that fits."""
    from charrnn import load
    from charrnn.runs.directory import Run, find_run, newest_run

    check_exclusive({"run": run, "model": model})
    if model is not None:
        if checkpoint is not None:
            raise UsageError("--checkpoint goes with --run: a --model is one checkpoint")
        if model.is_dir():
            raise RunError(f"{model}: is a directory", "name a run with --run")
        return load(model)
    one_of("--checkpoint", checkpoint or "best", "best", "last")
    path = newest_run(fits).path if run is None else find_run(run)
    Run(path).check_there()
    return load(path, checkpoint=checkpoint or "best")


def refuse_run(file: str) -> None:
    """Raises UsageError where a run's name stands in the place of a file."""
    from charrnn.runs.directory import find_run

    if not os.path.exists(file) and find_run(Path(file)).is_dir():
        raise UsageError(f"{file}: is a run, and a file is asked for here", f"--run {file}")


def load_language_model(run: Path | None, model: Path | None, checkpoint: str | None) -> Any:
    """The same, for what only a language model can do: TextModel, or with features Captioner."""
    loaded = load_model(run, model, checkpoint, lambda config: config.data.task == "lm")
    if loaded.checkpoint.task["name"] != "lm":
        what = f"{loaded.checkpoint.path}: a model of --task {loaded.checkpoint.task['name']}, not of a text"
        raise UsageError(what, "for such there are charrnn predict and charrnn eval")
    return loaded
