"""The bidirectional stack: its forward pass against the plain reference, its gradients against central differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bidirectional_stack as reference_stack
from reference import numeric_gradient

from charrnn.nn.bidirectional import BidirectionalStack, reverse_index
from charrnn.nn.recurrent import LayerWeights
from charrnn.nn.stack import CELLS

S, D, H, V = 4, 3, 2, 5  # steps, input width, hidden size of one direction, symbols
LENGTHS = np.array([4, 0, 2])
B = len(LENGTHS)

each_cell = pytest.mark.parametrize("cell", CELLS)
each_depth = pytest.mark.parametrize("layers", [1, 2])
each_input = pytest.mark.parametrize("one_hot", [True, False], ids=["ids", "vectors"])
each_dropout = pytest.mark.parametrize("dropout", [False, True], ids=["no dropout", "dropout"])


class Case:
    """Random weights, sequences aligned at their ends, and gradients of the outputs and of the final states."""

    def __init__(self, cell, layers, one_hot, dropout=False, lengths=LENGTHS, seed=0):
        rng = np.random.default_rng(seed)
        streams = len(lengths)
        self.cell = cell
        self.lengths = lengths
        self.weights = []
        for n in range(layers):
            rows = CELLS[cell].num_gates * H
            width = 2 * H if n else V if one_hot else D
            shapes = ((rows, width), (rows, H), (rows,), (rows,))
            self.weights.append(
                tuple(LayerWeights(*(0.7 * rng.standard_normal(shape) for shape in shapes)) for _ in range(2))
            )
        self.x = rng.integers(0, V, (S, streams)) if one_hot else rng.standard_normal((S, streams, D))
        self.dy = rng.standard_normal((S, streams, 2 * H))
        self.dy[~self.is_step] = 0  # nothing reads the padding
        self.dfinal = rng.standard_normal((2, CELLS[cell].num_states, streams, H))
        self.masks = 2 * rng.random((layers, streams, 2 * H)) if dropout else None
        self.stack = BidirectionalStack(cell, self.weights, streams, S)

    @property
    def is_step(self):
        return np.arange(S)[:, None] >= S - self.lengths

    def forward(self):
        return self.stack.forward(self.x, self.lengths, self.masks)

    def loss(self):
        y, final = self.forward()
        return float((y * self.dy).sum() + (final * self.dfinal).sum())

    def gradients(self):
        """The gradients of all weights, in the order of `arrays`, and of the inputs, after `forward`."""
        grads = [tuple(LayerWeights(*map(np.empty_like, weights)) for weights in pair) for pair in self.weights]
        dx = np.empty_like(self.x) if self.x.ndim == 3 else None
        self.stack.backward(self.dy.copy(), self.dfinal, grads, dx)
        return [array for pair in grads for weights in pair for array in weights], dx

    @property
    def arrays(self):
        return [array for pair in self.weights for weights in pair for array in weights]


@each_cell
@each_depth
@each_input
@each_dropout
def test_outputs_and_final_states_equal_the_reference(cell, layers, one_hot, dropout):
    case = Case(cell, layers, one_hot, dropout)
    y, final = case.forward()
    for b, length in enumerate(LENGTHS.tolist()):
        if length:
            masks = None if case.masks is None else case.masks[:, b]
            expected_y, expected_final = reference_stack(cell, case.weights, case.x[S - length :, b], masks)
            np.testing.assert_allclose(y[S - length :, b], expected_y, rtol=0, atol=1e-12)
            np.testing.assert_allclose(final[:, :, b], expected_final, rtol=0, atol=1e-12)


@each_cell
@pytest.mark.parametrize(
    ("layers", "one_hot", "dropout"),
    [(1, True, True), (1, False, False), (2, False, True)],
    ids=["ids, dropout", "vectors", "2 layers, vectors, dropout"],
)
def test_gradients_equal_central_differences(cell, layers, one_hot, dropout):
    """For every weight and the inputs, with random gradients of the outputs and of the final states."""
    case = Case(cell, layers, one_hot, dropout)
    case.loss()
    gradients, dx = case.gradients()
    pairs = list(zip(case.arrays, gradients, strict=True))
    if dx is not None:
        pairs.append((case.x, dx))
    for array, gradient in pairs:
        numeric = numeric_gradient(case.loss, array)
        assert np.abs(gradient - numeric).max() / np.abs(numeric).max() < 1e-6


@each_cell
@each_depth
@each_input
def test_padding_has_no_influence(cell, layers, one_hot):
    """Other values in the padding give the same outputs and gradients. The gradient of the padding is zero."""
    lengths = np.array([2, 4, 1])
    case = Case(cell, layers, one_hot, lengths=lengths)
    other = Case(cell, layers, one_hot, lengths=lengths)
    if one_hot:
        other.x[~case.is_step] = (case.x[~case.is_step] + 1) % V
    else:
        other.x[~case.is_step] += 5
    (y, final), (other_y, other_final) = case.forward(), other.forward()
    np.testing.assert_array_equal(other_y[case.is_step], y[case.is_step])
    np.testing.assert_array_equal(other_final, final)
    gradients, dx = case.gradients()
    other_gradients, other_dx = other.gradients()
    for gradient, other_gradient in zip(gradients, other_gradients, strict=True):
        np.testing.assert_allclose(other_gradient, gradient, rtol=0, atol=1e-13)
    if dx is not None:
        np.testing.assert_array_equal(other_dx, dx)
        assert not dx[~case.is_step].any()


@each_cell
@each_depth
def test_a_stream_does_not_depend_on_the_other_streams(cell, layers):
    case = Case(cell, layers, one_hot=False)
    y, final = case.forward()
    for b, length in enumerate(LENGTHS.tolist()):
        steps = max(1, length)
        alone = BidirectionalStack(cell, case.weights, 1, S)
        y_alone, final_alone = alone.forward(case.x[S - steps :, b : b + 1], LENGTHS[b : b + 1])
        np.testing.assert_allclose(y_alone[:, 0], y[S - steps :, b], rtol=0, atol=1e-12)
        np.testing.assert_allclose(final_alone[:, :, 0], final[:, :, b], rtol=0, atol=1e-12)


@each_cell
def test_a_call_does_not_depend_on_earlier_calls(cell):
    """The outputs and gradients of a short batch after a long one with dropout are those of a new stack."""
    used = Case(cell, 2, one_hot=False, dropout=True)
    used.loss()
    used.gradients()
    results = []
    for case in (used, Case(cell, 2, one_hot=False)):
        case.lengths = np.array([0, 1, 3])
        case.masks = None
        case.x = case.x[:3]
        y, final = case.forward()
        case.dy = np.ones((3, B, 2 * H))
        gradients, dx = case.gradients()
        results.append([y.copy(), final, *gradients, dx])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(actual, expected)


@each_cell
def test_set_weights_replaces_the_weights_of_all_layers(cell):
    case = Case(cell, 2, one_hot=False)
    other = Case(cell, 2, one_hot=False, seed=1)
    case.stack.set_weights(other.weights)
    expected_y, expected_final = other.stack.forward(case.x, LENGTHS)
    y, final = case.forward()
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(final, expected_final)


def test_the_example_of_reverse_index():
    assert reverse_index(np.array([4, 2]), 4).tolist() == [[3, 0], [2, 1], [1, 3], [0, 2]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 3))
def test_reverse_index_reverses_the_steps_of_each_sequence_and_no_others(lengths, padding):
    steps = max(1, *lengths) + padding
    index = reverse_index(np.array(lengths), steps)
    for b, length in enumerate(lengths):
        first = steps - length
        assert index[:, b].tolist() == [*range(first), *reversed(range(first, steps))]


@each_cell
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_outputs_final_states_and_gradients_equal_those_of_pytorch(cell, layers):
    """PyTorch's module loads the weights. It reads the sequences packed."""
    torch = pytest.importorskip("torch")
    lengths = np.array([2, 4, 1])
    case = Case(cell, layers, one_hot=False, lengths=lengths)
    module_class = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module = module_class(D, H, layers, bidirectional=True).double()
    names = [
        f"{kind}_l{layer}{suffix}"
        for layer in range(layers)
        for suffix in ("", "_reverse")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    weights = {name: torch.tensor(array) for name, array in zip(names, case.arrays, strict=True)}
    module.load_state_dict(weights, strict=True)
    sequences = [torch.tensor(case.x[S - length :, b], requires_grad=True) for b, length in enumerate(lengths.tolist())]
    packed = torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    outputs, states = module(packed)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs)
    # (num_states, 2, B, H) of the top layer
    final = torch.stack([state[-2:] for state in (states if cell == "lstm" else (states,))])

    y, our_final = case.forward()
    np.testing.assert_allclose(our_final.swapaxes(0, 1), final.detach().numpy(), rtol=0, atol=1e-12)
    loss = (final * torch.tensor(case.dfinal.swapaxes(0, 1))).sum()
    for b, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(y[S - length :, b], padded[:length, b].detach().numpy(), rtol=0, atol=1e-12)
        loss = loss + (padded[:length, b] * torch.tensor(case.dy[S - length :, b])).sum()
    loss.backward()
    gradients, dx = case.gradients()
    expected = dict(module.named_parameters())
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, expected[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)
    for b, sequence in enumerate(sequences):
        np.testing.assert_allclose(dx[S - lengths[b] :, b], sequence.grad.numpy(), rtol=0, atol=1e-10)
