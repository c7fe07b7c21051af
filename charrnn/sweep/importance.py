"""How much an option explains of the differences between trials: an analysis of variance, one option at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array

GROUPS = 3  # into which a range of numbers is cut, as many trials in each
SPARE = 3  # trials that there must be besides one for each group, or nothing is said


def importances(trials: Sequence[tuple[dict[str, Any], float]]) -> dict[str, float]:
    """(values of the options, loss) of each trial -> the share of the losses' variance that the groups of one value
    explain beyond chance (omega squared, Hays 1963), the greatest first.

    Empty where there are too few trials to tell. What the shares leave is interplay of options, and chance.
    """
    losses = np.array([loss for _, loss in trials])
    total = float(((losses - losses.mean()) ** 2).sum()) if len(losses) else 0.0
    if total == 0:
        return {}
    found = {}
    for name in trials[0][0]:
        groups = _groups([values[name] for values, _ in trials])
        number = len(np.unique(groups))
        if number < 2 or len(losses) < number + SPARE:
            return {}
        means = np.array([losses[groups == group].mean() for group in groups])
        within = float(((losses - means) ** 2).sum()) / (len(losses) - number)
        between = total - within * (len(losses) - number)
        found[name] = max(0.0, (between - (number - 1) * within) / (total + within))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _groups(values: Sequence[Any]) -> Array:
    """A number for each value, the same for those that belong together."""
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    places = np.array([distinct.index(value) for value in values])
    if len(distinct) <= GROUPS or len(distinct) <= len(values) / 2:
        return places
    ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    return ranks * GROUPS // len(values)
