"""The trials of a sweep as data for a figure. A trial is a dictionary with state, value (its loss) and params."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from charrnn.errors import RunError

Trial = dict[str, Any]


class ValueMedian(NamedTuple):
    """The median loss of the completed trials with one value of an option."""

    value: Any
    loss: float
    num_trials: int


def evaluated_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have a loss, in the same order. Raises RunError if there are none."""
    evaluated = [trial for trial in trials if trial["value"] is not None]
    if not evaluated:
        raise RunError("nothing to plot: no trial has been evaluated yet")
    return evaluated


def option_names(trials: Sequence[Trial]) -> list[str]:
    """The options that the trials vary."""
    return list(dict.fromkeys(name for trial in trials for name in trial["params"]))


def sorted_values(values: Iterable[Any]) -> list[Any]:
    """The distinct values of an option: numbers first, then strings."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def value_medians(trials: Sequence[Trial], name: str) -> list[ValueMedian]:
    """The medians of all values of an option."""
    losses: dict[Any, list[float]] = {}
    for trial in trials:
        if trial["state"] == "completed":
            losses.setdefault(trial["params"][name], []).append(trial["value"])
    return [
        ValueMedian(value, statistics.median(losses[value]), len(losses[value]))
        for value in sorted_values(list(losses))
    ]
