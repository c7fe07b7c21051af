"""Gradient norms, compared with central differences."""

import itertools
import math

import numpy as np
import pytest
from reference import STEPS

from charrnn.analysis.gradients import Place, gradient_norms, history, relative_gradient_norms
from charrnn.corpus.batch import Batch, Source
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights
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
        self.targets = rng.integers(0, V, (T, B))

    def batches(self, record_end=None):
        """The batch, cut after the second step. The second part starts from the state that the first part leaves."""
        reset_mask = (self.x == record_end)[:, :, None]
        return [Batch(self.x[part], self.targets[part], None, reset_mask[part]) for part in (slice(2), slice(2, T))]

    def norms(self, record_end=None):
        """The norms (L, B, K + 1) for the last step of each stream."""
        places = [Place(1, T - 3, stream) for stream in range(B)]
        return gradient_norms(self.architecture, self.parameters, self.batches(record_end), places, K)

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
        return math.log(np.exp(logits).sum()) - logits[self.targets[-1, stream]]

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
def test_norms_equal_central_differences(cell, layers, embedding):
    case = Case(cell, layers, embedding)
    norms = case.norms()
    numeric = [[[case.numeric_norm(b, k, n) for k in range(T - 2)] for b in range(B)] for n in range(layers)]
    np.testing.assert_allclose(norms[:, :, : T - 2], numeric, rtol=1e-6, atol=1e-9)
    assert np.isnan(norms[:, :, T - 2 :]).all()  # these states are before the batch


@pytest.mark.parametrize("cell", CELLS)
def test_there_are_no_norms_before_a_reset(cell):
    case = Case(cell)
    case.x[3, 1] = 2
    norms = case.norms(record_end=2)[0, 1]
    numeric = [case.numeric_norm(1, k, 0, record_end=2) for k in range(3)]
    np.testing.assert_allclose(norms[:3], numeric, rtol=1e-6)
    assert np.isnan(norms[3:]).all()
    assert case.numeric_norm(1, 3, 0, record_end=2) == 0


def test_losses_at_several_steps_of_a_stream_do_not_affect_each_other():
    case = Case("lstm")
    batch = Batch(case.x, case.targets)
    places = [Place(0, step, stream) for step in (1, 3, 5) for stream in range(B)]
    together = gradient_norms(case.architecture, case.parameters, [batch], places, K)
    for n, place in enumerate(places):
        alone = gradient_norms(case.architecture, case.parameters, [batch], [place], K)
        np.testing.assert_allclose(together[:, n], alone[:, 0], rtol=1e-12)


def test_norms_of_a_decoder_equal_central_differences():
    rng = np.random.default_rng(7)
    architecture = Architecture(
        cell="gru", hidden_size=H, num_layers=1, input_size=V, output_size=V, source="ids", source_size=3
    )
    assert architecture.attends
    parameters = rng.normal(0, 0.5, count_parameters(architecture.specs()))
    source = Source(rng.integers(0, 3, (5, B)), np.array([5, 3]))
    batch = Batch(rng.integers(0, V, (T, B)), rng.integers(0, V, (T, B)), source=source)
    norms = gradient_norms(architecture, parameters, [batch], [Place(0, T - 1, 1)], K)[0, 0]

    def loss(step, offset):
        network = Network(architecture, parameters, B, 1, source_length=5)
        state = np.zeros(architecture.state_shape(B))
        memory = network.encode(source, state)
        for t in range(T):
            y = network.stack.forward(batch.x[t : t + 1], state)
            if t == step:
                state[0, :, 1] += offset
                y = state[:, 0].copy()
        y = network.attention.forward(y, memory, source.is_step)
        return network.loss.forward(network.head_outputs(y[0], None), batch.targets[-1])[0][1]

    for k in range(K + 1):
        offsets = EPSILON * np.eye(H)
        gradient = [(loss(T - 1 - k, offset) - loss(T - 1 - k, -offset)) / (2 * EPSILON) for offset in offsets]
        assert norms[k] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


def test_the_history_of_a_step_starts_at_its_record_or_at_the_batch():
    reset_mask = np.zeros((5, 2, 1), bool)
    reset_mask[[0, 3], 1] = True
    batch = Batch(np.zeros((5, 2), int), np.zeros((5, 2), int), reset_mask=reset_mask)
    assert history(batch).T.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gradient_of_an_initial_lstm_reaches_further_back_than_that_of_a_vanilla_rnn(seed):
    ids = np.random.default_rng(seed).integers(0, V, (101, 10))
    medians = {}
    for cell in ("lstm", "rnn"):
        architecture = Architecture(cell=cell, hidden_size=16, num_layers=1, input_size=V, output_size=V)
        parameters = np.empty(count_parameters(architecture.specs()))
        generators = (random_generator(seed, Purpose.PARAMETERS, n) for n in itertools.count())
        initialise(architecture.specs(), parameters, generators)
        medians[cell] = relative_gradient_norms(architecture, parameters, [Batch(ids[:-1], ids[1:])], steps=20)[0, 1]
    assert medians["lstm"].shape == (21,)
    assert medians["lstm"][0] == medians["rnn"][0] == 1
    assert medians["lstm"][20] > 100 * medians["rnn"][20]


def test_quartiles_are_in_order_and_complete_for_records_of_different_lengths():
    case = Case("gru")
    case.x[3, 1] = 2
    low, median, high = relative_gradient_norms(case.architecture, case.parameters, case.batches(record_end=2), 3)[0]
    assert low.shape == (4,)
    assert (low <= median).all() and (median <= high).all()
