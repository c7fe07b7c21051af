"""The loss and gradient of a network, against a plain definition and against central differences."""

from dataclasses import replace

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.corpus.batch import Batch
from charrnn.models import network
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights, new_stepper
from charrnn.nn import ops
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS

B, T, D, H, V = 2, 5, 3, 4, 7  # streams, time steps, input width, hidden size, symbols
M = 2  # predicted numbers
CLASSES = 3
NGRAMS, K = 6, 3  # number of n-gram features, n-grams per step
EPSILON, SCALE = 1e-5, 0.3

NUMBERS = {"input": "numbers", "input_size": D, "loss": "squared", "output_size": M}
NGRAM_HEAD = {"ngram_size": NGRAMS, "ngrams_per_step": K, "ngram_share": 0.6, "output_size": CLASSES}
ARCHITECTURES = {
    "one-hot": {},
    "embedding": {"embedding_size": D},
    "classes": {"output_size": CLASSES},
    "numbers": NUMBERS,
    "classes of numbers": {"input": "numbers", "input_size": D, "output_size": CLASSES},
    "n-grams": NGRAM_HEAD,
    "n-grams and embedding": NGRAM_HEAD | {"embedding_size": D, "ngram_share": 0.25},
}
cells = pytest.mark.parametrize("cell", CELLS)
architectures = pytest.mark.parametrize("shape", ARCHITECTURES.values(), ids=ARCHITECTURES)
with_masks = pytest.mark.parametrize("masks", [False, True], ids=["plain", "with masks"])


class Case:
    """A network with random parameters, a batch and a non-zero state. masks: with dropout masks of both kinds, a loss
    mask of random weights, and resets."""

    def __init__(self, cell, shape, masks=True, layers=2, seed=3):
        rng = np.random.default_rng(seed)
        options = {"cell": cell, "hidden_size": H, "num_layers": layers, "input_size": V, "output_size": V}
        self.architecture = Architecture(**options | shape)
        self.specs = self.architecture.specs()
        self.flat = rng.normal(0, 0.5, count_parameters(self.specs))
        self.named = named_views(self.specs, self.flat)
        self.grads = np.full_like(self.flat, np.nan)  # must be overwritten
        self.batch = Batch(
            x=rng.integers(0, self.architecture.input_size, (T, B)),
            targets=rng.integers(0, self.architecture.output_size, (T, B)),
        )
        if self.architecture.input == "numbers":
            self.batch = replace(self.batch, x=rng.standard_normal((T, B, self.architecture.input_size)))
        if self.architecture.loss == "squared":
            self.batch = replace(self.batch, targets=rng.standard_normal((T, B, self.architecture.output_size)))
        if self.architecture.ngram_size:
            self.batch = replace(self.batch, ngrams=rng.integers(0, NGRAMS, (T, B, K)))
            self.named["ngrams.weight"][0] = 0  # n-gram 0 means "none"
        self.network = Network(self.architecture, self.flat, B, T, self.grads)
        self.state = rng.normal(0, 0.5, self.architecture.state_shape(B))
        self.masks = {}
        if masks:
            recurrent_shape = (layers, CELLS[cell].num_gates * H, H)
            self.masks = {
                "dropout_masks": ops.dropout_mask(rng, (layers, B, H), 0.4, np.float64),
                "recurrent_masks": list(ops.dropout_mask(rng, recurrent_shape, 0.3, np.float64)),
            }
            loss_mask = rng.random((T, B)) * (rng.random((T, B)) < 0.8)
            reset_mask = rng.random((T, B, 1)) < 0.3
            self.batch = replace(self.batch, loss_mask=loss_mask, reset_mask=reset_mask)

    @property
    def loss_mask(self):
        return np.ones((T, B)) if self.batch.loss_mask is None else self.batch.loss_mask

    def loss(self, state=None):
        state = self.state.copy() if state is None else state
        return self.network.loss_and_gradient(self.batch, state, SCALE, **self.masks)

    def head_outputs(self):
        """The outputs (T, B, V) of each head with its share, by the plain definition, and the final state."""
        shape = self.architecture
        inputs = self.batch.x
        if shape.input == "ids":
            inputs = self.named.get("embedding.weight", np.eye(V))[inputs]
        weights = layer_weights(self.named, shape.num_layers)
        masks = dict(self.masks)
        if recurrent_masks := masks.pop("recurrent_masks", None):
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, recurrent_masks, strict=True)]
        y, state = reference_stack(shape.cell, weights, inputs, self.state, reset_mask=self.batch.reset_mask, **masks)
        heads = [(1 - shape.ngram_share, y @ self.named["head.weight"].T + self.named["head.bias"])]
        if shape.ngram_size:
            heads.append((shape.ngram_share, self.named["ngrams.weight"][self.batch.ngrams].sum(axis=2)))
        return heads, state

    def mean_outputs(self):
        heads, _ = self.head_outputs()
        return sum(share * outputs for share, outputs in heads)

    def losses(self, outputs):
        """The masked losses (T, B) of outputs, by the plain definition."""
        if self.architecture.loss == "squared":
            return self.loss_mask * 0.5 * np.square(outputs - self.batch.targets).mean(axis=2)
        target_logits = np.take_along_axis(outputs, self.batch.targets[:, :, None], axis=2)[:, :, 0]
        return self.loss_mask * (np.logaddexp.reduce(outputs, axis=2) - target_logits)


@cells
@architectures
@with_masks
def test_loss_and_final_state_equal_the_plain_definition(cell, shape, masks):
    case = Case(cell, shape, masks)
    heads, expected_state = case.head_outputs()
    expected_loss = SCALE * sum(share * case.losses(outputs).sum() for share, outputs in heads)
    state = case.state.copy()
    assert case.loss(state) == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(state, expected_state, rtol=0, atol=1e-12)


@cells
@pytest.mark.parametrize(
    ("shape", "masks"),
    [pytest.param(shape, True, id=name) for name, shape in ARCHITECTURES.items()]
    + [pytest.param(ARCHITECTURES[name], False, id=f"{name}, no masks") for name in ("one-hot", "numbers")],
)
def test_the_gradient_of_every_parameter_equals_central_differences(cell, shape, masks):
    case = Case(cell, shape, masks)
    case.loss()
    gradient = case.grads.copy()
    numeric = np.empty_like(gradient)
    for i, value in enumerate(case.flat.tolist()):
        case.flat[i] = value + EPSILON
        above = case.loss()
        case.flat[i] = value - EPSILON
        below = case.loss()
        case.flat[i] = value
        numeric[i] = (above - below) / (2 * EPSILON)
    expected = named_views(case.specs, numeric)
    if case.architecture.ngram_size:
        assert np.abs(expected["ngrams.weight"][0]).max() > 1e-4
        expected["ngrams.weight"][0] = 0  # "none" is not learned
    for name, values in named_views(case.specs, gradient).items():
        assert np.abs(expected[name]).max() > 1e-4, name
        assert np.abs(values - expected[name]).max() / np.abs(expected[name]).max() < 1e-6, name


@cells
@architectures
@with_masks
def test_scored_losses_are_those_of_the_mean_of_the_heads_outputs(cell, shape, masks):
    case = Case(cell, shape, masks)
    case.masks = {}  # scoring has no dropout
    losses = case.network.losses(case.batch, case.state.copy())
    assert losses.shape == (T, B)
    np.testing.assert_allclose(losses, case.losses(case.mean_outputs()), rtol=1e-12, atol=1e-14)


@cells
@with_masks
def test_the_loss_of_the_mean_is_below_the_mean_of_the_heads_losses(cell, masks):
    case = Case(cell, NGRAM_HEAD, masks)
    case.masks = {}
    assert SCALE * case.network.losses(case.batch, case.state.copy()).sum() < case.loss()


@cells
@architectures
def test_sums_are_those_of_losses_and_of_correct_predictions_or_squared_errors(cell, shape):
    case = Case(cell, shape)
    case.masks = {}
    sums = case.network.sums(case.batch, case.state.copy())
    outputs = case.mean_outputs()
    assert sums[0] == pytest.approx(case.losses(outputs).sum())
    if case.architecture.loss == "squared":
        squares = np.square(outputs - case.batch.targets) * case.loss_mask[:, :, None]
        np.testing.assert_allclose(sums[1:], squares.sum(axis=(0, 1)))
    else:
        is_right = outputs.argmax(axis=2) == case.batch.targets
        np.testing.assert_allclose(sums[1:], [(is_right * case.loss_mask).sum()])
    assert len(sums) == case.architecture.num_sums


@cells
@pytest.mark.parametrize("shape", [{}, {"embedding_size": D}, NGRAM_HEAD], ids=["one-hot", "embedding", "n-grams"])
@with_masks
@pytest.mark.parametrize("rows", [1, 3, 9])
def test_loss_and_gradient_do_not_depend_on_the_number_of_rows_per_group(cell, shape, masks, rows, monkeypatch):
    whole = Case(cell, shape, masks)
    loss = whole.loss()
    monkeypatch.setattr(network, "MAX_HEAD_ELEMENTS", rows * whole.architecture.output_size)
    groups = Case(cell, shape, masks)
    assert groups.network.head_rows == rows < T * B
    assert groups.loss() == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(groups.grads, whole.grads, rtol=1e-11, atol=1e-13)
    losses = [case.network.losses(case.batch, case.state.copy()) for case in (whole, groups)]
    np.testing.assert_allclose(*losses, rtol=1e-13)


@cells
@architectures
def test_steps_with_loss_mask_0_have_no_loss_and_no_gradient(cell, shape):
    case = Case(cell, shape, masks=False)
    loss_mask = np.zeros((T, B))
    case.batch = replace(case.batch, loss_mask=loss_mask)
    assert case.loss() == 0
    assert not case.grads.any()


@cells
@architectures
def test_parameters_can_be_replaced(cell, shape):
    case = Case(cell, shape)
    other = Case(cell, shape, seed=1)
    before = case.loss()
    case.network.set_parameters(other.flat)
    losses = [c.network.losses(other.batch, other.state.copy()) for c in (case, other)]
    np.testing.assert_array_equal(*losses)
    case.network.set_parameters(case.flat)
    assert case.loss() == before


@cells
@architectures
def test_a_call_does_not_depend_on_earlier_calls(cell, shape):
    """The gradient of a short batch without masks, after full batches with masks, is that of a new network."""
    used = Case(cell, shape)
    new = Case(cell, shape)
    used.loss()
    used.loss()
    for case in (used, new):
        short = replace(
            case.batch,
            x=case.batch.x[:3],
            targets=case.batch.targets[:3],
            loss_mask=None,
            reset_mask=None,
            ngrams=None if case.batch.ngrams is None else case.batch.ngrams[:3],
        )
        case.network.loss_and_gradient(short, case.state.copy(), SCALE)
    np.testing.assert_array_equal(used.grads, new.grads)
    assert np.isfinite(new.grads).all()


@cells
@pytest.mark.parametrize("embedding_size", [0, D])
def test_the_stepper_of_a_network_computes_its_outputs(cell, embedding_size):
    case = Case(cell, {"embedding_size": embedding_size}, masks=False)
    stepper = new_stepper(case.architecture, case.flat, B)
    stepper.restore(case.state)
    outputs = [stepper.step(ids).copy() for ids in case.batch.x]
    np.testing.assert_allclose(outputs, case.mean_outputs(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("vocabulary_size", [5, 300, 2000])
def test_the_gradient_of_an_embedding_is_the_sum_over_the_steps_that_read_it(vocabulary_size):
    """With few and many distinct ids; the gradient of unread rows is zero."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary_size, (40, 20))
    dy = rng.standard_normal((40, 20, D))
    actual = np.full((vocabulary_size + 1, D), np.nan)
    ops.embedding_backward(dy, ids, actual)
    expected = np.zeros_like(actual)
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_very_large_logits_have_a_finite_loss_and_gradient():
    case = Case("lstm", {}, masks=False)
    case.named["head.weight"][...] = 0
    case.named["head.bias"][...] = [5000.0] + [0.0] * (V - 1)
    case.batch.targets[...] = 1
    assert case.loss() == pytest.approx(SCALE * 5000 * B * T)
    assert np.isfinite(case.grads).all()


def test_dropout_masks_have_mean_1_and_the_requested_fraction_of_zeros():
    mask = ops.dropout_mask(np.random.default_rng(0), (3, 100, 200), 0.3, np.float32)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
