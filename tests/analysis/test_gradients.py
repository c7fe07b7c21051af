"""The gradient on its way back: against central differences, and where it ends."""

import itertools
import math

import numpy as np
import pytest
from reference import STEPS

from charrnn.analysis.gradients import gradient_norms, shares
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights
from charrnn.nn.optimizers import adam
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.nn.stack import CELLS
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.language.streams import TextStream

B, T, H, V, K = 2, 6, 4, 5, 4
EPSILON = 1e-5


class Case:
    """A network with random weights in float64, and what it reads."""

    def __init__(self, cell, layers=2, embedding=0):
        rng = np.random.default_rng(7)
        shape = {"cell": cell, "hidden_size": H, "num_layers": layers, "embedding_size": embedding}
        self.architecture = Architecture(**shape, input_size=V, output_size=V)
        self.flat = rng.normal(0, 0.5, count_parameters(self.architecture.specs()))
        self.named = named_views(self.architecture.specs(), self.flat)
        self.x, self.targets = rng.integers(0, V, (T, B)), rng.integers(0, V, B)

    def loss(self, stream, at=None, layer=0, nudge=0.0, record_end=None):
        """The last step's loss, a step and a layer at a time; after step `at` the layer's state moves by `nudge`."""
        shape = self.architecture
        state = [tuple(s) for s in np.zeros(shape.state_shape(1))[:, :, 0]]
        for t, character in enumerate(self.x[:, stream]):
            if character == record_end:
                state = [tuple(np.zeros_like(s) for s in its_own) for its_own in state]
            x = self.named["embedding.weight"][character] if shape.embedding_size else np.eye(V)[character]
            for n, weights in enumerate(layer_weights(self.named, shape.num_layers)):
                state[n] = STEPS[shape.cell](weights, x, state[n])
                if (t, n) == (at, layer):
                    state[n] = tuple(np.array(state[n]) + nudge)
                x = state[n][0]
        logits = self.named["head.weight"] @ x + self.named["head.bias"]
        return math.log(np.exp(logits).sum()) - logits[self.targets[stream]]

    def norm(self, stream, k, layer, record_end=None):
        """Of the gradient with respect to the state k steps before the last, by central differences."""
        gradient = []
        for index in np.ndindex(*self.architecture.state_shape(1)[1::2]):
            nudge = np.zeros(self.architecture.state_shape(1)[1::2])
            nudge[index] = EPSILON
            above, below = (self.loss(stream, T - 1 - k, layer, sign * nudge, record_end) for sign in (1, -1))
            gradient.append((above - below) / (2 * EPSILON))
        return math.sqrt(sum(value**2 for value in gradient))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "embedding"), [(1, 0), (2, 3)])
@pytest.mark.parametrize("record_end", [None, 2])
def test_norms_equal_central_differences(cell, layers, embedding, record_end):
    case = Case(cell, layers, embedding)
    case.x[3, 1] = 2  # there is a record's end within reach
    norms = gradient_norms(case.architecture, case.flat, case.x, case.targets, K, record_end)
    numeric = [[[case.norm(b, k, n, record_end) for b in range(B)] for k in range(K + 1)] for n in range(layers)]
    np.testing.assert_allclose(norms, numeric, rtol=1e-6, atol=1e-9)
    if record_end is not None:
        assert (norms[:, 3:, 1] == 0).all() and (norms[:, :3, 1] > 0).all()


def recall(length, gap, rng):
    """A text of symbols to be recalled: one of three, `gap` others, a sign, and the first again."""
    keys = rng.integers(0, 3, (length, 1))
    return np.concatenate([keys, rng.integers(3, 6, (length, gap)), np.full((length, 1), 6), keys], axis=1).ravel()


def test_a_vanilla_rnn_loses_what_an_lstm_passes_on_where_a_long_memory_is_asked_for():
    gap, streams, steps, medians = 20, 16, 150, {}
    ids = recall(600, gap, np.random.default_rng(0))
    for cell in ("lstm", "rnn"):
        architecture = Architecture(cell=cell, hidden_size=16, num_layers=1, input_size=7, output_size=7)
        flat = np.empty(count_parameters(architecture.specs()))
        initialise(architecture.specs(), flat, (random_generator(1, Purpose.PARAMETERS, n) for n in itertools.count()))
        grads, moments = np.empty_like(flat), np.zeros((2, len(flat)))
        stream = TextStream(ids, streams, 2 * gap)
        network = Network(architecture, flat, streams, 2 * gap, grads)
        state = np.zeros(architecture.state_shape(streams))
        for step in range(steps):
            network.loss_and_gradient(stream.batch(step), state, 1 / (2 * gap * streams))
            adam(flat, grads, moments, step + 1, 0.01)
        medians[cell] = shares(architecture, flat, ids, gap)[0, 1]
    assert medians["lstm"].shape == (gap + 1,)
    assert medians["lstm"][0] == medians["rnn"][0] == 1
    assert medians["lstm"][gap] > 100 * medians["rnn"][gap]


def test_quartiles_are_in_order_and_a_short_text_is_enough():
    case = Case("gru")
    ids = np.random.default_rng(9).integers(0, V, K + 2)
    low, median, high = shares(case.architecture, case.flat, ids, K)[0]
    assert low.shape == (K + 1,)
    assert (low <= median).all() and (median <= high).all()
