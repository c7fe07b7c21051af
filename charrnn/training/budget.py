"""How long a run trains: the budgets that were given, and the progress through them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.options import TrainingOptions


@dataclass(frozen=True)
class Budget:
    """The run ends at the first limit that is reached. None is no limit."""

    steps: int | None
    seconds: float | None

    @classmethod
    def from_options(cls, train: TrainingOptions, epoch_steps: float) -> Budget:
        """epoch_steps: the number of steps of an epoch."""
        limits = [] if train.max_steps is None else [train.max_steps]
        if train.max_epochs is not None:
            limits.append(math.ceil(train.max_epochs * epoch_steps - 1e-9))
        seconds = None if train.max_minutes is None else train.max_minutes * 60
        return cls(min(limits, default=None), seconds)

    def progress(self, step: int, seconds: float) -> float:
        """The fraction of the budget that is used, from 0 to 1."""
        progress = 0.0
        if self.steps is not None:
            progress = step / self.steps if self.steps else 1.0
        if self.seconds is not None:
            progress = max(progress, seconds / self.seconds if self.seconds else 1.0)
        return min(1.0, progress)
