"""What a sweep tells as it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialEvaluated:
    """A trial has come so far in its budget, from 0 to 1."""

    number: int
    progress: float


@dataclass(frozen=True)
class TrialEnded:
    """state: completed, pruned, diverged or failed."""

    number: int
    state: str
