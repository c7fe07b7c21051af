"""charrnn sweep."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from charrnn.cli.inspect import make_console, show_value
from charrnn.cli.options import ConfigFile, Json, Quiet, extra, given, train_command, with_settings
from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.errors import DivergedError, RunError, UsageError
from charrnn.events import TrialEnded, TrialEvaluated

if TYPE_CHECKING:
    from tqdm import tqdm

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


@with_settings(ModelConfig, TextConfig, TrainConfig)
def sweep(
    corpus: Corpus = None,
    grid: Grid = None,
    search: SearchOption = None,
    trials: Trials = None,
    jobs: Jobs = 1,
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
    searcher = _searcher(corpus or [], grid or [], search or [], given(settings), trials, jobs, prune, study, storage)
    # A signal that is ignored (nohup, a background job) stays so.
    signals = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    for number in signals:
        signal.signal(number, lambda caught, _: _interrupt(searcher, caught))
    try:
        with Display(searcher, quiet=quiet) as display:
            for event in searcher.run():
                display.show(event)
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
    result = _result(searcher, corpus or [])
    if json_output:
        typer.echo(json.dumps(result))
    elif searcher.signal is None:
        _print(result, searcher.plan)
    if searcher.signal is not None:
        again = shlex.join(["charrnn", *sys.argv[1:]])
        print(f"interrupted and saved; go on with: {again}", file=sys.stderr)
        raise typer.Exit(128 + searcher.signal)
    if result["best"] is None:
        _explain(result["trials"])


def _searcher(
    corpus: list[str],
    grid: list[str],
    search: list[str],
    options: dict[str, Any],
    trials: int | None,
    jobs: int,
    prune: bool,
    study: str | None,
    storage: str | None,
) -> Search:
    from charrnn.sweep.space import Plan, grid_size, parse_space

    if not corpus:
        raise UsageError("no corpus to train on", "charrnn sweep FILE --search NAME=...")
    space = parse_space(grid, search, options)
    if grid and (trials or 0) > grid_size(space):
        raise UsageError(f"--trials {trials}: the grid has {grid_size(space)} points")
    from charrnn.prepare import corpus_stem
    from charrnn.runs import runs_root

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
        trials=trials or (grid_size(space) if grid else TRIALS),
        jobs=jobs,
        prune=prune,
    )
    return Search(plan, runs_root() / name, storage)


def _interrupt(searcher: Search, number: int) -> None:
    """The first signal lets the trials save themselves; a second one acts as if nothing were here."""
    searcher.interrupt(number)
    signal.signal(number, signal.SIG_DFL)


def _result(searcher: Search, corpus: list[str]) -> dict[str, Any]:
    trials = searcher.rows()
    best = next((row for row in trials if row["state"] == "completed"), None)
    command = None
    if best is not None:
        chosen = {"hidden_size": ModelConfig.hidden_size, "seed": searcher.plan.seed, "workers": best["workers"]}
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
    title = f"study {result['study']}: {counts}"
    table = Table("trial", "val", *(name.replace("_", " ") for name in names), "run", title=escape(title))
    for row in result["trials"][:SHOWN]:
        if row["state"] == "completed":
            values = [row["value"], *(row["params"][name] for name in names)]
            table.add_row(str(row["number"]), *(escape(show_value(value)) for value in values), escape(row["run"]))
    console.print(table)
    if result["importances"]:
        shares = (f"{name.replace('_', ' ')} {share:.0%}" for name, share in result["importances"].items())
        print("mattered most: " + ", ".join(shares))
    if result["command"]:
        print(f"the best again: {result['command']}")


def _explain(trials: list[dict[str, Any]]) -> None:
    """Raises an error if no trial came to an end."""
    if trials and all(row["state"] == "diverged" for row in trials):
        raise DivergedError("every trial diverged", "try lower learning rates")
    if not any(row["state"] == "running" for row in trials):
        reasons = [row["error"] for row in trials if "error" in row]
        raise RunError("no trial was completed", reasons[0] if reasons else "")


class Display:
    """One bar for the sweep on a terminal, a plain line for each trial that ends elsewhere."""

    def __init__(self, searcher: Search, *, quiet: bool) -> None:
        self.searcher, self.quiet = searcher, quiet
        self.shares: dict[int, float] = {}
        self.bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        plan = self.searcher.plan
        if not self.quiet:
            jobs = f", {plan.jobs} at a time" if plan.jobs > 1 else ""
            self._print(f"study: {self.searcher.folder}, {plan.trials} trials{jobs}")
            if sys.stderr.isatty():
                from tqdm import tqdm

                shape = "{percentage:3.0f}%|{bar}| {desc}"
                self.bar = tqdm(total=plan.trials, bar_format=shape, dynamic_ncols=True, file=sys.stderr)
                self._advance()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.close()

    def show(self, event: TrialEvaluated | TrialEnded) -> None:
        if self.quiet:
            return
        if isinstance(event, TrialEnded):
            self.shares.pop(event.number, None)
            self._advance()
            if self.bar is None or event.state == "failed":
                self._print(self._line(event))
        else:
            self.shares[event.number] = event.share
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
        if self.bar is not None:
            trials = self.searcher.rows()
            ended = sum(row["state"] != "running" for row in trials)
            with contextlib.suppress(OSError, ValueError):
                self.bar.set_description_str(self._summary(trials), refresh=False)
                self.bar.update(min(self.bar.total, ended + sum(self.shares.values())) - self.bar.n)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.bar is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self.bar.write(text, file=sys.stderr)
