"""charrnn info: the content of a run or a checkpoint file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import Json, check_pairs, complete_run, train_command
from charrnn.cli.terminal import format_value, print_json, print_table
from charrnn.errors import UsageError, format_count
from charrnn.options import RunConfig

if TYPE_CHECKING:
    from charrnn.runs.checkpoint import Checkpoint

STATE_FIELDS = (  # of a run's summary
    *("run", "status", "best_val_loss", "val_loss", "train_loss", "steps", "epochs", "seconds"),
    *("best_step", "test_loss", "corpus"),
)
LIST_FIELDS = ("labels", "columns", "targets")  # of a checkpoint's task
TASK_FIELDS = ("lines", *LIST_FIELDS, "delay")
MAX_SYMBOLS = 200  # of the vocabulary in the table

Named = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run, or a checkpoint file.",
        show_default="the newest run",
        autocompletion=complete_run,
    ),
]
Toml = Annotated[bool, typer.Option("--toml", help="Print the options of a run as a TOML file for train --config.")]


def info(named: Named = None, json_output: Json = False, toml: Toml = False) -> None:
    """Show the options, vocabulary and state of a run or a checkpoint.

    [bold]Examples[/bold]

      charrnn info corpus-001
      charrnn info best.safetensors --json
      charrnn info runs/corpus-001 --toml > again.toml
    """
    from charrnn.runs.checkpoint import load_checkpoint
    from charrnn.runs.directory import Run, find_run, newest_run
    from charrnn.runs.listing import summary
    from charrnn.tasks.registry import make_model

    check_pairs(json=json_output, toml=toml)
    path = newest_run().path if named is None else find_run(named)
    if toml:
        print(to_toml(Run(path).read_config()), end="")
        return
    state: dict[str, Any] = {}
    if path.is_dir():
        run = Run(path)
        config = run.read_config()
        state = {key: value for key, value in summary(run).items() if key in STATE_FIELDS}
        state["config"] = config.to_dict()
        path = run.best if run.best.exists() else run.last
    checkpoint = load_checkpoint(path)
    make_model(checkpoint)  # raises RunError for a damaged checkpoint
    state.setdefault("steps", checkpoint.training.get("step"))
    if json_output:
        print_json(_to_dict(checkpoint, path, state))
    else:
        _print_tables(checkpoint, path, state)


def _to_dict(checkpoint: Checkpoint, path: Path, state: dict[str, Any]) -> dict[str, Any]:
    symbols = _symbols(checkpoint)
    return {
        "checkpoint": str(path),
        "model": checkpoint.architecture.to_dict(),
        "task": checkpoint.task["name"],
        **{name: value for name, value in checkpoint.task.items() if name in TASK_FIELDS},
        "parameters": checkpoint.architecture.num_parameters,
        "shapes": {name: list(array.shape) for name, array in checkpoint.weights.items()},
        "vocabulary_size": len(symbols),
        "vocabulary": symbols,
        "training": state,
    }


def _symbols(checkpoint: Checkpoint) -> list[str]:
    """The vocabulary: characters, or bytes such as 0x0a."""
    codes = checkpoint.task.get("vocabulary", [])
    return [f"0x{code:02x}" if checkpoint.task.get("bytes") else chr(code) for code in codes]


def _print_tables(checkpoint: Checkpoint, path: Path, state: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    config = state.pop("config", {"train": {}, "init_from": None})
    rows = {"checkpoint": path, "task": checkpoint.task["name"], **state, **config["train"]}
    rows |= checkpoint.architecture.to_dict()
    if origin := config["init_from"]:
        rows["init_from"] = f"{origin['path']} (SHA-256 {origin['sha256'][:12]}...)"
    rows |= {name: ", ".join(checkpoint.task[name]) for name in LIST_FIELDS if checkpoint.task.get(name)}
    rows["delay"] = checkpoint.task.get("delay")
    if symbols := _symbols(checkpoint):
        rows["vocabulary"] = f"{format_count(len(symbols), 'symbol')}: {''.join(symbols[:MAX_SYMBOLS])}"
    facts = Table(show_header=False, box=None)
    for name, value in rows.items():
        if value is not None:
            facts.add_row(f"[bold]{name}[/bold]", escape(format_value(value)))
    print_table(facts)
    parameters = Table("parameter", "shape", "size", title="Parameters")
    for name, array in checkpoint.weights.items():
        parameters.add_row(name, " x ".join(map(str, array.shape)), f"{array.size:,}")
    parameters.add_row("[bold]all[/bold]", "", f"[bold]{checkpoint.architecture.num_parameters:,}[/bold]")
    print_table(parameters)


def to_toml(config: RunConfig) -> str:
    """The options of a run as a TOML file for `train --config`. Raises UsageError for a path that is not UTF-8."""
    lines = [f"# {train_command([], {'config': 'FILE.toml'})}"]
    for name, value in {"corpus": config.corpus, **config.to_options()}.items():
        text = json.dumps(value, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"--toml: {name} {value} is not UTF-8, which TOML requires", "rename the file") from None
        # TOML writes numbers, booleans, strings and lists as JSON does. Unprintable characters are escaped.
        lines.append(f"{name} = {''.join(c if c.isprintable() else _toml_escape(c) for c in text)}")
    return "\n".join(lines) + "\n"


def _toml_escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
