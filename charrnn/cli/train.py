"""charrnn train."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import WHERE, ConfigFile, Json, Quiet, given, with_settings
from charrnn.config import ModelConfig, RunConfig, TextConfig, TrainConfig
from charrnn.errors import CharRNNError, UsageError

if TYPE_CHECKING:
    from charrnn.trainer import Trainer

BUDGETS = ("max_epochs", "max_steps", "max_minutes")
WITH_RESUME = (*BUDGETS, "patience", "workers", "eval_every", "save_every", "sample_every")

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


@with_settings(ModelConfig, TextConfig, TrainConfig)
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
    """
    # The workers are the parallelism; the BLAS's own threads would only cost memory. Before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.cli.progress import Display

    options = given(settings)
    if resume is not None:
        trainer = _resume(resume, corpus, options, run=run, init_from=init_from)
    else:
        trainer = _start(corpus, options, run=run, init_from=init_from)
    display = Display(trainer, quiet=quiet)
    # A signal that is ignored (nohup, a background job) stays so.
    signals = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    for number in signals:
        signal.signal(number, lambda caught, _: _interrupt(trainer, caught))
    result: dict[str, Any] = {}
    try:
        with display:
            for event in trainer.run():
                result = display.show(event) or result
    except CharRNNError as error:
        if json_output and trainer.run_directory.result.exists() and error.exit_code == 5:
            typer.echo(json.dumps(json.loads(trainer.run_directory.result.read_text())))
        raise
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
    if json_output:
        typer.echo(json.dumps(result))
    if trainer.signal is not None:
        where = shlex.quote(str(trainer.run_directory.path))
        print(f"interrupted and saved; go on with: charrnn train --resume {where}", file=sys.stderr)
        raise typer.Exit(128 + trainer.signal)


def _interrupt(trainer: Trainer, number: int) -> None:
    """The first signal ends the run after the current step; a second one acts as if nothing were here."""
    trainer.interrupt(number)
    signal.signal(number, signal.SIG_DFL)


def _start(corpus: list[str] | None, options: dict[str, Any], *, run: Path | None, init_from: Path | None) -> Trainer:
    from charrnn import load
    from charrnn.prepare import new_run

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE")
    if init_from is not None:
        fixed = [name for name in ("cell", "hidden_size", "num_layers", "embedding_size") if name in options]
        if fixed:
            raise UsageError(f"--{fixed[0].replace('_', '-')} and --init-from exclude each other", "the model is given")
    config = RunConfig.from_options(corpus, options)
    start = load(init_from).checkpoint if init_from else None
    return new_run(run, config, start, fit_size="hidden_size" not in options)


def _resume(
    path: Path, corpus: list[str] | None, options: dict[str, Any], *, run: Path | None, init_from: Path | None
) -> Trainer:
    from charrnn.prepare import resumed_run
    from charrnn.runs import Run

    for name, value in (("--run", run), ("--init-from", init_from)):
        if value is not None:
            raise UsageError(f"--resume and {name} exclude each other")
    directory = Run(path)
    config = directory.read_config()
    refused = [name for name in options if name not in WITH_RESUME]
    if refused:
        name = refused[0].replace("_", "-")
        raise UsageError(f"--{name} cannot be changed with --resume", "it would be another run; see --init-from")
    changes = dict(options)
    if any(name in options for name in BUDGETS):
        changes = dict.fromkeys(BUDGETS) | changes
    train = TrainConfig.from_dict(config.train.to_dict() | changes)
    config = dataclasses.replace(config, train=train)
    if corpus:
        config = dataclasses.replace(config, corpus=tuple(os.path.abspath(p) if p != "-" else p for p in corpus))
    return resumed_run(directory, config)
