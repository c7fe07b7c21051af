"""Schedules at their landmarks, and the warm-up."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.nn.schedules import SCHEDULES, factor


@pytest.mark.parametrize(
    ("schedule", "start", "quarter", "half", "end"),
    [
        ("cosine", 1, (1 + math.sqrt(0.5)) / 2, 0.5, 0),
        ("linear", 1, 0.75, 0.5, 0),
        ("constant", 1, 1, 1, 1),
    ],
)
def test_a_schedule_s_landmarks(schedule, start, quarter, half, end):
    values = [factor(schedule, progress, step=100, warmup_steps=0) for progress in (0, 0.25, 0.5, 1)]
    assert values == pytest.approx([start, quarter, half, end], abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_to_the_schedule_in_equal_steps_and_never_starts_at_zero(schedule):
    values = [factor(schedule, 0.0, step, warmup_steps=4) for step in range(6)]
    assert values == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    later = factor(schedule, 0.5, step=1, warmup_steps=4)
    assert later == pytest.approx(0.5 * factor(schedule, 0.5, step=1, warmup_steps=0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_has_the_whole_rate(schedule):
    assert factor(schedule, 0.0, step=0, warmup_steps=0) == 1


@settings(deadline=None)
@given(st.sampled_from(list(SCHEDULES)), st.floats(0, 2), st.floats(0, 2), st.integers(0, 100), st.integers(0, 100))
def test_factors_lie_between_0_and_1_and_fall_as_the_run_goes_on(schedule, one, other, step, warmup):
    earlier, later = (factor(schedule, progress, step, warmup) for progress in sorted([one, other]))
    assert 0 <= later <= earlier + 1e-15 <= 1 + 1e-15


def test_a_run_past_its_budget_has_the_rate_of_the_end():
    assert factor("linear", 1.5, step=9, warmup_steps=0) == 0
