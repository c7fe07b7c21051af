"""charrnn runs: a table of runs."""

from __future__ import annotations

import csv
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import Json
from charrnn.cli.terminal import clock, make_console, say, show_value
from charrnn.errors import RunError, UsageError
from charrnn.options import check_exclusive

ALWAYS = ("run", "best_val_loss")  # never cut, never left out
MEASURES = ("status", "val_accuracy", "val_loss", "train_loss", "steps", "epochs", "seconds", "modified")
SETTINGS = (
    *("task", "corpus", "cell", "hidden_size", "num_layers", "embedding_size", "learning_rate", "batch_size"),
    *("seq_length", "dropout", "recurrent_dropout", "optimizer", "schedule", "weight_decay", "clip_norm", "seed"),
)
COLUMNS = ("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds")  # of CSV, first
HEADINGS = {
    "best_val_loss": "best val",
    "val_loss": "val",
    "train_loss": "train",
    "val_accuracy": "right",
    "learning_rate": "lr",
    "recurrent_dropout": "rec. dropout",
    "modified": "changed",
}
SHOWN: dict[str, Callable[[Any], str]] = {
    "val_accuracy": "{:.2%}".format,
    "seconds": clock,
    "epochs": "{:.1f}".format,
    "steps": "{:,}".format,
    **dict.fromkeys(("best_val_loss", "val_loss", "train_loss", "median", "least", "greatest"), "{:.4f}".format),
}
EDGES = 2  # spaces around a table
STYLES = {"broken": "red", "unfinished": "yellow", "interrupted": "yellow", "diverged": "red"}

Root = Annotated[Path | None, typer.Argument(help="Where the runs are.", show_default="runs")]
Sort = Annotated[str, typer.Option(help="Field to sort by, lowest first; -FIELD for highest first.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="FIELD=VALUE, or with !=, <, <=, >, >=: only such runs; repeatable.", show_default=False),
]
Columns = Annotated[
    str | None, typer.Option(help="A,B,...: these fields alone.", show_default="what there is room for")
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="A,B,...: the runs of each combination together, their best losses compared.", show_default=False
    ),
]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")]


def runs(
    root: Root = None,
    sort: Sort = "best_val_loss",
    where: Where = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    json_output: Json = False,
    csv_output: Csv = False,
) -> None:
    """A table of all runs, the best validation loss first. CheckedFields that all runs share stand above it.

    [bold]Examples[/bold]

      charrnn runs
      charrnn runs --where cell=gru --where "best-val-loss<1.5" --sort seconds
      charrnn runs --columns run,best_val_loss,lr
      charrnn runs --group-by cell,hidden-size
      charrnn runs --csv > runs.csv
    """
    from charrnn.runs.directory import list_runs, runs_root
    from charrnn.runs.listing import Condition, field, grouped, ordered, summary

    check_exclusive({"json": json_output, "csv": csv_output})
    if columns is not None and group_by is not None:
        raise UsageError("--columns and --group-by exclude each other")
    chosen = [field(name, "--columns") for name in columns.split(",")] if columns else []
    groups = [field(name, "--group-by") for name in group_by.split(",")] if group_by else []
    conditions = [Condition.parse(text) for text in where or []]
    folder = root or runs_root()
    if root is not None and not root.is_dir():
        raise RunError(f"{root}: no such directory")
    every = [summary(run) for run in list_runs(folder)]
    rows = ordered([row for row in every if all(condition.holds(row) for condition in conditions)], sort)
    if every and not rows:
        say(f"none of {len(every)} runs matches")
    if groups:
        rows = grouped(rows, groups)
    elif chosen:
        rows = [{name: row.get(name) for name in chosen} for row in rows]
    if json_output:
        typer.echo(json.dumps({"groups" if groups else "runs": rows}))
    elif csv_output:
        first = chosen or ([] if groups else COLUMNS)
        names = [*first, *dict.fromkeys(key for row in rows for key in row if key not in first)]
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif chosen or groups:
        _draw(rows, list(rows[0]) if rows else [])
    else:
        _table(rows, folder, every=bool(every))


def _table(rows: list[dict[str, Any]], folder: Path, *, every: bool) -> None:
    """As many columns as there is room for; what all runs share, and what has no room, in words."""
    from charrnn.runs.directory import STUDY

    for study in sorted(folder.glob(f"*/{STUDY}")):
        say(f"a sweep: charrnn runs {shlex.quote(str(study.parent))}")
    if not rows:
        if not every:
            say(f"no runs under {folder}")
        return
    settled = [row for row in rows if row["status"] != "broken"]
    differing = [name for name in SETTINGS if len({_cell(name, row) for row in settled}) > 1]
    shared = [f"{name} {_cell(name, settled[0])}" for name in SETTINGS if settled and name not in differing]
    console = make_console()
    if len(settled) > 1:
        console.print("all: " + ", ".join(shared), style="dim", markup=False)
    measured = [name for name in MEASURES if any(row.get(name) is not None for row in rows)]
    names, room = list(ALWAYS), console.width - EDGES - sum(_width(name, rows) for name in ALWAYS)
    wanted = [*measured[:1], *(differing if len(settled) > 1 else []), *measured[1:]]
    for name in wanted:
        if (width := _width(name, rows)) <= room:
            names.append(name)
            room -= width
    _draw(rows, names)
    if folded := [name for name in wanted if name not in names]:
        console.print(f"no room for: {', '.join(folded)}; see --columns, --json, --csv", style="dim", markup=False)


def _draw(rows: Sequence[dict[str, Any]], names: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in names:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(_heading(name), overflow="fold", justify="right" if numbers else "left")
    for row in rows:
        style = STYLES.get(row.get("status", ""))
        table.add_row(*(Text(_cell(name, row)) for name in names), style=style)
    make_console().print(table)


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def _width(name: str, rows: Sequence[dict[str, Any]]) -> int:
    """Of a column, its space included; a heading may break between words."""
    return 3 + max(*map(len, _heading(name).split()), *(len(_cell(name, row)) for row in rows))


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row.get(name)
    if value is None:
        return "-"
    if name == "modified":
        return _ago(value)
    if name in SHOWN:
        return SHOWN[name](value)
    if name in ("run", "corpus"):
        value = Path(value).name
    return show_value(value)


def _ago(modified: float) -> str:
    if not math.isfinite(modified):
        return "-"
    seconds = max(0, int(time.time() - modified))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
