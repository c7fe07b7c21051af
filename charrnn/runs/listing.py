"""Runs as rows of a table: a summary of each, chosen by conditions, sorted, grouped."""

from __future__ import annotations

import operator
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.errors import CharRNNError, UsageError
from charrnn.options import ALIASES, DataOptions, ModelOptions, TrainingOptions
from charrnn.runs.directory import Run
from charrnn.runs.reports import Result, read_metrics, read_result

Row = dict[str, Any]

SETTINGS = tuple(name for cls in (ModelOptions, DataOptions, TrainingOptions) for name in cls.__dataclass_fields__)
FIELDS = tuple(
    name for name in dict.fromkeys(["modified", "corpus", *SETTINGS, *Result.__dataclass_fields__]) if name != "config"
)
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


def summary(run: Run) -> Row:
    """What a listing shows of a run, finished or not: never raises for what is in the directory."""
    row: Row = {"run": str(run.path), "status": "broken"}
    try:
        config = run.read_config()
        row |= {"corpus": " ".join(config.corpus)}
        row |= config.model.to_dict() | config.data.to_dict() | config.train.to_dict()
        row["modified"] = max(path.stat().st_mtime for path in run.path.iterdir())
        if run.result.exists():
            result = read_result(run.result)
            row |= {key: value for key, value in result.items() if key not in ("config", "run")}
        else:
            row["status"] = "running" if run.locked else "unfinished"
            row |= _so_far(run)
    except (CharRNNError, OSError) as error:
        row |= {"status": "broken", "error": str(error)}
    return row


def _so_far(run: Run) -> Row:
    """The latest and the best of a run that has no result yet."""
    lines = read_metrics(run.metrics)
    if not lines:
        return {}
    last = lines[-1]
    validated = [line for line in lines if line["val_loss"] is not None]
    best: Row = min(validated, key=lambda line: line["val_loss"], default={})
    row = {"steps": last["step"], "epochs": last["epoch"]}
    row |= {name: last[name] for name in ("chars", "seconds", "train_loss", "val_loss", "val_accuracy", "val_rmse")}
    return row | {f"best_{name}": best.get(name) for name in ("val_loss", "val_bpc", "step")}


def field(name: str, option: str) -> str:
    """A field by the name that the user gave it: - and _ alike, short names too. Raises UsageError."""
    known = name.strip().replace("-", "_")
    known = ALIASES.get(known, known)
    if known not in FIELDS:
        raise UsageError(f"{option} {name}: no such field; there are {', '.join(FIELDS)}")
    return known


@dataclass(frozen=True)
class Condition:
    """FIELD=VALUE, !=, <, <=, > or >=: numbers are compared as numbers, a run or corpus also by its bare name."""

    name: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        found = re.fullmatch(r"([\w-]+)\s*(<=|>=|!=|=|<|>)\s*(.*)", text, re.DOTALL)
        if found is None:
            raise UsageError(f"--where {text}: not of the form FIELD=VALUE", "or with !=, <, <=, >, >=")
        return cls(field(found[1], "--where"), found[2], found[3])

    def holds(self, row: Row) -> bool:
        mine, wanted = row.get(self.name), self.value
        if isinstance(mine, int | float) and not isinstance(mine, bool):
            try:
                return COMPARISONS[self.comparison](mine, float(wanted))
            except ValueError:
                return self.comparison == "!="
        if self.comparison not in ("=", "!="):
            return False
        names = {str(mine), str(mine).lower()}
        names |= {str(mine).rpartition("/")[2]} if self.name in ("run", "corpus") else set()
        names |= {"-", ""} if mine is None else set()
        return (wanted in names) == (self.comparison == "=")


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """Sorted by a field, lowest first, with a - before it highest first; rows without a value last."""
    name = field(by.removeprefix("-"), "--sort")
    present = [row for row in rows if row.get(name) is not None]
    numbers = all(isinstance(row[name], int | float) for row in present)
    present.sort(key=lambda row: row[name] if numbers else str(row[name]), reverse=by.startswith("-"))
    return present + [row for row in rows if row.get(name) is None]


def grouped(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The runs of each combination of values: their number, and median, least and greatest of their best losses; the
    lowest median first. Runs without a best loss are left out."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.get("best_val_loss") is not None:
            groups.setdefault(tuple(str(row.get(name)) for name in names), []).append(row)
    found = []
    for members in groups.values():
        losses = [row["best_val_loss"] for row in members]
        values = {name: members[0].get(name) for name in names}
        spread = {"median": statistics.median(losses), "least": min(losses), "greatest": max(losses)}
        found.append({**values, "runs": len(members), **spread})
    return sorted(found, key=lambda group: group["median"])
