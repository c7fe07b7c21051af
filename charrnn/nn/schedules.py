"""Learning rate schedules: functions from the progress of a run (0 to 1) to a factor of the peak learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(progress: float) -> float:
    """Half a cosine wave, from 1 to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """A straight line from 1 to 0."""
    return 1 - progress


def constant(progress: float) -> float:
    """1 throughout the run."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "linear": linear, "constant": constant}


def factor(schedule: str, progress: float, step: int, warmup_steps: int) -> float:
    """The factor of a schedule, multiplied by a warmup that rises linearly from 1 / warmup_steps to 1.

    step: counted from 0. progress: values above 1, in a run that exceeds its budget, count as 1.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return warmup * SCHEDULES[schedule](min(progress, 1.0))
