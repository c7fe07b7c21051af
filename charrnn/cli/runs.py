"""charrnn runs: a table of runs."""

from __future__ import annotations

import csv
import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.options import Json
from charrnn.cli.screen import make_console, show_value
from charrnn.config import refuse_exclusive
from charrnn.errors import RunError, UsageError

COLUMNS = ("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds")
HEADINGS = {"best_val_loss": "best val", "val_loss": "val", "train_loss": "train"}
MODEL_SETTINGS = ("cell", "hidden_size", "num_layers", "embedding_size")
TRAIN_SETTINGS = (
    "dropout",
    "recurrent_dropout",
    "batch_size",
    "seq_length",
    "optimizer",
    "learning_rate",
    "schedule",
    "weight_decay",
    "clip_norm",
    "seed",
)
SETTINGS = ("corpus", *MODEL_SETTINGS, *TRAIN_SETTINGS)

Root = Annotated[Path | None, typer.Argument(help="Where the runs are.", show_default="runs")]
Sort = Annotated[str, typer.Option(help="Field to sort by, lowest first; -FIELD for highest first.")]
Where = Annotated[list[str] | None, typer.Option(help="FIELD=VALUE: only such runs; repeatable.", show_default=False)]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")]


def runs(
    root: Root = None,
    sort: Sort = "best_val_loss",
    where: Where = None,
    json_output: Json = False,
    csv_output: Csv = False,
) -> None:
    """A table of all runs, the best validation loss first. Settings that all runs share stand above it.

    [bold]Examples[/bold]

      charrnn runs
      charrnn runs --where cell=gru --sort seconds
      charrnn runs --csv > runs.csv
    """
    from charrnn.storage.runs import list_runs, runs_root, summary

    refuse_exclusive({"json": json_output, "csv": csv_output})
    folder = root or runs_root()
    if root is not None and not root.is_dir():
        raise RunError(f"{root}: no such directory")
    rows = [summary(run) for run in list_runs(folder)]
    for condition in where or []:
        field, equals, value = condition.partition("=")
        if not equals:
            raise UsageError(f"--where {condition}: not of the form FIELD=VALUE")
        _known(field, rows, "--where")
        rows = [row for row in rows if show_value(row.get(field)) == value or str(row.get(field)) == value]
    field = sort.removeprefix("-")
    _known(field, rows, "--sort")
    present = [row for row in rows if row.get(field) is not None]
    numbers = all(isinstance(row[field], int | float) for row in present)
    present.sort(key=lambda row: row[field] if numbers else str(row[field]), reverse=sort.startswith("-"))
    rows = present + [row for row in rows if row.get(field) is None]
    if json_output:
        typer.echo(json.dumps({"runs": rows}))
    elif csv_output:
        names = [*COLUMNS, *dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)]
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _table(rows, folder)


def _known(field: str, rows: list[dict[str, Any]], option: str) -> None:
    if rows and not any(field in row for row in rows) and field not in (*COLUMNS, *SETTINGS):
        raise UsageError(f"{option} {field}: no run has such a field")


def _table(rows: list[dict[str, Any]], folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from charrnn.storage.runs import STUDY

    console = make_console()
    for study in sorted(folder.glob(f"*/{STUDY}")):
        print(f"a sweep: charrnn runs {shlex.quote(str(study.parent))}", file=sys.stderr)
    if not rows:
        print(f"no runs under {folder}", file=sys.stderr)
        return
    settled = [row for row in rows if row["status"] != "broken"]
    differing = [name for name in SETTINGS if len({show_value(row.get(name)) for row in settled}) > 1]
    shared = [f"{name} {show_value(settled[0].get(name))}" for name in SETTINGS if settled and name not in differing]
    if len(settled) > 1:
        console.print("[dim]all: " + escape(", ".join(shared)) + "[/dim]")
    names = [*COLUMNS, *(differing if len(settled) > 1 else [])]
    table = Table(*(HEADINGS.get(name, name.replace("_", " ")) for name in names), "changed")
    for row in rows:
        style = {"broken": "red", "unfinished": "yellow", "interrupted": "yellow", "diverged": "red"}.get(row["status"])
        cells = [Path(row["run"]).name if name == "run" else show_value(row.get(name)) for name in names]
        table.add_row(*map(escape, cells), _ago(row.get("modified")), style=style)
    console.print(table)


def _ago(modified: float | None) -> str:
    if modified is None or not math.isfinite(modified):
        return "-"
    seconds = max(0, int(time.time() - modified))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
