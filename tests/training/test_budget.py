"""The budget that ends a run, and the progress of a run."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.options import TrainingOptions
from charrnn.training.budget import Budget


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
def test_progress_is_the_larger_of_the_used_fractions_of_steps_and_time(budget, step, seconds, expected):
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
def test_a_budget_is_the_smaller_of_steps_and_epochs_and_epochs_are_rounded_up(limits, steps, seconds):
    assert Budget.from_options(TrainingOptions(**limits), epoch_steps=100 / 30) == Budget(steps, seconds)


@settings(deadline=None)
@given(st.integers(1, 999), st.integers(1, 999))
@example(tenths=11, steps_per_tenth=5)
def test_epochs_that_are_a_whole_number_of_steps_are_not_rounded_up(tenths, steps_per_tenth):
    """For example, 1.1 epochs of 50 steps are 55 steps, although 1.1 x 50 is 55.00000000000001 in floating point."""
    budget = Budget.from_options(TrainingOptions(max_epochs=tenths / 10), epoch_steps=10 * steps_per_tenth)
    assert budget.steps == tenths * steps_per_tenth
