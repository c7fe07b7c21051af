"""charrnn info and charrnn runs."""

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

from charrnn.cli.options import Json, train_command
from charrnn.config import RunConfig
from charrnn.errors import RunError, UsageError, printable

COLUMNS = ("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds")
HEADINGS = {"best_val_loss": "best val", "val_loss": "val", "train_loss": "train"}
MODEL_SETTINGS = ("cell", "hidden_size", "num_layers", "embedding_size", "dropout", "recurrent_dropout")
TRAIN_SETTINGS = (
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

Target = Annotated[Path, typer.Argument(help="A run, or a checkpoint file.", show_default=False)]
Toml = Annotated[bool, typer.Option("--toml", help="Write a run's options as a file for train --config.")]
Root = Annotated[Path | None, typer.Argument(help="Where the runs are.", show_default="runs")]
Sort = Annotated[str, typer.Option(help="Field to sort by, lowest first; -FIELD for highest first.")]
Where = Annotated[list[str] | None, typer.Option(help="FIELD=VALUE: only such runs; repeatable.", show_default=False)]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")]


def info(target: Target, json_output: Json = False, toml: Toml = False) -> None:
    """What a run or a checkpoint file is: settings, vocabulary, state.

    [bold]Examples[/bold]

      charrnn info runs/corpus-001
      charrnn info best.safetensors --json
      charrnn info runs/corpus-001 --toml > again.toml
    """
    from charrnn.checkpoint import load_checkpoint
    from charrnn.runs import Run, summary

    if toml:
        if json_output:
            raise UsageError("--json and --toml exclude each other")
        typer.echo(to_toml(Run(target).read_config()), nl=False)
        return
    state: dict[str, Any] = {}
    if target.is_dir():
        run = Run(target)
        path = run.best if run.best.exists() else run.last
        run.read_config()
        state = {
            key: value for key, value in summary(run).items() if key in (*COLUMNS, "best_step", "test_loss", "corpus")
        }
        state["config"] = run.read_config().to_dict()
    else:
        path = target
    checkpoint = load_checkpoint(path)
    state.setdefault("steps", checkpoint.training.get("step"))
    vocabulary = checkpoint.vocabulary
    symbols = [f"0x{code:02x}" if vocabulary.is_bytes else chr(code) for code in vocabulary.codes.tolist()]
    values = {
        "checkpoint": str(path),
        "model": checkpoint.model.to_dict(),
        "lines": checkpoint.lines,
        "parameters": sum(array.size for array in checkpoint.weights.values()),
        "shapes": {name: list(array.shape) for name, array in checkpoint.weights.items()},
        "vocabulary_size": len(vocabulary),
        "vocabulary": symbols,
        "training": state,
    }
    if json_output:
        typer.echo(json.dumps(values))
        return
    from rich.markup import escape
    from rich.table import Table

    console = make_console()
    facts = Table(show_header=False, box=None)
    shown = "".join(s if s.isprintable() else ascii(s)[1:-1] for s in symbols[:200])
    settings = {**state.pop("config", {}).get("train", {}), **checkpoint.model.to_dict()}
    rows = {"checkpoint": path, **state, **settings, "vocabulary": f"{len(vocabulary)} symbols: {shown}"}
    for name, value in rows.items():
        if value is not None:
            facts.add_row(f"[bold]{name}[/bold]", escape(show_value(value)))
    console.print(facts)
    table = Table("parameter", "shape", "size", title="Parameters")
    for name, array in checkpoint.weights.items():
        table.add_row(name, " x ".join(map(str, array.shape)), f"{array.size:,}")
    table.add_row("[bold]all[/bold]", "", f"[bold]{values['parameters']:,}[/bold]")
    console.print(table)


def to_toml(config: RunConfig) -> str:
    """All options of a run, for `train --config`."""
    again = train_command(config.corpus, {"config": "FILE.toml"})
    lines = [f"# {printable(again)}"]
    for name, value in config.to_options().items():
        # JSON's numbers, booleans and strings are TOML's too, but for one character that only TOML escapes.
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"


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
    from charrnn.runs import list_runs, runs_root, summary

    if json_output and csv_output:
        raise UsageError("--json and --csv exclude each other")
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

    from charrnn.runs import STUDY

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


def make_console() -> Any:
    from rich.console import Console

    # A pipe or a file has no edge to wrap at.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 250)


def show_value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 < abs(value) < 1000 else f"{value:g}"
    return str(value)


def _ago(modified: float | None) -> str:
    if modified is None or not math.isfinite(modified):
        return "-"
    seconds = max(0, int(time.time() - modified))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
