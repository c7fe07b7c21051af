"""How long a run trains: the budgets given, and how far it is through them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.options import TrainingOptions


@dataclass(frozen=True)
class Budget:
    """The first limit to be reached ends the run; None is no limit."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, config: TrainingOptions, epoch_steps: float) -> Budget:
        """epoch_steps: in how many steps all is read once."""
        limits = [] if config.max_steps is None else [config.max_steps]
        if config.max_epochs is not None:
            limits.append(math.ceil(config.max_epochs * epoch_steps - 1e-9))
        return cls(min(limits, default=None), None if config.max_minutes is None else config.max_minutes * 60)

    def progress(self, step: int, seconds: float) -> float:
        """From 0 to 1, where the run is over."""
        progress = 0.0
        if self.steps is not None:
            progress = step / self.steps if self.steps else 1.0
        if self.seconds is not None:
            progress = max(progress, seconds / self.seconds if self.seconds else 1.0)
        return min(1.0, progress)
