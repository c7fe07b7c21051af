"""charrnn sweep: many runs, the best options."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from charrnn.cli.arguments import ConfigFile, Json, Quiet, extra, given, train_command, with_settings
from charrnn.cli.signals import interrupting, leave_interrupted
from charrnn.cli.terminal import Bar, make_console, show_value
from charrnn.errors import DivergedError, RunError, UsageError
from charrnn.options import DataOptions, ModelOptions, TrainingOptions
from charrnn.sweep.events import TrialEnded, TrialEvaluated

if TYPE_CHECKING:
    from charrnn.sweep.search import Search
    from charrnn.sweep.space import Plan

TRIALS = 20  # of a search, if --trials does not say
SHOWN = 10  # trials in the table at the end
SWEEP = "Sweep"

Corpus = Annotated[list[str] | None, typer.Argument(help="Text files, as for train.", show_default=False)]
Grid = Annotated[
    list[str] | None,
    typer.Option(help="NAME=A,B,...: every combination; repeatable.", show_default=False, rich_help_panel=SWEEP),
]
SearchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        help="NAME=log:LOW:HIGH, int:LOW:HIGH, float:LOW:HIGH or choice:A,B,...: searched by TPE; repeatable.",
        show_default=False,
        rich_help_panel=SWEEP,
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Trials in the whole study, however many commands work on it.",
        show_default=f"{TRIALS}; of a grid, all",
        rich_help_panel=SWEEP,
    ),
]
Jobs = Annotated[
    int, typer.Option(min=1, max=1024, help="Trials trained at once; they share the cores.", rich_help_panel=SWEEP)
]
StudyName = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study.", show_default="the corpus's", rich_help_panel=SWEEP),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where the study is kept: a journal file, or the URL of an Optuna storage.",
        show_default="runs/<study>/study.journal",
        rich_help_panel=SWEEP,
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="End trials early that are worse than the median; see --eval-every.", rich_help_panel=SWEEP
    ),
]


Repeats = Annotated[
    int,
    typer.Option(min=1, max=1000, help="Seeds to train each point with; their median judges.", rich_help_panel=SWEEP),
]


@with_settings(ModelOptions, DataOptions, TrainingOptions)
def sweep(
    corpus: Corpus = None,
    grid: Grid = None,
    search: SearchOption = None,
    trials: Trials = None,
    jobs: Jobs = 1,
    repeats: Repeats = 1,
    prune: Prune = False,
    study: StudyName = None,
    storage: Storage = None,
    config: ConfigFile = None,  # its options arrive as if they had been given
    json_output: Json = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Search for good options: many runs on one corpus. The best validation loss wins.

    [bold]Examples[/bold]

      charrnn sweep corpus.txt --grid hidden-size=64,128,256 --grid cell=lstm,gru --max-minutes 1
      charrnn sweep corpus.txt --search lr=log:1e-4:1e-2 --search dropout=float:0:0.5 --trials 40 --jobs 2 --prune
      charrnn sweep corpus.txt --search lr=log:1e-4:1e-2 --storage /shared/study.journal

    Any option of train can be given, and is then the same in all trials; a hidden size neither given nor varied is 256.
    Each trial is a run, runs/<study>/<number>.
    The same command goes on with a sweep that was stopped or killed, and started twice, or on other machines with one
    --storage, it shares the work.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    runs = {"jobs": jobs, "prune": prune, "repeats": repeats}
    searcher = _searcher(corpus or [], grid or [], search or [], given(settings), trials, runs, study, storage)
    with interrupting(searcher), SweepDisplay(searcher, quiet=quiet) as display:
        for event in searcher.run():
            display.show(event)
    result = _result(searcher, corpus or [])
    if json_output:
        typer.echo(json.dumps(result))
    elif searcher.signal is None:
        _print(result, searcher.plan)
    if searcher.signal is not None:
        leave_interrupted(searcher.signal, shlex.join(["charrnn", *sys.argv[1:]]))
    if result["best"] is None:
        _explain(result["trials"])


def _searcher(
    corpus: list[str],
    grid: list[str],
    search: list[str],
    options: dict[str, Any],
    trials: int | None,
    runs: dict[str, Any],
    study: str | None,
    storage: str | None,
) -> Search:
    from charrnn.sweep.space import Plan, parse_space, space_size

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn sweep FILE --search NAME=...")
    space = parse_space(grid, search, options)
    points = space_size(space)
    if trials is not None and trials > points:
        raise UsageError(f"--trials {trials}: more than there are points to try, {points:g}")
    from charrnn.runs.directory import runs_root
    from charrnn.training.start import corpus_stem

    with extra("sweep", "optuna"):
        from charrnn.sweep.search import Search

    name = study if study is not None else corpus_stem(corpus[0])
    if Path(name).name != name or name[:1] in ("", "."):
        raise UsageError(f"--study {name}: must be a name for a directory")
    plan = Plan(
        corpus=tuple(corpus),
        options=options,
        space=space,
        is_grid=bool(grid),
        study=name,
        trials=trials or int(points if grid else min(points, TRIALS)),
        **runs,
    )
    with extra("torch", "torch"):
        return Search(plan, runs_root() / name, storage)


def _result(searcher: Search, corpus: list[str]) -> dict[str, Any]:
    trials = searcher.rows()
    best = next((row for row in trials if row["state"] == "completed"), None)
    command = None  # that trains the winner again
    if best is not None:
        chosen = {"hidden_size": ModelOptions.hidden_size, "seed": searcher.plan.seed, "workers": best["workers"]}
        command = train_command(corpus, chosen | searcher.plan.options | best["params"])
    return {
        "study": searcher.plan.study,
        "trials": trials,
        "best": best,
        "importances": searcher.importances(),
        "command": command,
    }


def _print(result: dict[str, Any], plan: Plan) -> None:
    """The best trials, what mattered, and how to have the winner again."""
    from rich.markup import escape
    from rich.table import Table

    console = make_console()
    names = [dimension.name for dimension in plan.space]
    states = [row["state"] for row in result["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    title = escape(show_value(f"study {result['study']}: {counts}"))
    val = "val" if plan.repeats == 1 else f"val, median of {plan.repeats}"
    table = Table("trial", val, *(name.replace("_", " ") for name in names), "run", title=title)
    for row in result["trials"][:SHOWN]:
        if row["state"] == "completed":
            values = [row["value"], *(row["params"][name] for name in names)]
            table.add_row(
                str(row["number"]), *(escape(show_value(value)) for value in values), escape(show_value(row["run"]))
            )
    console.print(table)
    if result["importances"]:
        shares = (f"{name.replace('_', ' ')} {share:.0%}" for name, share in result["importances"].items())
        print("of the differences, each option alone explains: " + ", ".join(shares))
    if result["command"]:
        print(f"the best again: {show_value(result['command'])}")


def _explain(trials: list[dict[str, Any]]) -> None:
    """Raises an error if no trial came to an end."""
    if trials and all(row["state"] == "diverged" for row in trials):
        raise DivergedError("every trial diverged", "try lower learning rates")
    if not any(row["state"] == "running" for row in trials):
        reasons = [row["error"] for row in trials if "error" in row]
        raise RunError("no trial was completed", reasons[0] if reasons else "")


class SweepDisplay:
    """A line for each trial that ends, and on a terminal a bar for the sweep below them."""

    def __init__(self, searcher: Search, *, quiet: bool) -> None:
        self.searcher, self.bar = searcher, Bar(quiet=quiet)
        self.progress: dict[int, float] = {}  # of the trials that run

    def __enter__(self) -> Self:
        plan = self.searcher.plan
        jobs = f", {plan.jobs} at a time" if plan.jobs > 1 else ""
        jobs += f", each with {plan.repeats} seeds" if plan.repeats > 1 else ""
        self.bar.words(f"study: {self.searcher.folder}, {plan.trials} trials{jobs}")
        self.bar.open(total=plan.trials)
        self._advance()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: TrialEvaluated | TrialEnded) -> None:
        if isinstance(event, TrialEnded):
            self.progress.pop(event.number, None)
            self._advance()
            self.bar.line(self._line(event))
        else:
            self.progress[event.number] = event.progress
            self._advance()

    def _line(self, event: TrialEnded) -> str:
        trials = self.searcher.rows()
        (row,) = (row for row in trials if row["number"] == event.number)
        loss = "" if row["value"] is None else f" {show_value(row['value'])}"
        values = ", ".join(f"{name} {show_value(value)}" for name, value in row["params"].items())
        error = f": {row['error']}" if "error" in row else ""
        return f"trial {event.number}: {event.state}{loss}  {values}{error}  ({self._summary(trials)})"

    def _summary(self, trials: list[dict[str, Any]]) -> str:
        ended = sum(row["state"] != "running" for row in trials)
        best = next((f", best {show_value(row['value'])}" for row in trials if row["state"] == "completed"), "")
        return f"{ended} of {self.searcher.plan.trials}{best}"

    def _advance(self) -> None:
        if self.bar.drawn:
            trials = self.searcher.rows()
            ended = sum(row["state"] != "running" for row in trials)
            self.bar.move(ended + sum(self.progress.values()), self._summary(trials))
