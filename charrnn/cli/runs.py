"""charrnn runs: a table of runs."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import Json, check_pairs
from charrnn.cli.terminal import (
    format_duration,
    format_value,
    make_console,
    print_json,
    print_stderr,
    print_table,
    table_width,
)
from charrnn.options import TASKS
from charrnn.system import shell_quote

if TYPE_CHECKING:
    from rich.table import Table

OVERVIEW = ("run", "task", "network", "best_val_loss", "score", "seconds", "status")
DROPPED = ("seconds", "task", "network", "score")  # columns that are left out on a narrow terminal, in this order
FIRST_CSV_COLUMNS = ("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds")
HEADINGS = {
    "best_val_loss": "best loss",
    "score": "accuracy or RMSE",
    "seconds": "time",
    "val_loss": "val",
    "train_loss": "train",
    "val_accuracy": "accuracy",
    "learning_rate": "lr",
}
LOSSES = ("best_val_loss", "val_loss", "train_loss", "median", "least", "greatest")
FORMATS: dict[str, Callable[[Any], str]] = {
    "val_accuracy": "{:.2%}".format,
    "seconds": format_duration,
    "epochs": "{:.1f}".format,
    "steps": "{:,}".format,
    **dict.fromkeys(LOSSES, "{:.4f}".format),
}
STYLES = {"broken": "red", "unfinished": "yellow", "interrupted": "yellow", "diverged": "red"}
TIME_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

Root = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Directory of the runs.", show_default="runs, or $CHARRNN_RUNS")
]
Sort = Annotated[str, typer.Option(help="Field to sort by, in ascending order; -FIELD for descending order.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help="List only matching runs; the comparison can be =, !=, <, <=, > or >=. Repeatable.",
        show_default=False,
    ),
]
Columns = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Fields to show.", show_default="those of the overview")
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Group runs that have the same values of these fields, and compare the best losses of the groups.",
        show_default=False,
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
    """List all runs, the lowest validation loss first.

    [bold]Examples[/bold]

      charrnn runs
      charrnn runs --where cell=gru --where "best-val-loss<1.5" --sort seconds
      charrnn runs --columns run,best_val_loss,lr
      charrnn runs --group-by cell,hidden-size
      charrnn runs --csv > runs.csv

    The runs are grouped by task, because losses of different tasks cannot be compared. --columns shows other fields.
    Runs that are unfinished or broken are marked.
    """
    from charrnn.runs.directory import runs_root
    from charrnn.runs.listing import Condition, flat_value, group_rows, list_rows, parse_field

    check_pairs(json=json_output, csv=csv_output, columns=columns, group_by=group_by)
    shown = [parse_field(name, "--columns") for name in columns.split(",")] if columns else []
    groups = [parse_field(name, "--group-by") for name in group_by.split(",")] if group_by else []
    conditions = [Condition.parse(text) for text in where or []]
    directory = root or runs_root()
    all_rows = list_rows(root, sort)
    rows = [row for row in all_rows if all(condition.holds(row) for condition in conditions)]
    if all_rows and not rows:
        print_stderr(f"none of the {len(all_rows)} runs matches")
    if groups:
        rows = group_rows(rows, groups)
    elif shown:
        rows = [{name: row.get(name) for name in shown} for row in rows]
    if json_output:
        print_json({"groups" if groups else "runs": rows})
    elif csv_output:
        first = shown or ([] if groups else FIRST_CSV_COLUMNS)
        writer = csv.DictWriter(sys.stdout, list(dict.fromkeys([*first, *(key for row in rows for key in row)])))
        writer.writeheader()
        writer.writerows({name: flat_value(value) for name, value in row.items()} for row in rows)
    elif shown or groups:
        print_table(_table(rows, list(rows[0]) if rows else []))
    else:
        _print_overview(rows, directory, has_runs=bool(all_rows))


def _print_overview(rows: list[dict[str, Any]], directory: Path, *, has_runs: bool) -> None:
    """Prints a table of the runs, grouped by task, with the columns that fit the width of the terminal."""
    from charrnn.runs.directory import STUDY

    for study in sorted(directory.glob(f"*/{STUDY}")):
        print_stderr(f"to list the runs of a sweep: charrnn runs {shell_quote(str(study.parent))}")
    if not rows:
        if not has_runs:
            print_stderr(f"no runs in {directory}")
        return
    order = [*TASKS, None]  # losses of different tasks cannot be compared; a broken run may have no task
    rows = sorted(rows, key=lambda row: order.index(row.get("task")))
    rows = [row | {"network": _describe_network(row), "score": _format_score(row)} for row in rows]
    console = make_console()
    columns = list(OVERVIEW)
    for name in DROPPED:
        if table_width(_table(rows, columns)) > console.width:
            columns.remove(name)
    table = _table(rows, columns)
    make_console(min_width=table_width(table)).print(table)
    if sys.stdout.isatty():
        console.print("more fields: --columns, --json, --csv", style="dim")


def _describe_network(row: dict[str, Any]) -> str | None:
    """The cell, the number of layers and their size: lstm 2 x 256."""
    return f"{row['cell']} {row['num_layers']} x {row['hidden_size']}" if "cell" in row else None


def _format_score(row: dict[str, Any]) -> str | None:
    """The accuracy of the last evaluation, or the root mean squared error if only one column is predicted."""
    if row.get("val_accuracy") is not None:
        return f"{row['val_accuracy']:.2%}"
    errors = list((row.get("val_rmse") or {}).values())
    return f"{errors[0]:.4g}" if len(errors) == 1 else None


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """A table of runs. On a terminal, the runs of each task are a section."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        is_numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        heading = HEADINGS.get(name, name).replace("_", " ")
        table.add_column(heading, overflow="fold", justify="right" if is_numeric else "left")
    tasks = [row.get("task") for row in rows]
    for row, task, next_task in zip(rows, tasks, [*tasks[1:], None], strict=True):
        cells = (Text(_cell(name, row)) for name in columns)
        is_last = sys.stdout.isatty() and next_task != task
        table.add_row(*cells, style=STYLES.get(row.get("status", "")), end_section=is_last)
    return table


def _cell(name: str, row: dict[str, Any]) -> str:
    """A field of a run as text."""
    from charrnn.runs.listing import flat_value

    value = row.get(name)
    if value is None:
        return "-"
    if name == "modified":
        return _format_age(value)
    if name in FORMATS:
        return FORMATS[name](value)
    if name in ("run", "corpus"):
        value = Path(value).name
    return format_value(flat_value(value))


def _format_age(modified: float) -> str:
    """The time since a file was modified: 5 min ago."""
    if not math.isfinite(modified):
        return "-"
    age = max(0, int(time.time() - modified))
    size, unit = next(((size, unit) for size, unit in TIME_UNITS if age >= size), TIME_UNITS[-1])
    return f"{age // size} {unit} ago"
