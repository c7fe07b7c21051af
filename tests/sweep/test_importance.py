"""How much an option explains: hand-made grids of which the answer is known."""

import itertools

import numpy as np
import pytest

from charrnn.sweep.importance import importances

SIZES, CELLS = {32: 2.0, 64: 1.6, 128: 1.4}, {"lstm": 0.0, "gru": 0.01, "rnn": 0.02}


def grid(noise=0.0):
    rng = np.random.default_rng(0)
    points = itertools.product(SIZES, CELLS)
    return [({"hidden_size": s, "cell": c}, SIZES[s] + CELLS[c] + noise * rng.normal()) for s, c in points]


def test_the_size_explains_what_the_group_means_say():
    shares = importances(grid())
    assert list(shares) == ["hidden_size", "cell"]
    assert shares["hidden_size"] > 0.98 and shares["cell"] < 0.01


def test_an_option_without_effect_explains_nothing_whatever_the_noise():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        trials = [({"a": a, "b": b}, rng.normal()) for a in range(3) for b in range(3)]
        found += importances(trials).values()
    assert np.median(found) == 0 and np.mean(found) < 0.12  # eta squared would say 0.25


def test_a_searched_number_is_cut_into_groups():
    rng = np.random.default_rng(2)
    drawn = zip(10 ** rng.uniform(-4, -1, 30), rng.uniform(0, 1, 30), strict=True)
    trials = [({"learning_rate": rate, "clip_norm": norm}, abs(np.log10(rate) + 1)) for rate, norm in drawn]
    shares = importances(trials)
    assert shares["learning_rate"] > 0.7 and shares["clip_norm"] < 0.2


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_of_few_trials_nothing_is_said(number):
    assert importances(grid(0.1)[:number]) == {}


def test_of_equal_trials_nothing_is_said():
    assert importances([({"cell": c}, 1.0) for c in ("lstm", "gru") * 5]) == {}
