"""Units that correlate with a probe."""

from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.analysis.probes import PROBES
from charrnn.analysis.units import CorrelationSums, find_units

TEXT = "(one) Two\n  [three] four. " * 100


class FakeReading:
    """A reading with given unit values, in two layers of equal size, that arrive in parts and in random order."""

    def __init__(self, text, values):
        self.text = text
        self.values = values
        self.model = SimpleNamespace(architecture=SimpleNamespace(hidden_size=values.shape[1] // 2))

    def quantities(self):
        order = np.random.default_rng(0).permutation(len(self.text))
        for places in np.array_split(order, 7):
            yield places, self.values[places].astype(np.float32)


def find_by_probe(text, values):
    return {match.probe: match for match in find_units(FakeReading(text, values))}


def test_the_unit_of_a_probe_is_found_with_its_layer_and_the_sign_of_its_correlation():
    values = np.random.default_rng(1).normal(size=(len(TEXT), 20))
    values[:, 13] = np.tanh(-2.0 * PROBES["inside brackets"](TEXT) + 1)
    values[:, 4] = PROBES["position in the line"](TEXT) + 0.1 * values[:, 4]
    matches = find_by_probe(TEXT, values)
    brackets = matches["inside brackets"]
    assert (brackets.layer, brackets.unit) == (1, 3) and brackets.correlation == pytest.approx(-1)
    position = matches["position in the line"]
    assert (position.layer, position.unit) == (0, 4) and 0.99 < position.correlation < 1
    assert next(iter(matches)) == "inside brackets"


def test_a_unit_that_fits_the_first_half_by_chance_has_a_small_correlation():
    text = TEXT[:800]
    rng = np.random.default_rng(2)
    probe = PROBES["inside brackets"](text).astype(float)
    best_on_first_half = []
    reported = []
    for _ in range(10):
        values = rng.normal(size=(len(text), 500))
        best_on_first_half.append(np.abs(np.corrcoef(probe[:400], values[:400].T)[0, 1:]).max())
        reported.append(abs(find_by_probe(text, values)["inside brackets"].correlation))
    assert min(best_on_first_half) > 0.12
    assert np.mean(reported) < 0.06


def test_a_unit_that_follows_a_probe_only_in_the_first_half_has_a_small_correlation():
    values = np.random.default_rng(3).normal(size=(len(TEXT), 6))
    half = len(TEXT) // 2
    values[:half, 2] = 3 * PROBES["letter"](TEXT)[:half]
    assert abs(find_by_probe(TEXT, values)["letter"].correlation) < 0.1


def test_constant_probes_and_constant_units_give_no_match():
    values = np.random.default_rng(4).normal(size=(len(TEXT), 4))
    values[:, 0] = 0.1
    matches = find_by_probe(TEXT, values)
    assert "digit" not in matches and "letter" in matches
    assert find_by_probe("aaaa", np.ones((4, 2))) == {}
    assert find_by_probe("a", np.ones((1, 2))) == {}


def test_correlations_from_parts_equal_those_of_numpy():
    rng = np.random.default_rng(5)
    probes = rng.normal(size=(3, 50))
    units = 1 + 1e-3 * rng.normal(size=(50, 4))
    sums = CorrelationSums()
    for part in (slice(0, 1), slice(1, 1), slice(1, 20), slice(20, 50)):
        sums.add(probes[:, part], units[part])
    np.testing.assert_allclose(sums.correlations(), np.corrcoef(probes, units.T)[:3, 3:], atol=1e-8)
