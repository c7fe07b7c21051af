"""A batch: the data of one step of training or scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from charrnn.nn.arrays import Array


@dataclass(frozen=True, eq=False)
class Source:
    """The input of an encoder: B sequences of up to S steps, aligned at their ends."""

    x: Array  # (S, B) ids, or (S, B, D) numbers; a sequence of length n fills the last n steps
    lengths: Array  # (B,), 0 for an empty stream

    @property
    def is_step(self) -> Array:
        """Bool (S, B), False where a step is padding."""
        steps = len(self.x)
        is_step: Array = np.arange(steps)[:, None] >= steps - self.lengths
        return is_step

    def select_streams(self, rows: slice) -> Source:
        """The sources of some of the streams."""
        return Source(self.x[:, rows], self.lengths[rows])


@dataclass(frozen=True, eq=False)
class Batch:
    """T time steps of B streams. A task chooses the inputs and targets, the scored steps and the resets."""

    x: Array  # (T, B) ids, or (T, B, D) numbers
    targets: Array  # (T, B) ids, or (T, B, M) numbers
    loss_mask: Array | None = None  # (T, B), 1 where the step is scored, else 0; None: all steps are scored
    reset_mask: Array | None = None  # (T, B, 1) bool, True where the step starts from the zero state; None: nowhere
    ngrams: Array | None = None  # (T, B, K), ids of the n-grams around each step; 0 means none
    source: Source | None = None  # input of the encoder, which computes the initial state; None: no encoder

    def select_streams(self, rows: slice) -> Batch:
        """A batch of some of the streams."""
        return Batch(
            x=self.x[:, rows],
            targets=self.targets[:, rows],
            loss_mask=None if self.loss_mask is None else self.loss_mask[:, rows],
            reset_mask=None if self.reset_mask is None else self.reset_mask[:, rows],
            ngrams=None if self.ngrams is None else self.ngrams[:, rows],
            source=None if self.source is None else self.source.select_streams(rows),
        )

    @property
    def num_scored(self) -> float:
        """The number of scored steps: the sum of the loss mask."""
        steps, streams = self.x.shape[:2]
        return steps * streams if self.loss_mask is None else float(self.loss_mask.sum())


def spread(number: int, total: int) -> Array:
    """`number` of the indices 0 ... total - 1, spread evenly.

    >>> spread(3, 10)
    array([0, 3, 6])
    """
    return np.arange(number) * total // max(1, number)


class BatchStream(Protocol):
    """An endless sequence of training batches. A batch depends only on its step, so a run can resume at any step."""

    @property
    def epoch_steps(self) -> float:
        """The number of steps per epoch."""

    @property
    def symbols_per_step(self) -> float:
        """The mean number of symbols (or rows) that a batch contains."""

    def batch(self, step: int) -> Batch: ...


class BatchPass(Protocol):
    """A sequence of batches in which every prediction is scored exactly once."""

    @property
    def steps(self) -> int: ...

    @property
    def predictions(self) -> int:
        """The number of scored predictions."""

    def batch(self, step: int) -> Batch: ...
