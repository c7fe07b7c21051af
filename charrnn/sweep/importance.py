"""The share of the variance between trials that each option explains: a one-way analysis of variance per option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array

NUMERIC_GROUPS = 3  # groups of equal size into which the values of a searched number are divided
MIN_EXTRA_TRIALS = 3  # trials required beyond the number of groups


def option_importances(trials: Sequence[tuple[dict[str, Any], float]]) -> dict[str, float]:
    """The share of the losses' variance that each option explains, from the largest to the smallest.

    trials: the option values and the loss of each completed trial. The share is omega squared (Hays 1963): the variance
    between groups of equal option values, minus the variance expected by chance. The shares need not sum to 1. The
    remainder is due to interactions of options and to chance. The result is empty if there are too few trials.
    """
    losses = np.array([loss for _, loss in trials])
    if len(losses) == 0:
        return {}
    total_squares = float(((losses - losses.mean()) ** 2).sum())
    if total_squares == 0:
        return {}
    shares = {}
    for name in trials[0][0]:
        groups = _group_values([values[name] for values, _ in trials])
        count = len(np.unique(groups))
        if count < 2:
            continue
        if len(losses) < count + MIN_EXTRA_TRIALS:
            return {}
        group_means = np.array([losses[groups == group].mean() for group in groups])
        squares_within = float(((losses - group_means) ** 2).sum())
        squares_between = total_squares - squares_within
        chance = squares_within / (len(losses) - count)  # mean square within groups
        shares[name] = max(0.0, (squares_between - (count - 1) * chance) / (total_squares + chance))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _group_values(values: Sequence[Any]) -> Array:
    """Returns the group of each value: one per distinct value, or one of NUMERIC_GROUPS if most values differ."""
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    positions = np.array([distinct.index(value) for value in values])
    if len(distinct) <= NUMERIC_GROUPS or len(distinct) <= len(values) / 2:
        return positions
    ranks = np.argsort(np.argsort(positions, kind="stable"), kind="stable")
    return ranks * NUMERIC_GROUPS // len(values)
