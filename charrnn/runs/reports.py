"""What a run says of itself: config.json, metrics.jsonl and result.json, each with one strict reader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from charrnn.errors import RunError, UsageError, printable
from charrnn.fields import CheckedFields, checked_field
from charrnn.options import RunConfig
from charrnn.runs.files import read_regular
from charrnn.runs.versions import todays_config

LARGEST = 1 << 26  # bytes: no such file comes near it
CHOSEN = ("batch_size", "seq_length", "learning_rate", "dropout", "recurrent_dropout", "workers")
STATUSES = ("completed", "early_stopped", "interrupted", "diverged")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Metrics(CheckedFields):
    """A line of metrics.jsonl: an evaluation."""

    step: int = checked_field(0, "", low=0)
    epoch: float
    chars: int
    seconds: float
    train_loss: float | None
    val_loss: float | None
    val_bpc: float | None
    val_accuracy: float | None = None
    val_rmse: dict[str, float] | None = None
    learning_rate: float
    grad_norm: float | None
    chars_per_second: float


@dataclass(frozen=True, kw_only=True)
class Result(CheckedFields):
    """result.json: how a run ended."""

    run: str
    status: str = checked_field("", "", choices=STATUSES)
    steps: int
    epochs: float
    chars: int
    seconds: float
    chars_per_second: float
    train_loss: float | None
    val_loss: float | None
    best_val_loss: float | None
    best_val_bpc: float | None
    best_step: int | None
    val_accuracy: float | None = None
    val_rmse: dict[str, float] | None = None
    test_loss: float | None
    test_metrics: dict[str, Any] | None = None
    parameters: int
    vocabulary_size: int
    workers: int
    config: dict[str, Any]


def read_config(path: Path) -> RunConfig:
    """Raises RunError if it is missing or damaged."""

    def parse(data: bytes) -> RunConfig:
        values = todays_config(_object(json.loads(data)))
        corpus, train = values["corpus"], _object(values["train"])
        if not isinstance(corpus, list) or not corpus or not all(isinstance(name, str) for name in corpus):
            raise ValueError("its corpus is no list of paths")
        for name in (*corpus, values["text"].get("val_file") or "", values["text"].get("features") or ""):
            os.fsencode(name)  # a lone surrogate is no path
            if "\0" in name:
                raise ValueError(f"no path: {printable(name)}")
        if missing := [name for name in CHOSEN if train.get(name) is None]:
            raise ValueError(f"{missing[0]} is not chosen")
        config = RunConfig.from_dict(values)
        if config.train.max_steps is config.train.max_epochs is config.train.max_minutes is None:
            raise ValueError("it has no budget")
        return config

    return _read(path, parse)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The evaluations so far; a last line that a kill has torn is left out. Raises RunError."""

    def parse(data: bytes) -> list[dict[str, Any]]:
        return [Metrics.from_dict(json.loads(line)).to_dict() for line in data.split(b"\n")[:-1]]

    return _read(path, parse) if path.exists() else []


def read_result(path: Path) -> dict[str, Any]:
    """Raises RunError."""
    return _read(path, lambda data: Result.from_dict(json.loads(data)).to_dict())


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    """Whatever is wrong with a file, in a line that names it."""
    try:
        return parse(read_regular(path, LARGEST))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    except UsageError as error:
        raise RunError(f"{path}: damaged: {error.message}") from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise RunError(f"{path}: damaged: {str(error)[:200] or type(error).__name__}") from None
