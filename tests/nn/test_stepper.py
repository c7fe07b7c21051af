"""The stepper: one step at a time gives the outputs of the stack."""

import numpy as np
import pytest

from charrnn.nn.recurrent import LayerWeights
from charrnn.nn.stack import CELLS, RecurrentStack, state_shape
from charrnn.nn.stepper import Stepper

B, T, E, H, V = 3, 6, 4, 5, 7

each_cell = pytest.mark.parametrize("cell", CELLS)
each_depth = pytest.mark.parametrize("layers", [1, 2, 3])


class Model:
    """A stack with a head, and the stepper with the same weights."""

    def __init__(self, cell, layers, embedding_size=0):
        rng = np.random.default_rng(1)
        rows = CELLS[cell].num_gates * H
        weights = [
            LayerWeights(
                rng.normal(0, 0.8, (rows, H if n else embedding_size or V)),
                rng.normal(0, 0.8, (rows, H)),
                rng.normal(0, 0.8, rows),
                rng.normal(0, 0.8, rows),
            )
            for n in range(layers)
        ]
        self.embedding = rng.normal(0, 0.8, (V, embedding_size)) if embedding_size else None
        self.head_weight = rng.normal(0, 0.8, (V, H))
        self.head_bias = rng.normal(0, 0.8, V)
        self.stepper = Stepper(cell, weights, self.head_weight, self.head_bias, B, self.embedding)
        self.stack = RecurrentStack(cell, weights, B, T, training=False)
        self.state = rng.normal(0, 0.8, state_shape(cell, layers, B, H))
        self.ids = rng.integers(0, V, (T, B))

    def outputs(self, state, first=0, reset_mask=None):
        """The outputs of the stack from step `first` on (T, B, V). `state` becomes the final state."""
        ids = self.ids[first:]
        x = ids if self.embedding is None else self.embedding[ids]
        return self.stack.forward(x, state, reset_mask=reset_mask) @ self.head_weight.T + self.head_bias


@each_cell
@each_depth
@pytest.mark.parametrize("embedding_size", [0, E])
def test_steps_with_resets_equal_the_stack_with_a_reset_mask(cell, layers, embedding_size):
    model = Model(cell, layers, embedding_size)
    reset_mask = np.random.default_rng(2).random((T, B, 1)) < 0.3
    assert reset_mask.any()
    actual = []
    for ids, reset in zip(model.ids, reset_mask, strict=True):
        model.stepper.reset(np.flatnonzero(reset).tolist())
        actual.append(model.stepper.step(ids.tolist()).copy())
    state = np.zeros_like(model.state)
    np.testing.assert_allclose(actual, model.outputs(state, reset_mask=reset_mask), rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.stepper.state(), state, rtol=0, atol=1e-12)


@each_cell
@each_depth
def test_a_restored_state_gives_its_outputs_and_continues(cell, layers):
    model = Model(cell, layers)
    state = model.state.copy()
    expected = model.outputs(state)
    middle = model.state.copy()
    model.stack.forward(model.ids[:2], middle)
    np.testing.assert_allclose(model.stepper.restore(middle), expected[1], rtol=0, atol=1e-12)
    for ids, outputs in zip(model.ids[2:], expected[2:], strict=True):
        np.testing.assert_allclose(model.stepper.step(ids), outputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.stepper.state(), state, rtol=0, atol=1e-12)


@each_cell
@each_depth
def test_selected_streams_continue_from_the_states_of_others(cell, layers):
    model = Model(cell, layers)
    rows = np.array([2, 0, 0])
    model.stepper.restore(model.state)
    model.stepper.select_streams(rows)
    np.testing.assert_array_equal(model.stepper.state(), model.state[:, :, rows])
    expected = model.outputs(model.state[:, :, rows])
    np.testing.assert_allclose(model.stepper.step(model.ids[0]), expected[0], rtol=0, atol=1e-12)


@each_cell
def test_vectors_give_the_outputs_of_the_symbols_that_they_embed(cell):
    model = Model(cell, 2, embedding_size=E)
    vectors = model.embedding[model.ids[0]]
    actual = model.stepper.step_vectors(vectors).copy()
    model.stepper.reset(list(range(B)))
    np.testing.assert_allclose(actual, model.stepper.step(model.ids[0]), rtol=0, atol=1e-12)
