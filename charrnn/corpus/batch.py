"""A batch: what one step of training or scoring needs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from charrnn.nn.arrays import Array


@dataclass(frozen=True, eq=False)
class Batch:
    """T time steps of B streams. A task chooses the inputs and targets, the scored steps and the resets."""

    x: Array  # (T, B) ids, or (T, B, D) numbers
    targets: Array  # (T, B) ids, or (T, B, M) numbers
    loss_mask: Array | None = None  # (T, B), 1 where the step is scored, else 0; None: all steps are scored
    reset_mask: Array | None = None  # (T, B, 1) bool, True where the step starts from the zero state; None: nowhere
    features: Array | None = None  # (B, F), vectors that replace the first input of each stream
    ngrams: Array | None = None  # (T, B, K), ids of the n-grams around each step; 0 means none

    def select_streams(self, rows: slice) -> Batch:
        """A batch of some of the streams."""
        return Batch(
            x=self.x[:, rows],
            targets=self.targets[:, rows],
            loss_mask=None if self.loss_mask is None else self.loss_mask[:, rows],
            reset_mask=None if self.reset_mask is None else self.reset_mask[:, rows],
            features=None if self.features is None else self.features[rows],
            ngrams=None if self.ngrams is None else self.ngrams[:, rows],
        )

    @property
    def num_scored(self) -> float:
        """The number of scored steps: the sum of the loss mask."""
        steps, streams = self.x.shape[:2]
        return steps * streams if self.loss_mask is None else float(self.loss_mask.sum())


class BatchStream(Protocol):
    """An endless sequence of training batches. A batch depends only on its step, so a run can resume at any step."""

    @property
    def epoch_steps(self) -> float:
        """The number of steps per epoch."""

    def batch(self, step: int) -> Batch: ...


class BatchPass(Protocol):
    """A sequence of batches in which every prediction is scored exactly once."""

    @property
    def steps(self) -> int: ...

    @property
    def predictions(self) -> int:
        """The number of scored predictions."""

    def batch(self, step: int) -> Batch: ...
