"""Learning rate schedules and warm-up."""

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
def test_each_schedule_has_its_values_at_the_quarters_of_the_run(schedule, start, quarter, half, end):
    values = [factor(schedule, progress, step=100, warmup_steps=0) for progress in (0, 0.25, 0.5, 1)]
    assert values == pytest.approx([start, quarter, half, end], abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_linearly_to_the_schedule_and_multiplies_it(schedule):
    values = [factor(schedule, 0.0, step, warmup_steps=4) for step in range(6)]
    assert values == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    in_warmup = factor(schedule, 0.5, step=1, warmup_steps=4)
    assert in_warmup == pytest.approx(0.5 * factor(schedule, 0.5, step=1, warmup_steps=0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warmup_the_first_step_has_the_peak_learning_rate(schedule):
    assert factor(schedule, 0.0, step=0, warmup_steps=0) == 1


@settings(deadline=None)
@given(st.sampled_from(list(SCHEDULES)), st.floats(0, 2), st.floats(0, 2), st.integers(0, 100), st.integers(0, 100))
def test_factors_are_between_0_and_1_and_do_not_rise_with_progress(schedule, one, other, step, warmup):
    earlier, later = (factor(schedule, progress, step, warmup) for progress in sorted([one, other]))
    assert 0 <= later <= earlier + 1e-15 <= 1 + 1e-15


def test_a_run_that_exceeds_its_budget_keeps_the_final_factor():
    assert factor("linear", 1.5, step=9, warmup_steps=0) == 0
