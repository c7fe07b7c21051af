"""Schedules at their landmarks, the warm-up, and the budget that they are stretched over."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.budget import Budget
from charrnn.config import TrainConfig
from charrnn.schedules import SCHEDULES, factor


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


@pytest.mark.parametrize(
    ("budget", "step", "seconds", "expected"),
    [
        (Budget(10, None), 0, 99.0, 0),
        (Budget(10, None), 5, 99.0, 0.5),
        (Budget(10, None), 10, 0.0, 1),
        (Budget(10, None), 25, 0.0, 1),
        (Budget(None, 60.0), 10**9, 15.0, 0.25),
        (Budget(None, 60.0), 0, 61.0, 1),
        (Budget(10, 60.0), 5, 15.0, 0.5),
        (Budget(10, 60.0), 1, 45.0, 0.75),
        (Budget(0, None), 0, 0.0, 1),
        (Budget(None, 0.0), 0, 0.0, 1),
    ],
)
def test_progress_is_the_share_of_the_budget_that_runs_out_first(budget, step, seconds, expected):
    assert budget.progress(step, seconds) == expected


@pytest.mark.parametrize(
    ("limits", "steps", "seconds"),
    [
        ({"max_steps": 7}, 7, None),
        ({"max_epochs": 1.0}, 4, None),
        ({"max_epochs": 2.0}, 7, None),
        ({"max_epochs": 0.5, "max_steps": 100}, 2, None),
        ({"max_epochs": 50.0, "max_steps": 3}, 3, None),
        ({"max_minutes": 2.5}, None, 150.0),
        ({"max_minutes": 2.5, "max_steps": 3}, 3, 150.0),
        ({"max_steps": 0}, 0, None),
    ],
)
def test_a_budget_takes_the_smaller_of_steps_and_epochs_and_rounds_epochs_up(limits, steps, seconds):
    assert Budget.of(TrainConfig(**limits), chars_per_step=30, chars_per_epoch=100) == Budget(steps, seconds)


@settings(deadline=None)
@given(st.integers(1, 999), st.integers(1, 50))
@example(steps=201, per_step=19)
def test_a_budget_of_epochs_that_is_a_whole_number_of_steps_is_not_rounded_up(steps, per_step):
    """Tenths of an epoch are no exact binary fractions; 0.7 of 1000 steps is 700 all the same."""
    config = TrainConfig(max_epochs=steps / 1000)
    assert Budget.of(config, chars_per_step=per_step, chars_per_epoch=1000 * per_step).steps == steps
