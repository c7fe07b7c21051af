"""charrnn sweep: trains many runs on one corpus and finds the best options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from charrnn.cli.arguments import ConfigFile, Json, Quiet, given_options, needs_extra, train_command
from charrnn.cli.parameters import with_options
from charrnn.cli.signals import exit_interrupted, interrupting, postpone_saves
from charrnn.cli.terminal import Bar, format_value, print_json, print_table
from charrnn.errors import DivergedError, RunError, UsageError, format_count
from charrnn.options import DataOptions, ModelOptions, TrainingOptions
from charrnn.sweep.events import TrialEnded, TrialEvaluated
from charrnn.system import shell_join

if TYPE_CHECKING:
    from charrnn.sweep.plan import Plan
    from charrnn.sweep.runner import SweepRunner
    from charrnn.sweep.space import Dimension

DEFAULT_TRIALS = 20  # of a search
MAX_TABLE_ROWS = 10
PANEL = "Sweep"

Corpus = Annotated[list[str] | None, typer.Argument(help="Text files, as for train.", show_default=False)]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=A,B,...: train every combination of these values. Repeatable.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Search = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        help="NAME=log:LOW:HIGH, int:LOW:HIGH, float:LOW:HIGH or choice:A,B,...: search these values with TPE. "
        "Repeatable.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Total number of trials in the study, including those of other commands.",
        show_default=f"{DEFAULT_TRIALS}, or the whole grid",
        rich_help_panel=PANEL,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1, max=1024, help="Number of trials trained at the same time. They share the cores.", rich_help_panel=PANEL
    ),
]
StudyName = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study.", show_default="name of the corpus", rich_help_panel=PANEL),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where the study is saved: a journal file, or the URL of a database.",
        show_default="runs/<study>/study.journal",
        rich_help_panel=PANEL,
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="Stop a trial early if its validation loss is worse than the median. See --eval-every.",
        rich_help_panel=PANEL,
    ),
]
Repeats = Annotated[
    int,
    typer.Option(
        min=1,
        max=1000,
        help="Number of runs of each trial, with different seeds. Trials are compared by their median loss.",
        rich_help_panel=PANEL,
    ),
]


@with_options(ModelOptions, DataOptions, TrainingOptions)
def sweep(
    corpus: Corpus = None,
    grid: Grid = None,
    search: Search = None,
    trials: Trials = None,
    jobs: Jobs = 1,
    repeats: Repeats = 1,
    prune: Prune = False,
    study: StudyName = None,
    storage: Storage = None,
    config: ConfigFile = None,  # read by its callback
    json_output: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Search for good options by training many runs on one corpus.

    [bold]Examples[/bold]

      charrnn sweep corpus.txt --grid hidden-size=64,128,256 --grid cell=lstm,gru --max-minutes 1
      charrnn sweep corpus.txt --search lr=log:1e-4:1e-2 --search dropout=float:0:0.5 --trials 40 --jobs 2 --prune
      charrnn sweep corpus.txt --search lr=log:1e-4:1e-2 --storage /shared/study.journal

    Each trial is a run, saved as runs/<study>/<number>. Trials are compared by their validation loss.
    Options of train that are given directly have the same value in all trials. The hidden size is 256 unless it is
    given or varied. To continue a sweep that was interrupted or killed, run the same command again.
    --init-from, --run and --resume are options of train only.
    If the same command is started several times, the processes share the work. They can run on several machines if
    they use the same --storage.

    --json prints an object with the fields study, trials (the best one first), best (a trial), importances (the share
    of the variance of the losses that each option explains) and command (which trains the best model again).
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    postpone_saves()
    corpus = corpus or []
    if not corpus:
        raise UsageError("no corpus to train on", "charrnn sweep FILE --search NAME=...")
    from charrnn.cli.progress import reading_bar
    from charrnn.runs.directory import runs_root
    from charrnn.sweep.plan import Plan
    from charrnn.sweep.space import parse_space
    from charrnn.training.start import corpus_stem

    options = given_options(options)
    space = parse_space(grid or [], search or [], options)
    plan = Plan(
        corpus=tuple(corpus),
        options=options,
        space=space,
        is_grid=bool(grid),
        study=_check_study_name(study if study is not None else corpus_stem(corpus[0])),
        trials=_trial_count(trials, space, is_grid=bool(grid)),
        jobs=jobs,
        prune=prune,
        repeats=repeats,
    )
    with needs_extra("sweep", "optuna"):
        from charrnn.sweep.runner import SweepRunner
    with needs_extra("torch", "torch"), reading_bar(quiet=quiet):
        runner = SweepRunner(plan, runs_root() / plan.study, storage)
    with interrupting(runner), SweepDisplay(runner, quiet=quiet) as display:
        for event in runner.run():
            display.show(event)
    report = _report(runner)
    if json_output:
        print_json(report)
    elif runner.signal is None:
        _print_report(report, plan)
    if runner.signal is not None:
        from charrnn.sweep.storage import hide_passwords

        exit_interrupted(runner.signal, shell_join(["charrnn", *map(hide_passwords, sys.argv[1:])]))
    if report["best"] is None:
        _raise_reason(report["trials"])


def _check_study_name(name: str) -> str:
    if Path(name).name != name or name[:1] in ("", "."):
        raise UsageError(f"--study {name}: not a valid name for a directory")
    return name


def _trial_count(trials: int | None, space: tuple[Dimension, ...], *, is_grid: bool) -> int:
    """The number of trials: the given number, or the default. Raises UsageError if the space has fewer points."""
    from charrnn.sweep.space import space_size

    points = space_size(space)
    if trials is not None and trials > points:
        raise UsageError(f"--trials {trials}: must be at most {points:g}, the number of combinations")
    if trials is not None:
        return trials
    return int(points if is_grid else min(points, DEFAULT_TRIALS))


def _report(runner: SweepRunner) -> dict[str, Any]:
    """The result of the sweep, as `--json` prints it."""
    plan = runner.plan
    trials = runner.trial_rows()
    best = next((row for row in trials if row["state"] == "completed"), None)
    command = None
    if best is not None:
        # If these options were not given, `charrnn train` could choose other values than those of the trial.
        defaults = {"hidden_size": ModelOptions.hidden_size, "seed": plan.seed, "workers": best["workers"]}
        command = train_command(plan.corpus, defaults | plan.options | best["params"])
    return {
        "study": plan.study,
        "trials": trials,
        "best": best,
        "importances": runner.importances(),
        "command": command,
    }


def _print_report(report: dict[str, Any], plan: Plan) -> None:
    """Prints the best trials, the importance of the options, and the command that trains the best model again."""
    from rich.markup import escape
    from rich.table import Table

    names = [dimension.name for dimension in plan.space]
    states = [row["state"] for row in report["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    loss_header = "val loss" if plan.repeats == 1 else f"val loss, median of {plan.repeats}"
    table = Table(
        "trial",
        loss_header,
        *(name.replace("_", " ") for name in names),
        "run",
        title=escape(format_value(f"study {report['study']}: {counts}")),
    )
    completed = [row for row in report["trials"] if row["state"] == "completed"]
    for row in completed[:MAX_TABLE_ROWS]:
        values = [row["number"], row["value"], *(row["params"][name] for name in names), row["run"]]
        table.add_row(*(escape(format_value(value)) for value in values))
    print_table(table)
    if report["importances"]:
        shares = (f"{name.replace('_', ' ')} {share:.0%}" for name, share in report["importances"].items())
        print("share of the variance of the losses that each option explains: " + ", ".join(shares))
    if report["command"]:
        print(f"to train the best model again: {format_value(report['command'])}")


def _raise_reason(trials: list[dict[str, Any]]) -> None:
    """Raises an error for a sweep without a completed trial, unless other processes are still training its trials."""
    if trials and all(row["state"] == "diverged" for row in trials):
        raise DivergedError("every trial diverged", "try lower learning rates")
    if not any(row["state"] == "running" for row in trials):
        reasons = [row["error"] for row in trials if "error" in row]
        raise RunError("no trial was completed", reasons[0] if reasons else "")


class SweepDisplay:
    """Prints a line for each trial that ends. On a terminal, a progress bar of the sweep is below these lines."""

    def __init__(self, runner: SweepRunner, *, quiet: bool) -> None:
        self.runner = runner
        self.bar = Bar(quiet=quiet)
        self.progress: dict[int, float] = {}  # progress of each running trial

    def __enter__(self) -> Self:
        plan = self.runner.plan
        jobs = f", {plan.jobs} at the same time" if plan.jobs > 1 else ""
        repeats = f", {plan.repeats} runs each" if plan.repeats > 1 else ""
        self.bar.print_wrapped(f"study: {self.runner.folder}, {format_count(plan.trials, 'trial')}{jobs}{repeats}")
        self.bar.open(total=plan.trials)
        self._update_bar()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: TrialEvaluated | TrialEnded) -> None:
        if isinstance(event, TrialEvaluated):
            self.progress[event.number] = event.progress
            self._update_bar()
        else:
            self.progress.pop(event.number, None)
            self._update_bar()
            self.bar.print(self._describe(event))

    def _describe(self, event: TrialEnded) -> str:
        trials = self.runner.trial_rows()
        row = next(row for row in trials if row["number"] == event.number)
        loss = "" if row["value"] is None else f" {format_value(row['value'])}"
        values = ", ".join(f"{name} {format_value(value)}" for name, value in row["params"].items())
        error = f": {row['error']}" if "error" in row else ""
        return f"trial {event.number}: {event.state}{loss}  {values}{error}  ({self._summarize(trials)})"

    def _summarize(self, trials: list[dict[str, Any]]) -> str:
        best = next((f", best {format_value(row['value'])}" for row in trials if row["state"] == "completed"), "")
        return f"{_count_ended(trials)} of {self.runner.plan.trials}{best}"

    def _update_bar(self) -> None:
        if self.bar.is_drawn:
            trials = self.runner.trial_rows()
            self.bar.move(_count_ended(trials) + sum(self.progress.values()), self._summarize(trials))


def _count_ended(trials: list[dict[str, Any]]) -> int:
    return sum(row["state"] != "running" for row in trials)
