"""Parameters: one vector with named views, and the schemes of initial values."""

import numpy as np
import pytest

from charrnn.nn.parameters import ParamSpec, count_parameters, glorot, named_views, orthogonal, stacked, uniform, zeros

SPECS = [ParamSpec("a", (2, 3), zeros), ParamSpec("b", (4,), zeros), ParamSpec("c", (1, 2, 2), zeros)]


def test_views_share_memory_with_the_vector_in_the_order_of_the_specs():
    flat = np.arange(float(count_parameters(SPECS)))
    named = named_views(SPECS, flat)
    assert list(named) == ["a", "b", "c"]
    assert all(np.shares_memory(view, flat) for view in named.values())
    assert np.concatenate([view.ravel() for view in named.values()]).tolist() == flat.tolist()
    named["b"][2] = -1
    assert flat[8] == -1
    flat[-1] = -2
    assert named["c"][0, 1, 1] == -2


def test_count_is_the_number_of_scalars():
    assert count_parameters(SPECS) == 6 + 4 + 4


@pytest.mark.parametrize(
    ("init", "shape", "variance"),
    [
        (glorot, (200, 300), 2 / 500),
        (stacked(glorot, 4), (800, 300), 2 / 500),
        (uniform(0.3), (300, 200), 0.03),
        (orthogonal, (200, 200), 1 / 200),
    ],
)
def test_initial_values_have_the_variance_of_their_scheme(init, shape, variance):
    values = init(np.random.default_rng(0), shape)
    assert values.shape == shape
    np.testing.assert_allclose(values.var(), variance, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=0.01)
