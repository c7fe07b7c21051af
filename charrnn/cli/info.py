"""charrnn info: what a run or a checkpoint holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import Json, train_command
from charrnn.cli.terminal import make_console, show_value
from charrnn.errors import printable
from charrnn.options import RunConfig, check_exclusive

STATE = (
    *("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds"),
    *("best_step", "test_loss", "corpus"),
)

TASK = ("lines", "labels", "columns", "targets", "delay")  # of what a checkpoint says of its task

Target = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="A run, or a checkpoint file.", show_default="the newest run"),
]
Toml = Annotated[bool, typer.Option("--toml", help="Write a run's options as a file for train --config.")]


def info(named: Target = None, json_output: Json = False, toml: Toml = False) -> None:
    """What a run or a checkpoint file is: settings, vocabulary, state.

    [bold]Examples[/bold]

      charrnn info corpus-001
      charrnn info best.safetensors --json
      charrnn info runs/corpus-001 --toml > again.toml
    """
    from charrnn.runs.checkpoint import load_checkpoint
    from charrnn.runs.directory import Run, find_run, newest_run
    from charrnn.runs.listing import summary
    from charrnn.tasks.registry import model_of

    check_exclusive({"json": json_output, "toml": toml})
    target = newest_run().path if named is None else find_run(named)
    if toml:
        typer.echo(to_toml(Run(target).read_config()), nl=False)
        return
    state: dict[str, Any] = {}
    if target.is_dir():
        run = Run(target)
        path = run.best if run.best.exists() else run.last
        run.read_config()
        state = {key: value for key, value in summary(run).items() if key in STATE}
        state["config"] = run.read_config().to_dict()
    else:
        path = target
    checkpoint = load_checkpoint(path)
    model_of(checkpoint)  # refuses what does not fit
    state.setdefault("steps", checkpoint.training.get("step"))
    task, is_bytes = checkpoint.task, checkpoint.task.get("bytes", False)
    symbols = [f"0x{code:02x}" if is_bytes else chr(code) for code in task.get("vocabulary", [])]
    values: dict[str, Any] = {
        "checkpoint": str(path),
        "model": checkpoint.architecture.to_dict(),
        "task": task["name"],
        **{name: value for name, value in task.items() if name in TASK},
        "parameters": sum(array.size for array in checkpoint.weights.values()),
        "shapes": {name: list(array.shape) for name, array in checkpoint.weights.items()},
        "vocabulary_size": len(symbols),
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
    shown = "".join(map(printable, symbols[:200]))
    settings = {**state.get("config", {}).get("train", {}), **checkpoint.architecture.to_dict()}
    if origin := state.get("config", {}).get("init_from"):
        settings["init_from"] = f"{origin['path']} (SHA-256 {origin['sha256'][:12]}...)"
    rows = {"checkpoint": path, "task": task["name"], **state, **settings}
    rows.pop("config", None)
    rows |= {name: ", ".join(map(printable, task[name])) for name in ("labels", "columns", "targets") if task.get(name)}
    rows["delay"] = task.get("delay")
    if symbols:
        rows["vocabulary"] = f"{len(symbols)} symbols: {shown}"
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
    lines = [f"# {train_command([], {'config': 'FILE.toml'})}"]
    for name, value in {"corpus": config.corpus, **config.to_options()}.items():
        # JSON's numbers, booleans and strings are TOML's too; what no terminal should see is escaped as in TOML.
        text = json.dumps(value, ensure_ascii=False)
        shown = (c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 2**16 else f"\\U{ord(c):08x}" for c in text)
        lines.append(f"{name} = {''.join(shown)}")
    return "\n".join(lines) + "\n"
