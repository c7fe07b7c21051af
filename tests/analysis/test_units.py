"""Units that go with a probe: found where they are, not made out of luck; and their picture."""

import numpy as np
import pytest

from charrnn.analysis import units
from charrnn.analysis.probes import PROBES
from charrnn.analysis.units import Correlation, find_units, limits

TEXT = "(one) Two\n  [three] four. " * 100


class Told:
    """A reading whose units are given."""

    def __init__(self, text, values, pieces=7):
        self.text, self.values, self.pieces = text, values, pieces
        self.hidden_size = values.shape[1]

    @property
    def model(self):
        class Model:
            class architecture:  # noqa: N801
                hidden_size = self.hidden_size // 2

        return Model

    def quantities(self):
        order = np.random.default_rng(0).permutation(len(self.text))
        for places in np.array_split(order, self.pieces):
            yield places, self.values[places].astype(np.float32)


def found_in(text, values):
    return {one.probe: one for one in find_units(Told(text, values))}


def test_a_unit_that_goes_with_a_probe_is_found_with_its_layer_number_and_sign():
    values = np.random.default_rng(1).normal(size=(len(TEXT), 20))
    values[:, 13] = np.tanh(-2.0 * PROBES["inside brackets"](TEXT) + 1)
    values[:, 4] = PROBES["place in the line"](TEXT) + 0.1 * values[:, 4]
    found = found_in(TEXT, values)
    one = found["inside brackets"]
    assert (one.layer, one.unit) == (1, 3) and one.correlation == pytest.approx(-1)
    one = found["place in the line"]
    assert (one.layer, one.unit) == (0, 4) and 0.99 < one.correlation < 1
    assert next(iter(found)) == "inside brackets"


def test_a_unit_that_fits_by_luck_is_not_taken_for_a_clever_one():
    """Of 500 random units some fit 400 characters well; on the others they do not."""
    text, rng = TEXT[:800], np.random.default_rng(2)
    probe = PROBES["inside brackets"](text).astype(float)
    lucky, told = [], []
    for _ in range(10):
        values = rng.normal(size=(len(text), 500))
        lucky.append(np.abs(np.corrcoef(probe[:400], values[:400].T)[0, 1:]).max())
        told.append(abs(found_in(text, values)["inside brackets"].correlation))
    assert min(lucky) > 0.12
    assert np.mean(told) < 0.06


def test_what_is_true_only_of_the_first_half_is_told_by_the_second():
    values = np.random.default_rng(3).normal(size=(len(TEXT), 6))
    half = len(TEXT) // 2
    values[:half, 2] = 3 * PROBES["letter"](TEXT)[:half]
    assert abs(found_in(TEXT, values)["letter"].correlation) < 0.1


def test_probes_without_an_example_and_units_that_never_move_are_left_out():
    values = np.random.default_rng(4).normal(size=(len(TEXT), 4))
    values[:, 0] = 0.1
    found = found_in(TEXT, values)
    assert "digit" not in found and "letter" in found
    assert found_in("aaaa", np.ones((4, 2))) == {}
    assert found_in("a", np.ones((1, 2))) == {}


def test_correlations_are_those_of_numpy_however_the_text_is_cut():
    rng = np.random.default_rng(5)
    p, u = rng.normal(size=(3, 50)), 1 + 1e-3 * rng.normal(size=(50, 4))
    sums = Correlation()
    for part in (slice(0, 1), slice(1, 1), slice(1, 20), slice(20, 50)):
        sums.add(p[:, part], u[part])
    np.testing.assert_allclose(sums.value(), np.corrcoef(p, u.T)[:3, 3:], atol=1e-8)


def test_limits_are_those_of_the_quantity():
    values = np.array([0.2, -3.5])
    assert [limits(name, values) for name in ("f", "h", "tanh(c)", "c")] == [(0, 1), (-1, 1), (-1, 1), (-3.5, 3.5)]


@pytest.mark.parametrize("number", [1, 3])
def test_the_picture_names_the_units_and_holds_hostile_characters(number, tmp_path, recwarn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from charrnn.plots.figures import save

    text = "a $x$ \\frac{<b>} &\x1b[31m\u202e\n" * 30 + "猫"
    values = np.random.default_rng(6).uniform(-1, 1, (len(text), number))
    figure = units.draw_units(text, values, [f"unit {n}" for n in range(number)], "h")
    save(figure, tmp_path / "u.svg")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:3] == ([] if number == 1 else ["unit 0", "unit 1", "unit 2"])
    assert (tmp_path / "u.svg").read_bytes().startswith(b"<?xml")
    assert not recwarn.list
