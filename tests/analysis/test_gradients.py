"""Gradient norms, compared with central differences."""

import itertools
import math

import numpy as np
import pytest
from reference import STEPS

from charrnn.analysis.gradients import gradient_norms, relative_gradient_norms
from charrnn.models.architecture import Architecture
from charrnn.models.network import layer_weights
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.nn.stack import CELLS
from charrnn.seeding import Purpose, random_generator

B, T, H, V, K = 2, 6, 4, 5, 4
EPSILON = 1e-5


class Case:
    """A network with random weights in float64, and its input."""

    def __init__(self, cell, layers=2, embedding=0):
        rng = np.random.default_rng(7)
        self.architecture = Architecture(
            cell=cell, hidden_size=H, num_layers=layers, embedding_size=embedding, input_size=V, output_size=V
        )
        self.parameters = rng.normal(0, 0.5, count_parameters(self.architecture.specs()))
        self.named = named_views(self.architecture.specs(), self.parameters)
        self.x = rng.integers(0, V, (T, B))
        self.targets = rng.integers(0, V, B)

    def loss(self, stream, step, layer, offset, record_end=None):
        """The loss of the last step if `offset` is added to the state of a layer after a step, by the reference."""
        state = [tuple(layer_state) for layer_state in np.zeros(self.architecture.state_shape(1))[:, :, 0]]
        for t, i in enumerate(self.x[:, stream]):
            if i == record_end:
                state = [tuple(np.zeros_like(array) for array in layer_state) for layer_state in state]
            y = self.named["embedding.weight"][i] if self.architecture.embedding_size else np.eye(V)[i]
            for n, weights in enumerate(layer_weights(self.named, self.architecture.num_layers)):
                state[n] = STEPS[self.architecture.cell](weights, y, state[n])
                if (t, n) == (step, layer):
                    state[n] = tuple(np.array(state[n]) + offset)
                y = state[n][0]
        logits = self.named["head.weight"] @ y + self.named["head.bias"]
        return math.log(np.exp(logits).sum()) - logits[self.targets[stream]]

    def numeric_norm(self, stream, k, layer, record_end=None):
        """The norm of the gradient of the state k steps before the last step, by central differences."""
        shape = self.architecture.state_shape(1)[1::2]
        gradient = []
        for index in np.ndindex(*shape):
            offset = np.zeros(shape)
            offset[index] = EPSILON
            above = self.loss(stream, T - 1 - k, layer, offset, record_end)
            below = self.loss(stream, T - 1 - k, layer, -offset, record_end)
            gradient.append((above - below) / (2 * EPSILON))
        return math.sqrt(sum(value**2 for value in gradient))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "embedding"), [(1, 0), (2, 3)])
@pytest.mark.parametrize("record_end", [None, 2])
def test_norms_equal_central_differences_and_are_zero_before_a_reset(cell, layers, embedding, record_end):
    case = Case(cell, layers, embedding)
    case.x[3, 1] = 2  # resets the state if 2 is the end of a record
    norms = gradient_norms(case.architecture, case.parameters, case.x, case.targets, K, record_end)
    numeric = [
        [[case.numeric_norm(b, k, n, record_end) for b in range(B)] for k in range(K + 1)] for n in range(layers)
    ]
    np.testing.assert_allclose(norms, numeric, rtol=1e-6, atol=1e-9)
    if record_end is not None:
        assert (norms[:, 3:, 1] == 0).all() and (norms[:, :3, 1] > 0).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gradient_of_an_initial_lstm_reaches_further_back_than_that_of_a_vanilla_rnn(seed):
    ids = np.random.default_rng(seed).integers(0, V, 2000)
    medians = {}
    for cell in ("lstm", "rnn"):
        architecture = Architecture(cell=cell, hidden_size=16, num_layers=1, input_size=V, output_size=V)
        parameters = np.empty(count_parameters(architecture.specs()))
        generators = (random_generator(seed, Purpose.PARAMETERS, n) for n in itertools.count())
        initialise(architecture.specs(), parameters, generators)
        medians[cell] = relative_gradient_norms(architecture, parameters, ids, steps=20)[0, 1]
    assert medians["lstm"].shape == (21,)
    assert medians["lstm"][0] == medians["rnn"][0] == 1
    assert medians["lstm"][20] > 100 * medians["rnn"][20]


def test_quartiles_are_in_order_for_the_shortest_text_that_is_allowed():
    case = Case("gru")
    ids = np.random.default_rng(9).integers(0, V, K + 2)
    low, median, high = relative_gradient_norms(case.architecture, case.parameters, ids, K)[0]
    assert low.shape == (K + 1,)
    assert (low <= median).all() and (median <= high).all()


def test_quartiles_do_not_depend_on_how_many_losses_are_computed_together(monkeypatch):
    case = Case("lstm")
    ids = np.random.default_rng(9).integers(0, V, 60)
    together = relative_gradient_norms(case.architecture, case.parameters, ids, K)
    monkeypatch.setattr("charrnn.analysis.gradients.MAX_STATE_VALUES", 1)
    one_by_one = relative_gradient_norms(case.architecture, case.parameters, ids, K)
    np.testing.assert_allclose(one_by_one, together, rtol=1e-9)
