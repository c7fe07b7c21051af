"""charrnn train: a run, started or resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import WHERE, ConfigFile, Json, Quiet, extra, given, with_settings
from charrnn.cli.signals import interrupting, leave_interrupted
from charrnn.errors import UsageError
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions, check_exclusive

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

CorpusArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Text files, .gz too, joined in this order; - is standard input.", show_default=False),
]
RunDirectory = Annotated[
    Path | None,
    typer.Option("--run", help="Directory for the run.", show_default="runs/<corpus>-<nnn>", rich_help_panel=WHERE),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Go on with this run, exactly where it was.", show_default=False, rich_help_panel=WHERE),
]
InitFrom = Annotated[
    Path | None,
    typer.Option(help="Start from the weights of this run or checkpoint.", show_default=False, rich_help_panel=WHERE),
]


@with_settings(ModelOptions, DataOptions, TrainingOptions)
def train(
    corpus: CorpusArgument = None,
    run: RunDirectory = None,
    resume: Resume = None,
    init_from: InitFrom = None,
    config: ConfigFile = None,  # its options arrive as if they had been given
    json_output: Json = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a model on text files.

    [bold]Examples[/bold]

      charrnn train corpus.txt
      charrnn train corpus.txt --max-minutes 30 --cell gru --hidden-size 512
      charrnn train names.txt --lines --max-epochs 20
      charrnn train --resume runs/corpus-001 --max-minutes 60
      zcat *.gz | charrnn train - --json --quiet
      charrnn train corpus.txt --device cuda
      torchrun --nproc-per-node 8 -m -- charrnn train corpus.txt --device cuda
    """
    # The workers are the parallelism; the BLAS's own threads would only cost memory. Before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.cli.progress import TrainingDisplay
    from charrnn.engines.processes import of_torchrun

    check_exclusive(settings | {"run": run, "resume": resume, "init_from": init_from})
    options = given(settings)
    with extra("torch", "torch"):
        if of_torchrun("RANK", 0) > 0:
            from charrnn.engines.torch.team import follow

            follow()
            return
        trainer = _start(corpus, options, run, init_from) if resume is None else _resumed(resume, corpus, options)
    result: dict[str, Any] | None = None
    try:
        with interrupting(trainer), TrainingDisplay(trainer, quiet=quiet) as display:
            for event in trainer.run():
                result = display.show(event) or result
    finally:  # a run that diverged has its result too
        if json_output and result is not None:
            typer.echo(json.dumps(result))
    if trainer.signal is not None:
        where = shlex.quote(str(trainer.run_directory.path))
        leave_interrupted(trainer.signal, f"charrnn train --resume {where}")


def _start(corpus: list[str] | None, options: dict[str, Any], run: Path | None, init_from: Path | None) -> Trainer:
    from charrnn import load
    from charrnn.training.defaults import TASK_DEFAULTED
    from charrnn.training.start import new_run

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE")
    config = RunConfig.from_options(corpus, options)
    start = load(init_from).checkpoint if init_from else None
    return new_run(run, config, start, unset=[name for name in TASK_DEFAULTED if name not in options])


def _resumed(path: Path, corpus: list[str] | None, options: dict[str, Any]) -> Trainer:
    from charrnn.runs.directory import Run, find_run
    from charrnn.training.start import BUDGETS, WITH_RESUME, resumed_run

    directory = Run(find_run(path))
    config = directory.read_config()
    refused = [name for name in options if name not in WITH_RESUME]
    if refused:
        what = f"{flag(refused[0])} cannot be changed with --resume"
        raise UsageError(what, "it would be another run; see --init-from")
    changes = dict(options)
    if any(name in options for name in BUDGETS):
        changes = dict.fromkeys(BUDGETS) | changes
    train = TrainingOptions.from_dict(config.train.to_dict() | changes)
    config = dataclasses.replace(config, train=train)
    if corpus:
        config = dataclasses.replace(config, corpus=tuple(os.path.abspath(p) if p != "-" else p for p in corpus))
    trainer = resumed_run(directory, config)
    if trainer.spent and any(name in options for name in BUDGETS):
        done = f"{trainer.standing.step:,} steps and {trainer.standing.seconds / 60:.1f} minutes are done"
        asked = ", ".join(f"{flag(name)} {options[name]:g}" for name in BUDGETS if name in options)
        raise UsageError(f"{asked}: {done} already", "a larger budget goes on from there")
    return trainer
