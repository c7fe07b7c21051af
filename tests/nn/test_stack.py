"""The recurrent stack: its forward pass against a plain per-gate loop, its gradients against central differences."""

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.nn.recurrent import Weights, blocks
from charrnn.nn.stack import CELLS, RecurrentStack, state_shape

B, T, D, H, V = 2, 5, 3, 4, 7
EPSILON = 1e-5


def make(cell, layers, width, batch=B, hidden=H, seed=0):
    rng = np.random.default_rng(seed)
    gates = CELLS[cell].gates
    weights = [
        Weights(
            rng.standard_normal((gates * hidden, width if n == 0 else hidden)) * 0.5,
            rng.standard_normal((gates * hidden, hidden)) * 0.5,
            rng.standard_normal(gates * hidden),
            rng.standard_normal(gates * hidden),
        )
        for n in range(layers)
    ]
    state = rng.standard_normal(state_shape(cell, layers, batch, hidden)) * 0.5
    return weights, state, rng


def inputs(rng, one_hot):
    return rng.integers(0, V, (T, B)) if one_hot else rng.standard_normal((T, B, D))


def resets():
    """Two `keep`: states that start anew anywhere, and at the first step alone."""
    anywhere, first = np.ones((2, T, B, 1), bool)
    anywhere[0, 1] = anywhere[2, 0] = anywhere[3] = first[0, 1] = False
    return anywhere, first


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("one_hot", [True, False])
def test_forward_equals_the_plain_loop(cell, layers, one_hot):
    weights, state, rng = make(cell, layers, V if one_hot else D)
    x, masks, (keep, first) = inputs(rng, one_hot), rng.random((layers, B, H)), resets()
    for given in ({}, {"masks": masks}, {"keep": keep}, {"masks": masks, "keep": keep}, {"keep": first}):
        expected, expected_state = reference_stack(cell, weights, x, state, **given)
        actual_state = state.copy()
        actual = RecurrentStack(cell, weights, B, T, training=True).forward(x, actual_state, **given)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(actual_state, expected_state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("batch", "hidden"), [(25, 192), (5, 256), (64, 128), (3, 97)])
def test_the_blocked_product_equals_the_plain_loop(cell, batch, hidden):
    weights, state, rng = make(cell, 1, D, batch, hidden)
    x = rng.standard_normal((3, batch, D))
    expected, _ = reference_stack(cell, weights, x, state)
    actual = RecurrentStack(cell, weights, batch, 3, training=False).forward(x, state.copy())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


def test_blocks_divide_the_hidden_size_and_fit_the_fast_kernels():
    assert [blocks(25, 128), blocks(32, 256), blocks(32, 512), blocks(5, 97), blocks(64, 1021)] == [2, 4, 16, 1, 1]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("extras", ["none", "masks and resets", "resets at first"])
def test_gradients_equal_central_differences(cell, layers, one_hot, extras):
    """Every parameter, the inputs and the initial state; random gradients from above for outputs and final state."""
    weights, state, rng = make(cell, layers, V if one_hot else D, seed=layers)
    x = inputs(rng, one_hot)
    anywhere, first = resets()
    given = {
        "none": {},
        "masks and resets": {"masks": rng.random((layers, B, H)) * 2, "keep": anywhere},
        "resets at first": {"keep": first},
    }[extras]
    dy, dstate = rng.standard_normal((T, B, H)), rng.standard_normal(state.shape)
    stack = RecurrentStack(cell, weights, B, T, training=True)

    def loss():
        final = state.copy()
        return float((stack.forward(x, final, **given) * dy).sum() + (final * dstate).sum())

    loss()
    grads = [Weights(*(np.zeros_like(w) for w in layer)) for layer in weights]
    dx, state_gradient = None if one_hot else np.empty_like(x), dstate.copy()
    stack.backward(dy.copy(), state_gradient, grads, dx)
    pairs = [
        (w, g) for layer, gradient in zip(weights, grads, strict=True) for w, g in zip(layer, gradient, strict=True)
    ]
    pairs.append((state, state_gradient))
    if dx is not None:
        pairs.append((x, dx))
    for array, gradient in pairs:
        numeric = np.empty_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + EPSILON
            above = loss()
            array[index] = value - EPSILON
            below = loss()
            array[index] = value
            numeric[index] = (above - below) / (2 * EPSILON)
        error = np.abs(gradient - numeric).max() / max(np.abs(numeric).max(), 1e-3)
        assert error < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_one_call_over_t_equals_pieces_of_t(cell):
    weights, state, rng = make(cell, 2, V)
    x = rng.integers(0, V, (T, B))
    whole_state, piece_state = state.copy(), state.copy()
    stack = RecurrentStack(cell, weights, B, T, training=False)
    whole = stack.forward(x, whole_state).copy()
    pieces = [stack.forward(x[start:stop], piece_state).copy() for start, stop in ((0, 2), (2, 3), (3, 5))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(piece_state, whole_state)
