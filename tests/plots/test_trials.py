"""The trials of a sweep as data for a figure."""

import pytest

from charrnn.errors import RunError
from charrnn.plots.trials import evaluated_trials, option_names, value_medians


def trial(value, state="completed", **params):
    return {"state": state, "value": value, "params": params}


TRIALS = [
    trial(1.0, cell="gru", layers=2),
    trial(3.0, cell="gru", layers=1),
    trial(2.0, cell="rnn", layers=1),
    trial(0.5, "pruned", cell="rnn", layers=1),
]


def test_medians_are_those_of_the_completed_trials_in_order_of_the_values():
    assert value_medians(TRIALS, "cell") == [("gru", 2.0, 2), ("rnn", 2.0, 1)]
    assert value_medians(TRIALS, "layers") == [(1, 2.5, 2), (2, 1.0, 1)]


def test_the_options_are_those_of_all_trials():
    assert option_names([*TRIALS, trial(1.0, dropout=0.1)]) == ["cell", "layers", "dropout"]


def test_trials_without_a_loss_are_left_out_and_a_sweep_of_them_cannot_be_drawn():
    failed = trial(None, "failed", cell="gru")
    assert evaluated_trials([*TRIALS, failed]) == TRIALS
    with pytest.raises(RunError, match="no trial has been evaluated"):
        evaluated_trials([failed])
