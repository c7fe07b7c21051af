"""The importance of options, on grids whose answer is known."""

import itertools

import numpy as np
import pytest

from charrnn.sweep.importance import option_importances

SIZES = {32: 2.0, 64: 1.6, 128: 1.4}
CELLS = {"lstm": 0.0, "gru": 0.01, "rnn": 0.02}


def grid_trials(noise=0.0):
    rng = np.random.default_rng(0)
    points = itertools.product(SIZES, CELLS)
    return [
        ({"hidden_size": size, "cell": cell}, SIZES[size] + CELLS[cell] + noise * rng.normal()) for size, cell in points
    ]


def test_the_important_option_of_a_grid_comes_first():
    shares = option_importances(grid_trials())
    assert list(shares) == ["hidden_size", "cell"]
    assert shares["hidden_size"] > 0.98
    assert shares["cell"] < 0.01


def test_options_without_effect_have_no_importance_on_average():
    """A plain share of the variance (eta squared) would be 0.25 here."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        trials = [({"a": a, "b": b}, rng.normal()) for a in range(3) for b in range(3)]
        shares += option_importances(trials).values()
    assert np.median(shares) == 0
    assert np.mean(shares) < 0.12


def test_a_searched_number_is_divided_into_groups():
    rng = np.random.default_rng(2)
    rates = 10 ** rng.uniform(-4, -1, 30)
    norms = rng.uniform(0, 1, 30)
    trials = [
        ({"learning_rate": rate, "clip_norm": norm}, abs(np.log10(rate) + 1))
        for rate, norm in zip(rates, norms, strict=True)
    ]
    shares = option_importances(trials)
    assert shares["learning_rate"] > 0.7
    assert shares["clip_norm"] < 0.2


def test_an_option_with_one_value_has_no_importance_and_the_others_keep_theirs():
    trials = [(values | {"seed": 1}, loss) for values, loss in grid_trials()]
    assert option_importances(trials) == option_importances(grid_trials())


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_too_few_trials_have_no_importances(count):
    assert option_importances(grid_trials(0.1)[:count]) == {}


def test_trials_with_equal_losses_have_no_importances():
    assert option_importances([({"cell": cell}, 1.0) for cell in ("lstm", "gru") * 5]) == {}
