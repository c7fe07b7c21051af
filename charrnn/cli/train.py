"""charrnn train: starts or resumes a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    RUN_PANEL,
    ConfigFile,
    Json,
    Quiet,
    check_pairs,
    complete_run,
    given_options,
    needs_extra,
)
from charrnn.cli.parameters import OUTPUT_PANEL, with_options
from charrnn.cli.signals import exit_interrupted, interrupting, postpone_saves
from charrnn.cli.terminal import print_json
from charrnn.errors import UsageError
from charrnn.options import DataOptions, ModelOptions, TrainingOptions
from charrnn.system import shell_quote

if TYPE_CHECKING:
    from charrnn.training.observers import Observer
    from charrnn.training.trainer import Trainer

CorpusArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, optionally .gz, or directories, read in this order; - is standard input.", show_default=False
    ),
]
RunDirectory = Annotated[
    Path | None,
    typer.Option("--run", help="Directory of the run.", show_default="runs/<corpus>-<nnn>", rich_help_panel=RUN_PANEL),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Continue this run exactly where it stopped.",
        show_default=False,
        autocompletion=complete_run,
        rich_help_panel=RUN_PANEL,
    ),
]
ResumeOrStart = Annotated[
    bool,
    typer.Option(
        "--resume-or-start",
        help="Continue the run that --run names if it exists; otherwise start it. For job queues.",
        rich_help_panel=RUN_PANEL,
    ),
]
InitFrom = Annotated[
    Path | None,
    typer.Option(
        help="Start from the weights and the vocabulary of this run or checkpoint.",
        show_default=False,
        autocompletion=complete_run,
        rich_help_panel=RUN_PANEL,
    ),
]


Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Show the progress in live.html in the run directory, a page that refreshes itself.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


Log = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        help="Log to tensorboard, wandb or mlflow (extra loggers). Repeatable.",
        show_default=False,
        rich_help_panel=OUTPUT_PANEL,
    ),
]


@with_options(ModelOptions, DataOptions, TrainingOptions)
def train(
    corpus: CorpusArgument = None,
    run: RunDirectory = None,
    resume: Resume = None,
    resume_or_start: ResumeOrStart = False,
    init_from: InitFrom = None,
    config: ConfigFile = None,  # read by its callback
    live: Live = False,
    log: Log = None,
    json_output: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Train a model.

    [bold]Examples[/bold]

      charrnn train corpus.txt
      charrnn train corpus.txt --max-minutes 30 --cell gru --hidden-size 512
      charrnn train names.txt --lines --max-epochs 20
      charrnn train --resume runs/corpus-001 --max-minutes 60
      charrnn train corpus.txt --run runs/job-7 --resume-or-start --max-steps 20000
      zcat *.gz | charrnn train - --json --quiet
      charrnn train corpus.txt --device cuda
      torchrun --nproc-per-node 8 -m -- charrnn train corpus.txt --device cuda

    The first of the budgets (--max-epochs, --max-steps, --max-minutes) that is reached ends the run. The learning rate
    schedule covers the whole budget. --resume without a budget finishes an interrupted run. With a larger budget it
    continues a run that has ended.

    Ctrl-C, and the signals TERM, HUP, USR1 and XCPU, save the run and end it with exit code 128 + number. USR2 saves it
    and training continues. A second Ctrl-C ends it at once, without saving.
    """
    # The workers use all cores, so BLAS threads would only use memory. This must be set before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.cli.progress import TrainingDisplay, reading_bar
    from charrnn.engines.processes import torchrun_variable
    from charrnn.runs.directory import Run
    from charrnn.training.observers import Observers
    from charrnn.training.start import resume_run, resume_same_run, start_run

    postpone_saves()
    check_pairs(run=run, resume=resume, init_from=init_from, resume_or_start=resume_or_start)
    if resume_or_start and run is None:
        raise UsageError("--resume-or-start needs --run", "the directory of the run to continue or to start")
    given = given_options(options)
    with needs_extra("torch", "torch"):
        if torchrun_variable("RANK", 0) > 0:
            from charrnn.engines.torch.engine import follow

            follow()
            return
        if log:
            from charrnn.training.loggers import check_trackers

            check_trackers(log)
        with reading_bar(quiet=quiet):
            if resume is not None:
                trainer = resume_run(resume, corpus or [], given)
            elif resume_or_start and run is not None and Run(run).config.exists():
                trainer = resume_same_run(run, corpus or [], given)
            else:
                trainer = start_run(corpus or [], given, run=run, init_from=init_from)
    result: dict[str, Any] | None = None
    try:
        with interrupting(trainer), TrainingDisplay(trainer, quiet=quiet) as display:
            observers = Observers(_observers(trainer, log or [], live=live), display.bar.print)
            if live:
                display.bar.print(f"live page: {trainer.run_directory.live.absolute().as_uri()}")
            observers.begin()
            for event in trainer.run():
                result = display.show(event) or result
                observers.show(event)
    finally:  # also if the run diverged
        if json_output and result is not None:
            print_json(result)
    if trainer.signal is not None and result is not None and result["status"] == "interrupted":
        path = shell_quote(str(trainer.run_directory.path))
        exit_interrupted(trainer.signal, f"charrnn train --resume {path}")


def _observers(trainer: Trainer, trackers: list[str], *, live: bool) -> dict[str, Observer]:
    """The observers that were asked for. They get a sample at each evaluation."""
    observers: dict[str, Observer] = {}
    if trackers:
        from charrnn.training.loggers import make_loggers  # not needed without --log

        observers |= make_loggers(trackers, trainer)
    if live:
        from charrnn.web.report import LivePage

        observers["--live"] = LivePage(trainer)
    trainer.samples_at_evaluations = bool(observers)
    return observers
