"""Loss curves: which losses are shown, and the layout of their labels."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.plots.curves import Curve, LossFigure, engineering, round_ticks, spread


def test_the_limits_leave_out_the_first_two_evaluations():
    curve = Curve("a", [1, 2, 3, 4, 5], [9, 8, 7, 6, 5], [50.0, 9.0, 3.0, 2.0, 1.0])
    low, high = LossFigure([curve], "", "", "").y_limits
    assert 0.5 < low < 1 and 3 < high < 4


def test_the_limits_of_a_single_loss_have_a_margin():
    low, high = LossFigure([Curve("a", [1], [2.0], [2.0])], "", "", "").y_limits
    assert (low, high) == pytest.approx((1.9, 2.1))


def test_the_points_are_the_validation_losses_that_exist_or_the_training_losses_of_a_run_without_validation():
    assert Curve("a", [1, 2], [9, 8], [None, 3.0]).points == [(2, 3.0)]
    without_validation = Curve("a", [1, 2], [9, 8], [None, None])
    assert without_validation.points == [(1, 9), (2, 8)]
    assert (without_validation.has_validation, without_validation.best) == (False, 8)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_spread_places_keep_their_order_and_distance_and_stay_below_the_upper_end(places):
    moved = spread(places, 0.05, 0.0, 1.0)
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(sorted(moved)))
    assert max(moved) <= 1 + 1e-9
    order = sorted(range(len(places)), key=lambda n: places[n])
    assert [moved[n] for n in order] == sorted(moved)


def test_spread_moves_places_only_as_far_as_necessary():
    assert spread([1, 1, 9], 2, 0, 9) == [1, 3, 9]
    assert spread([8, 9, 9], 2, 0, 9) == [5, 7, 9]


@pytest.mark.parametrize(
    ("longest", "ticks"), [(10, [0, 2, 4, 6, 8, 10]), (0.7, [0, 0.2, 0.4, 0.6]), (1600, [0, 500, 1000, 1500])]
)
def test_ticks_are_multiples_of_a_round_step(longest, ticks):
    assert round_ticks(longest, 5) == pytest.approx(ticks)


def test_large_numbers_have_a_metric_prefix():
    numbers = [12.345, 1000, 150_000, -2_500_000, 3e9]
    assert [engineering(number) for number in numbers] == ["12.3", "1k", "150k", "-2.5M", "3G"]
