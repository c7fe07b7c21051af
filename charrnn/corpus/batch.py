"""A batch: what one step of training, or of scoring, needs to know."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.nn.arrays import Array


@dataclass(frozen=True, eq=False)
class Batch:
    """T time steps of B streams. A topology is nothing but where inputs, weights and resets stand."""

    x: Array  # (T, B) ids, or (T, B, D) numbers
    targets: Array  # (T, B) ids, or (T, B, M) numbers
    weights: Array | None = None  # (T, B), 0 where nothing is scored; None: 1 everywhere
    keep: Array | None = None  # (T, B, 1), 0 where the state starts anew; None: nowhere
    features: Array | None = None  # (B, F), a vector that stands in the place of each stream's first input
    direct: Array | None = None  # (T, B, K), the features that add to each step's outputs directly; 0 for none

    def streams(self, rows: slice) -> Batch:
        """These streams of it."""
        its = (None if array is None else array[:, rows] for array in (self.weights, self.keep, self.direct))
        weights, keep, direct = its
        features = None if self.features is None else self.features[rows]
        return Batch(self.x[:, rows], self.targets[:, rows], weights, keep, features, direct)

    @property
    def scored(self) -> float:
        """The sum of the weights."""
        steps, streams = self.x.shape[:2]
        return steps * streams if self.weights is None else float(self.weights.sum())
