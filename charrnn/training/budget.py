"""The budget of a run, and the progress of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.options import TrainingOptions


@dataclass(frozen=True)
class Budget:
    """The limits of a run. The run ends when it reaches the first of them. None means no limit."""

    steps: int | None
    seconds: float | None

    @classmethod
    def from_options(cls, train: TrainingOptions, epoch_steps: float) -> Budget:
        """Makes a budget from training options. epoch_steps: the number of steps per epoch."""
        limits = [] if train.max_steps is None else [train.max_steps]
        if train.max_epochs is not None:
            limits.append(math.ceil(train.max_epochs * epoch_steps - 1e-9))  # 1.1 x 50 is 55.00000000000001
        seconds = None if train.max_minutes is None else train.max_minutes * 60
        return cls(min(limits, default=None), seconds)

    def progress(self, step: int, seconds: float, reserved: float = 0.0) -> float:
        """The used fraction of the budget, from 0 to 1.

        reserved: seconds of the budget for the last evaluation. At least half of the budget is for training.
        """
        progress = 0.0
        if self.steps is not None:
            progress = step / self.steps if self.steps else 1.0
        if self.seconds is not None:
            available = max(self.seconds - reserved, self.seconds / 2)
            progress = max(progress, seconds / available if available else 1.0)
        return min(1.0, progress)
