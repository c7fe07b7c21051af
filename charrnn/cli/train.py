"""charrnn train: starts or resumes a run."""

from __future__ import annotations

import dataclasses
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
from charrnn.cli.parameters import with_options
from charrnn.cli.signals import exit_interrupted, interrupting, postpone_saves
from charrnn.cli.terminal import print_json
from charrnn.errors import UsageError
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions, absolute_paths, check_exclusive
from charrnn.system import shell_quote

if TYPE_CHECKING:
    from charrnn.runs.directory import Run
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


@with_options(ModelOptions, DataOptions, TrainingOptions)
def train(
    corpus: CorpusArgument = None,
    run: RunDirectory = None,
    resume: Resume = None,
    resume_or_start: ResumeOrStart = False,
    init_from: InitFrom = None,
    config: ConfigFile = None,  # read by its callback
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
        with reading_bar(quiet=quiet):
            if resume_or_start and run is not None and Run(run).config.exists():
                trainer = _resume_same(run, corpus, given)
            else:
                trainer = _start(corpus, given, run, init_from) if resume is None else _resume(resume, corpus, given)
    result: dict[str, Any] | None = None
    try:
        with interrupting(trainer), TrainingDisplay(trainer, quiet=quiet) as display:
            for event in trainer.run():
                result = display.show(event) or result
    finally:  # also if the run diverged
        if json_output and result is not None:
            print_json(result)
    if trainer.signal is not None and result is not None and result["status"] == "interrupted":
        path = shell_quote(str(trainer.run_directory.path))
        exit_interrupted(trainer.signal, f"charrnn train --resume {path}")


def _start(corpus: list[str] | None, options: dict[str, Any], run: Path | None, init_from: Path | None) -> Trainer:
    """Creates a run and returns its trainer."""
    from charrnn.tasks.registry import load_model
    from charrnn.training.defaults import TASK_DEFAULTED
    from charrnn.training.start import new_run

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE")
    check_exclusive(options | {"init_from": init_from})
    config = RunConfig.from_options(corpus, options)
    source = load_model(init_from).checkpoint if init_from else None
    return new_run(run, config, source, unset=[name for name in TASK_DEFAULTED if name not in options])


def _resume_same(path: Path, corpus: list[str] | None, options: dict[str, Any]) -> Trainer:
    """The trainer that continues the run of an earlier command with --resume-or-start and the same options."""
    from charrnn.runs.directory import Run
    from charrnn.training.start import RESUMABLE

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE --run DIR --resume-or-start")
    run = Run(path)
    saved = run.read_config().to_options()
    given = RunConfig.from_options(corpus, options).to_options()
    for name in options:
        if name not in RESUMABLE and saved.get(name) != given.get(name):
            values = f"{saved.get(name, 'not set')} in this run, not {given.get(name, 'not set')}"
            problem = f"{path}: {flag(name)} is {values}"
            raise UsageError(problem, "give another --run, or the options with which this run was started")
    changes = {name: value for name, value in options.items() if name in RESUMABLE}
    return _resumed(run, corpus, changes)


def _resume(path: Path, corpus: list[str] | None, options: dict[str, Any]) -> Trainer:
    """The trainer that resumes an existing run."""
    from charrnn.runs.directory import Run, find_run
    from charrnn.training.start import BUDGETS, RESUMABLE

    for name in options:
        if name not in RESUMABLE:
            raise UsageError(f"{flag(name)} cannot be changed with --resume", "to start a new run, see --init-from")
    budgets = [name for name in BUDGETS if name in options]
    trainer = _resumed(Run(find_run(path)), corpus, options)
    if trainer.is_spent and budgets:
        given = ", ".join(f"{flag(name)} {options[name]:g}" for name in budgets)
        done = f"{trainer.state.step:,} steps and {trainer.state.seconds / 60:.1f} minutes"
        raise UsageError(f"{given}: the run has already used {done}", "give a larger budget")
    return trainer


def _resumed(run: Run, corpus: list[str] | None, changes: dict[str, Any]) -> Trainer:
    """The trainer that continues a run with some options changed. A budget replaces all budgets of the run."""
    from charrnn.training.start import BUDGETS, resumed_run

    config = run.read_config()
    if any(name in changes for name in BUDGETS):
        changes = dict.fromkeys(BUDGETS) | changes
    config = dataclasses.replace(config, train=TrainingOptions.from_dict(config.train.to_dict() | changes))
    if corpus:
        config = dataclasses.replace(config, corpus=absolute_paths(corpus))
    return resumed_run(run, config)
