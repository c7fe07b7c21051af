"""The JSON files of a run: config.json, metrics.jsonl, samples.jsonl and result.json. Each file has one reader, which
checks it completely. README.md in this folder specifies the files."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeVar

from charrnn.errors import RunError, UsageError
from charrnn.fields import LARGEST_INTEGER, CheckedFields, checked_field
from charrnn.options import DataOptions, RunConfig
from charrnn.runs.files import PARSE_ERRORS, open_regular, parse_error_reason, read_regular

MAX_SIZE = 1 << 26  # bytes of a JSON file, or of a line; a larger one was not written by charrnn
# Options that must have a value in config.json. `training/defaults.py` chooses the values that the user does not give.
RESOLVED = ("batch_size", "seq_length", "learning_rate", "dropout", "recurrent_dropout", "workers", "val_limit")
BUDGETS = ("max_steps", "max_epochs", "max_minutes")  # at least one of them must have a value
STATUSES = ("completed", "early_stopped", "interrupted", "diverged")

T = TypeVar("T")


@dataclass(frozen=True)
class Scores(CheckedFields):
    """The scores of one evaluation. This is the only list of their names."""

    loss: float | None = None
    bpc: float | None = None  # the loss in bits, if the predictions are symbols
    accuracy: float | None = None  # fraction of correct predictions
    rmse: dict[str, float] | None = None  # {column: root mean squared error}, in the column's own units

    def with_prefix(self, prefix: str) -> dict[str, Any]:
        """Returns the scores with a prefix before their names: {"val_loss": ...} for the prefix `val_`."""
        return {prefix + name: value for name, value in self.to_dict().items()}

    def is_better_than(self, other: Scores, criterion: str) -> bool:
        """Whether the loss is lower or, with the criterion "accuracy", the accuracy is higher.

        Of two equal accuracies, the one with the lower loss is better. Any scores are better than none.
        """
        if self.loss is None or other.loss is None:
            return self.loss is not None
        if criterion == "accuracy" and self.accuracy is not None and other.accuracy is not None:
            return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)
        return self.loss < other.loss

    @classmethod
    def split_off(cls, values: dict[str, Any], prefix: str) -> tuple[Self, dict[str, Any]]:
        """The inverse of `with_prefix`: the scores among the values, and the other values."""
        names = {prefix + field.name: field.name for field in dataclasses.fields(cls)}
        scores = cls.from_dict({names[key]: value for key, value in values.items() if key in names})
        return scores, {key: value for key, value in values.items() if key not in names}


class Report(CheckedFields):
    """A report with a field `val` of type Scores. In JSON each score is a value of the report: val_loss, val_bpc ..."""

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values |= value.with_prefix("val_") if field.name == "val" else {field.name: value}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        if not isinstance(values, dict):
            raise UsageError("expected an object with named values")
        for name in cls.names():
            if name not in values:
                raise UsageError(f"{name} is missing")
        val, others = Scores.split_off(values, "val_")
        return super().from_dict(others | {"val": val})

    @classmethod
    def names(cls) -> list[str]:
        """The names of all values in JSON."""
        names = []
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            names += list(Scores().with_prefix("val_")) if field.name == "val" else [field.name]
        return names


@dataclass(frozen=True, kw_only=True)
class Metrics(Report):
    """One evaluation: a line of metrics.jsonl."""

    step: int = checked_field(0, low=0)
    epoch: float
    chars: int
    seconds: float
    train_loss: float | None
    val: Scores
    learning_rate: float
    grad_norm: float | None
    chars_per_second: float


@dataclass(frozen=True)
class Sample(CheckedFields):
    """Sample output of the model during training: a line of samples.jsonl."""

    step: int = checked_field(0, low=0)
    text: str = ""


# The types that the values in metrics.jsonl usually have. A line with other types is checked completely.
METRICS_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(Metrics.names(), (float, NoneType)),
    **dict.fromkeys(("epoch", "seconds", "learning_rate", "chars_per_second"), (float,)),
    **dict.fromkeys(("step", "chars"), (int,)),
    "val_rmse": (NoneType,),
}


@dataclass(frozen=True, kw_only=True)
class Result(Report):
    """The result of a run: result.json. The scores are those of the last evaluation."""

    run: str
    status: str = checked_field("", choices=STATUSES)
    steps: int
    epochs: float
    chars: int
    seconds: float
    chars_per_second: float
    train_loss: float | None
    val: Scores
    best_val_loss: float | None
    best_val_bpc: float | None
    best_step: int | None
    test_loss: float | None
    test_metrics: dict[str, Any] | None
    parameters: int
    vocabulary_size: int
    workers: int
    config: dict[str, Any]


def read_config(path: Path) -> RunConfig:
    """Reads config.json. Raises RunError if it is missing or damaged."""

    def parse(data: bytes) -> RunConfig:
        values = json.loads(data)
        config = RunConfig.from_dict(values)
        unknown = set(values) - set(config.to_dict())
        if unknown:
            raise ValueError(f"unknown setting {min(unknown)!r}")
        _check_paths(values["corpus"], config.data)
        train = config.train.to_dict()
        for name in RESOLVED:
            if train[name] is None:
                raise ValueError(f"{name} has no value")
        if all(train[name] is None for name in BUDGETS):
            raise ValueError(f"none of {', '.join(BUDGETS)} has a value")
        return config

    return _read(path, parse)


def _check_paths(corpus: Any, data: DataOptions) -> None:
    """Raises ValueError for values that cannot be paths."""
    if not isinstance(corpus, list) or not corpus:
        raise ValueError("the corpus is not a list of paths")
    for path in [*corpus, *filter(None, [data.val_file, data.features])]:
        if not isinstance(path, str) or "\0" in path:
            raise ValueError(f"not a path: {path}")
        os.fsencode(path)  # raises UnicodeEncodeError for a lone surrogate


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the evaluations in metrics.jsonl, which can be a long file.

    An incomplete last line, which a killed process can leave, is ignored. A file that does not exist has no
    evaluations. Raises RunError if the file is damaged.
    """
    return _read_lines(path, _parse_metrics)


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the samples in samples.jsonl. See `read_metrics`."""
    return _read_lines(path, lambda line: Sample.from_dict(json.loads(line)).to_dict())


def _read_lines(path: Path, parse: Callable[[bytes], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the parsed lines of a file."""
    if not path.exists():
        return
    number = 0
    try:
        with open_regular(path) as file:
            while (line := file.readline(MAX_SIZE)).endswith(b"\n"):
                number += 1
                yield parse(line)
            if len(line) == MAX_SIZE:
                raise ValueError("the line is too long")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    except PARSE_ERRORS as error:
        raise RunError(f"{path}: damaged: line {number}: {parse_error_reason(error)}") from None


def _parse_metrics(line: bytes) -> dict[str, Any]:
    """A line of metrics.jsonl. Raises one of PARSE_ERRORS."""
    values = json.loads(line)
    is_valid = isinstance(values, dict) and values.keys() == METRICS_TYPES.keys()
    is_valid = is_valid and all(_is_plain(values[name], types) for name, types in METRICS_TYPES.items())
    # The complete check takes much longer. It is only needed for unusual values, and for the message.
    return values if is_valid else Metrics.from_dict(values).to_dict()


def _is_plain(value: Any, types: tuple[type, ...]) -> bool:
    """Whether a value has one of the types and is certain to be within all limits."""
    if type(value) is int:
        return int in types and 0 <= value <= LARGEST_INTEGER
    return type(value) in types and (value is None or math.isfinite(value))


def read_result(path: Path) -> dict[str, Any]:
    """Reads result.json. Raises RunError if it is missing or damaged."""
    return _read(path, lambda data: Result.from_dict(json.loads(data)).to_dict())


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    """Reads and parses a file. Raises RunError, with the name of the file, if the file is missing or damaged."""
    try:
        return parse(read_regular(path, MAX_SIZE))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    except PARSE_ERRORS as error:
        raise RunError(f"{path}: damaged: {parse_error_reason(error)}") from None
