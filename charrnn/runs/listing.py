"""Runs as rows of a table: summaries, and how rows are selected, sorted and grouped."""

from __future__ import annotations

import operator
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CharRNNError, RunError, UsageError
from charrnn.options import ALIASES, DataOptions, ModelOptions, TrainingOptions
from charrnn.runs.directory import Run, list_runs, runs_root
from charrnn.runs.reports import Metrics, Result, Scores, read_metrics, read_result

Row = dict[str, Any]

OPTIONS = [name for cls in (ModelOptions, DataOptions, TrainingOptions) for name in cls.__dataclass_fields__]
RESULTS = [name for name in Result.names() if name not in ("run", "config")]
FIELDS = tuple(dict.fromkeys(["modified", "corpus", *OPTIONS, "run", *RESULTS]))
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


def summary(run: Run) -> Row:
    """Returns a row with the options and results of a run, whether it has ended or not.

    The row of a damaged run has the status "broken" and the field `error`; no exception is raised.
    """
    row: Row = {"run": str(run.path), "status": "broken"}
    try:
        config = run.read_config()
        row["corpus"] = " ".join(config.corpus)
        row |= config.model.to_dict() | config.data.to_dict() | config.train.to_dict()
        row["modified"] = max(path.stat().st_mtime for path in run.path.iterdir())
        if run.result.exists():
            result = read_result(run.result)
            row |= {name: result[name] for name in RESULTS}
        else:
            row["status"] = "running" if run.locked else "unfinished"
            row |= _results_so_far(run, config.train.keep_best)
    except (CharRNNError, OSError) as error:
        row |= {"status": "broken", "error": str(error)}
    return row


def list_rows(root: Path | None = None, sort: str = "best_val_loss") -> list[Row]:
    """The summaries of all runs in a directory (default: `runs`, or $CHARRNN_RUNS), sorted by a field.

    Raises RunError if a directory is given that does not exist, UsageError for an unknown field.
    """
    if root is not None and not root.is_dir():
        raise RunError(f"{root}: no such directory")
    return sort_rows([summary(run) for run in list_runs(root or runs_root())], sort)


def _results_so_far(run: Run, keep_best: str) -> Row:
    """The values of a result, from the evaluations of a run that has no result yet."""
    last: Row = {}
    best: Row = {}
    best_scores = Scores()
    for last in read_metrics(run.metrics):
        scores = Scores(loss=last["val_loss"], accuracy=last["val_accuracy"])
        if scores.is_better_than(best_scores, keep_best):
            best = last
            best_scores = scores
    if not last:
        return {}
    row: Row = {"steps": last["step"], "epochs": last["epoch"]}
    row |= {name: last[name] for name in Metrics.names() if name in RESULTS}
    row |= {name: best.get(name.removeprefix("best_")) for name in RESULTS if name.startswith("best_")}
    return row


def parse_field(name: str, option: str) -> str:
    """Returns the field that a value of an option names. `-` is equivalent to `_`, and short names are allowed.

    Raises UsageError if there is no such field.
    """
    field = name.strip().replace("-", "_")
    field = ALIASES.get(field, field)
    if field not in FIELDS:
        raise UsageError(f"{option} {name}: no such field", f"the fields are {', '.join(FIELDS)}")
    return field


@dataclass(frozen=True)
class Condition:
    """A condition on a row: FIELD=VALUE, or !=, <, <=, >, >=.

    Numbers are compared as numbers. A run or a corpus is equal to its path and to its file name. A list is equal to its
    elements, separated by commas. `-` means no value.
    """

    field: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parses a condition such as `val_loss<1.5`. Raises UsageError."""
        match = re.fullmatch(r"([\w-]+)\s*(<=|>=|!=|=|<|>)\s*(.*)", text, re.DOTALL)
        if match is None:
            raise UsageError(f"--where {text}: not of the form FIELD=VALUE", "or with !=, <, <=, >, >=")
        name, comparison, value = match.groups()
        return cls(parse_field(name, "--where"), comparison, value)

    def holds(self, row: Row) -> bool:
        actual = flat_value(row.get(self.field))
        if isinstance(actual, int | float) and not isinstance(actual, bool):
            try:
                return COMPARISONS[self.comparison](actual, float(self.value))
            except ValueError:
                return self.comparison == "!="
        if self.comparison not in ("=", "!="):
            return False
        spellings = {str(actual), str(actual).lower()}
        if self.field in ("run", "corpus"):
            spellings.add(str(actual).rpartition("/")[2])
        if actual is None:
            spellings |= {"-", ""}
        return (self.value in spellings) == (self.comparison == "=")


def flat_value(value: Any) -> Any:
    """A field of a row, with a list or an object as text: `a,b` or `a=1.5,b=2`. Other values are not changed."""
    if isinstance(value, dict):
        value = [f"{name}={each}" for name, each in value.items()]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def sort_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows in ascending order of a field, or in descending order of `-FIELD`. Rows without a value come last.
    Raises UsageError."""
    field = parse_field(key.removeprefix("-"), "--sort")
    with_value = [row for row in rows if row.get(field) is not None]
    are_numbers = all(isinstance(row[field], int | float) for row in with_value)
    with_value.sort(key=lambda row: row[field] if are_numbers else str(row[field]), reverse=key.startswith("-"))
    return with_value + [row for row in rows if row.get(field) is None]


def group_rows(rows: Sequence[Row], fields: Sequence[str]) -> list[Row]:
    """One row for each combination of values of some fields: the number of runs, and the median, least and greatest of
    their best losses, in ascending order of the median. Runs without a best loss are left out."""
    members: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.get("best_val_loss") is not None:
            members.setdefault(tuple(str(flat_value(row.get(field))) for field in fields), []).append(row)
    groups = []
    for group in members.values():
        losses = [row["best_val_loss"] for row in group]
        groups.append(
            {field: group[0].get(field) for field in fields}
            | {"runs": len(group)}
            | {"median": statistics.median(losses), "least": min(losses), "greatest": max(losses)}
        )
    return sorted(groups, key=lambda group: group["median"])
