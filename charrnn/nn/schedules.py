"""Schedules: progress through the budget, from 0 to 1 -> the factor of the peak learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(progress: float) -> float:
    """Half a cosine wave from 1 down to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    return 1 - progress


def constant(progress: float) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "linear": linear, "constant": constant}


def factor(schedule: str, progress: float, step: int, warmup_steps: int) -> float:
    """The schedule's factor at `progress`, times a linear rise over the first steps; `step` counts from 0."""
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return warmup * SCHEDULES[schedule](min(progress, 1.0))
