"""The events of a training run, and the part of its state that is not arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from charrnn.fields import CheckedFields, checked_field
from charrnn.runs.reports import Scores


@dataclass
class TrainingState(CheckedFields):
    """Stored in last.safetensors as JSON."""

    step: int = checked_field(0, low=0)
    seconds: float = checked_field(0.0, low=0)
    milestone: int = 0  # the number of EVALUATIONS that were due up to the last evaluation
    loss_sum: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = checked_field(0, low=0)
    grad_norm: float | None = None
    learning_rate: float = 0.0
    evaluated_step: int = -1
    train_loss: float | None = None  # mean between the last two evaluations
    val: Scores = field(default_factory=Scores)  # of the last evaluation
    best: Scores = field(default_factory=Scores)  # of the evaluation with the lowest validation loss
    best_step: int | None = None
    stale_evaluations: int = 0  # since the best one
    metrics_size: int = checked_field(0, low=0)  # bytes of metrics.jsonl

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        scores = {name: Scores.from_dict(values[name]) for name in ("val", "best")}
        return super().from_dict(values | scores)


@dataclass(frozen=True)
class Step:
    """A step was taken."""

    step: int
    loss: float  # of the batch
    progress: float  # fraction of the budget, from 0 to 1
    chars_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated."""

    metrics: dict[str, Any]  # the line written to metrics.jsonl
    best: bool  # whether it is the best so far


@dataclass(frozen=True)
class Sampled:
    """The model produced some output, for the user to look at."""

    text: str


@dataclass(frozen=True)
class Saved:
    """The state was saved."""

    step: int


@dataclass(frozen=True)
class Done:
    """The run has ended."""

    result: dict[str, Any]  # as written to result.json


Event = Step | Evaluated | Sampled | Saved | Done
