"""Figures as lines of text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.gradients import GradientFlow
from charrnn.plots.curves import Curve, LossFigure
from charrnn.plots.terminal import bar_range, terminal_curves, terminal_gradient_flows, terminal_sweep


@pytest.fixture(autouse=True)
def plotext():
    pytest.importorskip("plotext", reason="plotext is not installed")


def test_each_of_several_curves_has_a_label_in_the_row_of_its_last_loss():
    x = [100.0 * n for n in range(1, 6)]
    curves = [Curve("low", x, [1.0] * 5, [1.0] * 5), Curve("high", x, [3.0] * 5, [3.0] * 5)]
    lines = terminal_curves(LossFigure(curves, "title", "nats", "characters"), 80, 12).split("\n")
    assert (lines[0], lines[-1]) == ("title, nats", "characters")
    high, low = (next(n for n, line in enumerate(lines) if line.endswith(name)) for name in ("* high", "━ low"))
    assert high < low
    assert max(map(len, lines)) <= 80


def test_gradient_flows_are_listed_with_their_symbols_below_the_plot():
    quartiles = np.full((3, 11), 0.5) ** np.arange(11)
    flows = [GradientFlow("lstm", quartiles), GradientFlow("rnn", quartiles**2)]
    lines = terminal_gradient_flows(flows, "gradients", 60, 15).split("\n")
    assert lines[0].startswith("gradients, ") and lines[-2:] == ["* lstm", "o rnn"]
    assert "\x1b" not in "".join(lines)


def test_curves_and_flows_that_are_not_drawn_are_counted():
    x = [100.0, 200.0]
    curves = [Curve(f"run {n}", x, [1.0 + n] * 2, [1.0 + n] * 2) for n in range(12)]
    text = terminal_curves(LossFigure(curves, "title", "nats", "characters"), 80, 20)
    assert text.endswith("\nthe best 9 of 12 runs") and "run 8" in text and "run 9" not in text
    flows = [GradientFlow(f"layer {n}", np.full((3, 11), 0.5) ** np.arange(11)) for n in range(10)]
    text = terminal_gradient_flows(flows, "gradients", 60, 15)
    assert text.endswith("\nthe first 8 of 10 curves are drawn") and "layer 7" in text and "layer 8" not in text


def test_the_bars_of_a_sweep_start_at_a_stated_loss():
    trials = [
        {"state": "completed", "value": value, "params": {"cell": cell}}
        for value, cell in ((1.0, "gru"), (1.5, "lstm"), (3.0, "rnn"), (3.0, "rnn"))
    ]
    lines = terminal_sweep(trials, "title").split("\n")
    assert lines[0] == "title"
    assert [line.count("█") for line in lines[-3:]] == [8, 12, 24]
    assert lines[-1] == f"   rnn  3.0000  {24 * '█'}  (2 trials)"
    assert lines[2].endswith("the bars start at 0")


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_bars_start_below_all_losses(losses):
    start, stop = bar_range(losses)
    assert start < min(losses) <= max(losses) == stop
