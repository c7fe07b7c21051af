"""Events that a sweep yields while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialEvaluated:
    """A trial was evaluated. progress: the used fraction of its budget, from 0 to 1."""

    number: int
    progress: float


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended. state: completed, pruned, diverged or failed."""

    number: int
    state: str
