"""The events that a Trainer yields, and the part of its state that is stored as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from charrnn.fields import CheckedFields, checked_field
from charrnn.runs.reports import Scores


@dataclass
class TrainingState(CheckedFields):
    """The state of a run, which last.safetensors contains as JSON."""

    step: int = checked_field(0, low=0)  # number of steps taken
    seconds: float = checked_field(0.0, low=0)  # time of training
    milestone: int = 0  # number of milestones passed at the last evaluation; see trainer.EVALUATIONS
    loss_sum: float = 0.0  # over the steps since the last evaluation
    loss_steps: int = checked_field(0, low=0)  # steps since the last evaluation
    grad_norm: float | None = None  # of the last step
    learning_rate: float = 0.0  # of the last step
    evaluated_step: int = -1  # step of the last evaluation
    evaluation_seconds: float = checked_field(0.0, low=0)  # duration of the last evaluation
    train_loss: float | None = None  # mean over the steps between the last two evaluations
    val: Scores = field(default_factory=Scores)  # of the last evaluation
    best: Scores = field(default_factory=Scores)  # of the best evaluation; see --keep-best
    best_step: int | None = None  # step of the best evaluation
    stale_evaluations: int = 0  # evaluations since best_step
    metrics_size: int = checked_field(0, low=0)  # bytes of metrics.jsonl
    samples_size: int = checked_field(0, low=0)  # bytes of samples.jsonl

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        scores = {name: Scores.from_dict(values[name]) for name in ("val", "best")}
        return super().from_dict(values | scores)


@dataclass(frozen=True)
class Step:
    """A step was taken."""

    step: int
    loss: float  # of the batch
    progress: float  # used fraction of the budget, from 0 to 1
    chars_per_second: float
    seconds_left: float  # estimated


@dataclass(frozen=True)
class Validating:
    """A part of the validation data was scored."""

    share: float  # of the validation data, from 0 to 1


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated."""

    metrics: dict[str, Any]  # the new line of metrics.jsonl
    best: bool  # whether this is the best evaluation so far


@dataclass(frozen=True)
class Sampled:
    """Sample output of the model, for the user."""

    text: str
    step: int


@dataclass(frozen=True)
class Saved:
    """The run was saved."""

    step: int


@dataclass(frozen=True)
class Done:
    """The run has ended."""

    result: dict[str, Any]  # the content of result.json


Event = Step | Validating | Evaluated | Sampled | Saved | Done
