"""The recurrent stack: its forward pass against the plain reference, its gradients against central differences."""

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.nn.recurrent import LayerWeights, num_blocks
from charrnn.nn.stack import CELLS, RecurrentStack, state_shape

B, T, D, H, V = 2, 5, 3, 4, 7
EPSILON = 1e-5

each_cell = pytest.mark.parametrize("cell", CELLS)
each_depth = pytest.mark.parametrize("layers", [1, 2, 3])
each_input = pytest.mark.parametrize("one_hot", [True, False], ids=["ids", "vectors"])


def random_stack(cell, layers, width, batch=B, hidden=H, seed=0):
    """Random weights, a random state, and the generator for more."""
    rng = np.random.default_rng(seed)
    rows = CELLS[cell].num_gates * hidden
    weights = [
        LayerWeights(
            rng.standard_normal((rows, width if n == 0 else hidden)) * 0.5,
            rng.standard_normal((rows, hidden)) * 0.5,
            rng.standard_normal(rows),
            rng.standard_normal(rows),
        )
        for n in range(layers)
    ]
    state = rng.standard_normal(state_shape(cell, layers, batch, hidden)) * 0.5
    return weights, state, rng


def random_inputs(rng, one_hot):
    return rng.integers(0, V, (T, B)) if one_hot else rng.standard_normal((T, B, D))


def resets_within():
    """A reset mask with resets of one stream, of the first step and of all streams at once."""
    reset_mask = np.zeros((T, B, 1), bool)
    reset_mask[0, 1] = True
    reset_mask[2, 0] = True
    reset_mask[3] = True
    return reset_mask


def reset_at_first_step():
    reset_mask = np.zeros((T, B, 1), bool)
    reset_mask[0, 1] = True
    return reset_mask


each_mask = pytest.mark.parametrize(
    ("reset_mask", "dropout"),
    [(None, False), (resets_within(), True), (reset_at_first_step(), False)],
    ids=["no masks", "resets within and dropout", "reset at the first step"],
)


@each_cell
@each_depth
@each_input
@each_mask
def test_outputs_and_final_state_equal_the_reference(cell, layers, one_hot, reset_mask, dropout):
    weights, state, rng = random_stack(cell, layers, V if one_hot else D)
    x = random_inputs(rng, one_hot)
    masks = {"reset_mask": reset_mask, "dropout_masks": rng.random((layers, B, H)) if dropout else None}
    expected, expected_state = reference_stack(cell, weights, x, state, **masks)
    actual = RecurrentStack(cell, weights, B, T, training=True).forward(x, state, **masks)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state, expected_state, rtol=0, atol=1e-12)


@each_cell
@pytest.mark.parametrize(("batch", "hidden"), [(25, 192), (5, 256), (64, 128), (3, 97)])
def test_outputs_equal_the_reference_for_each_number_of_column_blocks(cell, batch, hidden):
    weights, state, rng = random_stack(cell, 1, D, batch, hidden)
    x = rng.standard_normal((3, batch, D))
    expected, _ = reference_stack(cell, weights, x, state)
    actual = RecurrentStack(cell, weights, batch, 3, training=False).forward(x, state)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("batch_size", "hidden_size", "expected"), [(25, 128, 2), (32, 256, 4), (32, 512, 16), (5, 97, 1), (64, 1021, 1)]
)
def test_num_blocks_cuts_w_hh_into_small_equal_blocks_where_the_hidden_size_allows(batch_size, hidden_size, expected):
    assert num_blocks(batch_size, hidden_size) == expected


@each_cell
@each_depth
def test_recurrent_masks_equal_masked_weights(cell, layers):
    """DropConnect: outputs and gradients are those of a stack with W_hh * mask, whose gradient is multiplied too."""
    weights, state, rng = random_stack(cell, layers, D)
    x = random_inputs(rng, one_hot=False)
    dy = rng.standard_normal((T, B, H))
    masks = [(rng.random(layer.w_hh.shape) < 0.6) * 2.5 for layer in weights]
    masked = [layer._replace(w_hh=layer.w_hh * mask) for layer, mask in zip(weights, masks, strict=True)]
    results = []
    for used, given in ((weights, masks), (masked, ())):
        stack = RecurrentStack(cell, used, B, T, training=True)
        y = stack.forward(x, state.copy(), recurrent_masks=given).copy()
        grads = [LayerWeights(*map(np.zeros_like, layer)) for layer in weights]
        stack.backward(dy.copy(), np.zeros_like(state), grads)
        results.append((y, grads))
    (y, grads), (expected_y, expected_grads) = results
    np.testing.assert_array_equal(y, expected_y)
    for layer, expected, mask in zip(grads, expected_grads, masks, strict=True):
        for name, gradient in layer._asdict().items():
            expected_gradient = getattr(expected, name) * (mask if name == "w_hh" else 1)
            np.testing.assert_array_equal(gradient, expected_gradient)


@each_cell
@each_depth
@each_input
@each_mask
def test_gradients_equal_central_differences(cell, layers, one_hot, reset_mask, dropout):
    """For every weight, the inputs and the initial state, with random gradients of the outputs and the final state."""
    weights, state, rng = random_stack(cell, layers, V if one_hot else D, seed=layers)
    x = random_inputs(rng, one_hot)
    masks = {"reset_mask": reset_mask, "dropout_masks": rng.random((layers, B, H)) * 2 if dropout else None}
    dy = rng.standard_normal((T, B, H))
    dstate = rng.standard_normal(state.shape)
    stack = RecurrentStack(cell, weights, B, T, training=True)

    def loss():
        final_state = state.copy()
        y = stack.forward(x, final_state, **masks)
        return float((y * dy).sum() + (final_state * dstate).sum())

    loss()
    grads = [LayerWeights(*map(np.zeros_like, layer)) for layer in weights]
    dx = None if one_hot else np.empty_like(x)
    initial_dstate = dstate.copy()
    stack.backward(dy.copy(), initial_dstate, grads, dx)

    pairs = [
        pair for layer, gradients in zip(weights, grads, strict=True) for pair in zip(layer, gradients, strict=True)
    ]
    pairs.append((state, initial_dstate))
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


@each_cell
def test_one_call_over_t_steps_equals_several_shorter_calls(cell):
    weights, state, rng = random_stack(cell, 2, V)
    x = random_inputs(rng, one_hot=True)
    state_of_pieces = state.copy()
    stack = RecurrentStack(cell, weights, B, T, training=False)
    whole = stack.forward(x, state).copy()
    pieces = [stack.forward(x[start:stop], state_of_pieces).copy() for start, stop in ((0, 2), (2, 3), (3, 5))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(state_of_pieces, state)


@each_cell
def test_a_call_is_independent_of_the_masks_of_the_call_before(cell):
    weights, state, rng = random_stack(cell, 2, D)
    x = random_inputs(rng, one_hot=False)
    used = RecurrentStack(cell, weights, B, T, training=True)
    recurrent_masks = [np.zeros_like(layer.w_hh) for layer in weights]
    dropout_masks = rng.random((2, B, H))
    used.forward(
        x,
        state.copy(),
        dropout_masks=dropout_masks,
        reset_mask=resets_within(),
        recurrent_masks=recurrent_masks,
    )
    fresh = RecurrentStack(cell, weights, B, T, training=True)
    results = []
    for stack in (used, fresh):
        y = stack.forward(x, state.copy()).copy()
        grads = [LayerWeights(*map(np.zeros_like, layer)) for layer in weights]
        stack.backward(np.ones((T, B, H)), np.ones_like(state), grads)
        results.append([y, *(gradient for layer in grads for gradient in layer)])
    for array, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(array, expected)


@each_cell
def test_set_weights_replaces_the_weights_of_all_layers(cell):
    weights, state, rng = random_stack(cell, 2, D)
    other_weights, _, _ = random_stack(cell, 2, D, seed=1)
    x = random_inputs(rng, one_hot=False)
    stack = RecurrentStack(cell, weights, B, T, training=False)
    stack.set_weights(other_weights)
    expected = RecurrentStack(cell, other_weights, B, T, training=False).forward(x, state.copy())
    np.testing.assert_array_equal(stack.forward(x, state.copy()), expected)
