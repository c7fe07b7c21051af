"""Parameters: the flat vector and its named views, and initial values."""

import numpy as np
import pytest

from charrnn.nn.parameters import (
    ParamSpec,
    count_parameters,
    flatten,
    glorot,
    initialise,
    matrix_mask,
    named_views,
    orthogonal,
    stacked,
    uniform,
    zeros,
)

SPECS = [ParamSpec("a", (2, 3), zeros), ParamSpec("b", (4,), zeros), ParamSpec("c", (1, 2, 2), zeros)]


def test_named_views_share_memory_with_the_vector_in_the_order_of_the_specs():
    flat = np.arange(14.0)
    named = named_views(SPECS, flat)
    assert list(named) == ["a", "b", "c"]
    assert all(np.shares_memory(view, flat) for view in named.values())
    assert np.concatenate([view.ravel() for view in named.values()]).tolist() == flat.tolist()
    named["b"][2] = -1
    assert flat[8] == -1
    flat[-1] = -2
    assert named["c"][0, 1, 1] == -2


def test_flatten_is_the_inverse_of_named_views():
    flat = np.arange(14, dtype=np.float32)
    copy = flatten(SPECS, named_views(SPECS, flat))
    assert copy.dtype == np.float32
    assert copy.tolist() == flat.tolist()
    assert not np.shares_memory(copy, flat)


def test_count_parameters_is_the_number_of_scalars():
    assert count_parameters(SPECS) == 6 + 4 + 4


def test_matrix_mask_is_1_in_matrices_and_0_in_biases():
    assert matrix_mask(SPECS, np.empty(14)).tolist() == [1] * 6 + [0] * 4 + [1] * 4


def test_each_parameter_draws_from_its_own_generator():
    specs = [ParamSpec(name, (2, 2), uniform(1.0)) for name in "abc"]
    flat = np.empty(12)
    initialise(specs, flat, map(np.random.default_rng, range(3)))
    for seed, view in enumerate(named_views(specs, flat).values()):
        np.testing.assert_array_equal(view, np.random.default_rng(seed).uniform(-1, 1, (2, 2)))


@pytest.mark.parametrize(
    ("init", "shape", "variance"),
    [
        (glorot, (200, 300), 2 / 500),
        (stacked(glorot, 4), (800, 300), 2 / 500),
        (uniform(0.3), (300, 200), 0.3**2 / 3),
        (orthogonal, (200, 200), 1 / 200),
    ],
    ids=["glorot", "stacked", "uniform", "orthogonal"],
)
def test_initial_values_have_mean_0_and_the_variance_of_their_scheme(init, shape, variance):
    values = init(np.random.default_rng(0), shape)
    assert values.shape == shape
    np.testing.assert_allclose(values.var(), variance, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=0.01)


def test_an_orthogonal_matrix_preserves_lengths():
    matrix = orthogonal(np.random.default_rng(0), (50, 50))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(50), rtol=0, atol=1e-12)
