"""What a training run tells as it goes, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charrnn.fields import CheckedFields, checked_field


@dataclass
class Standing(CheckedFields):
    """Where a run stands: the part of its state that is not an array. Saved in the checkpoint as it is."""

    step: int = checked_field(0, "", low=0)
    seconds: float = checked_field(0.0, "", low=0)
    milestone: int = 0  # of EVALUATIONS, at the last one
    loss_sum: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = checked_field(0, "", low=0)
    grad_norm: float | None = None
    learning_rate: float = 0.0
    evaluated_step: int = -1
    train_loss: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_rmse: dict[str, float] | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    stale_evaluations: int = 0
    metrics_size: int = checked_field(0, "", low=0)


@dataclass(frozen=True)
class Step:
    """A step was taken. loss is the batch's; progress runs from 0 to 1 through the budget."""

    step: int
    loss: float
    progress: float
    chars_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Evaluated:
    """The line that was written to metrics.jsonl."""

    metrics: dict[str, Any]
    best: bool


@dataclass(frozen=True)
class Sampled:
    text: str


@dataclass(frozen=True)
class Saved:
    step: int


@dataclass(frozen=True)
class Done:
    """The result, as written to result.json."""

    result: dict[str, Any]


Event = Step | Evaluated | Sampled | Saved | Done
