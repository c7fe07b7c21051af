"""The values from which a beam search chooses. The search itself is tested with the models that use it."""

import numpy as np
import pytest

from charrnn.models.beam_search import largest


@pytest.mark.parametrize("number", [1, 4, 16, 17, 40, 60])
def test_the_largest_values_of_each_row_are_found(number):
    values = np.random.default_rng(number).normal(size=(5, 40))
    values[1, 7:] = -np.inf
    found, places = largest(values, number)
    padded = np.concatenate([values, np.full((5, 60), -np.inf)], axis=1)
    np.testing.assert_array_equal(found, -np.sort(-padded, axis=1)[:, :number])
    is_value = found > -np.inf
    np.testing.assert_array_equal(np.take_along_axis(values, places, axis=1)[is_value], found[is_value])
