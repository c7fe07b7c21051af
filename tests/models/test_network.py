"""A network's loss and gradient: against the plain definition, and against central differences."""

from dataclasses import replace

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.corpus.batch import Batch
from charrnn.models import network
from charrnn.models.architecture import Architecture
from charrnn.models.network import DIRECT_SHARE, Network, layer_weights
from charrnn.nn import ops
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS

B, T, D, H, V, F, M, R, K = 2, 5, 3, 4, 7, 6, 2, 6, 3
EPSILON, SCALE = 1e-5, 0.3


class Case:
    """A network with random weights, a batch, a non-zero state, and with `extras` masks of both kinds, resets and
    weights that differ from prediction to prediction."""

    def __init__(self, cell, embedding_size=0, extras=True, layers=2, seed=3, **task):
        """task: fields of Architecture; by default a character and the next."""
        rng = np.random.default_rng(seed)
        shape = {"cell": cell, "hidden_size": H, "num_layers": layers, "embedding_size": embedding_size}
        self.architecture = Architecture(**shape | {"input_size": V, "output_size": V} | task)
        self.specs = self.architecture.specs()
        self.flat = rng.normal(0, 0.5, count_parameters(self.specs))
        self.grads = np.full_like(self.flat, np.nan)  # whatever stands there is overwritten, not added to
        self.batch = Batch(*rng.integers(0, V, (2, T, B)))
        if self.architecture.input == "numbers":
            self.batch = replace(self.batch, x=rng.standard_normal((T, B, self.architecture.input_size)))
        if self.architecture.loss == "squared":
            self.batch = replace(self.batch, targets=rng.standard_normal((T, B, self.architecture.output_size)))
        if self.architecture.features:
            self.batch = replace(self.batch, features=rng.standard_normal((B, self.architecture.features)))
        if self.architecture.direct_size:
            self.batch = replace(self.batch, direct=rng.integers(0, R, (T, B, K)))
            named_views(self.specs, self.flat)["direct.weight"][0] = 0  # of none
        self.network = Network(self.architecture, self.flat, B, T, self.grads)
        self.state = rng.normal(0, 0.5, self.architecture.state_shape(B))
        self.given = {}
        if extras:
            masks = ops.dropout_mask(rng, (layers, B, H), 0.4, np.float64)
            w_masks = ops.dropout_mask(rng, (layers, CELLS[cell].num_gates * H, H), 0.3, np.float64)
            self.given = {"dropout_masks": masks, "recurrent_masks": list(w_masks)}
            weights = rng.random((T, B)) * (rng.random((T, B)) < 0.8)
            self.batch = replace(self.batch, reset_mask=rng.random((T, B, 1)) >= 0.7, weights=weights)

    def loss(self, state=None):
        state = self.state.copy() if state is None else state
        return self.network.loss_and_gradient(self.batch, state, SCALE, **self.given)

    def outputs(self):
        """Rows (N, V): of direct features too, where there are any."""
        outputs = self.network.head(self.network.hidden(self.batch, self.state.copy()))
        if not self.architecture.direct_size:
            return outputs
        direct = named_views(self.specs, self.flat)["direct.weight"][self.batch.direct].sum(axis=2).reshape(outputs.shape)
        return (1 - DIRECT_SHARE) * outputs + DIRECT_SHARE * direct

    def plain_loss(self, final=None):
        named = named_views(self.specs, self.flat)
        x, shape = self.batch.x, self.architecture
        inputs = named["embedding.weight"][x] if shape.embedding_size else x
        if shape.features:
            inputs = (named["embedding.weight"] if shape.embedding_size else np.eye(V))[x]
            inputs[0] = self.batch.features @ named["features.weight"].T + named["features.bias"]
        weights = layer_weights(named, shape.num_layers)
        given = dict(self.given) | {"reset_mask": self.batch.reset_mask}
        if w_masks := given.pop("recurrent_masks", None):
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, w_masks, strict=True)]
        y, state = reference_stack(shape.cell, weights, inputs, self.state, **given)
        if final is not None:
            final[...] = state
        experts = [y @ named["head.weight"].T + named["head.bias"]]
        if shape.direct_size:
            experts.append(named["direct.weight"][self.batch.direct].sum(axis=2))
        shares = [1 - DIRECT_SHARE, DIRECT_SHARE] if shape.direct_size else [1]
        losses = sum(share * self.plain_losses(outputs) for share, outputs in zip(shares, experts, strict=True))
        return SCALE * float((losses * (1 if self.batch.weights is None else self.batch.weights)).sum())

    def plain_losses(self, outputs):
        if self.architecture.loss == "squared":
            return 0.5 * np.square(outputs - self.batch.targets).mean(axis=2)
        chosen = np.take_along_axis(outputs, self.batch.targets[:, :, None], axis=2)[:, :, 0]
        return np.logaddexp.reduce(outputs, axis=2) - chosen


cells = pytest.mark.parametrize("cell", CELLS)
embeddings = pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
with_extras = pytest.mark.parametrize("extras", [False, True], ids=["plain", "masks, resets and weights"])


DIRECT = {"direct_size": R, "direct_at_once": K, "output_size": 3}
NUMBERS = {"input": "numbers", "input_size": D, "loss": "squared", "output_size": M}
PATHS = {
    "one-hot": {},
    "embedding": {"embedding_size": D},
    "labels": {"output_size": 3},
    "numbers": NUMBERS,
    "labels of numbers": {"input": "numbers", "input_size": D},
    "features": {"features": F},
    "features and embedding": {"features": F, "embedding_size": D},
    "direct features": DIRECT,
}
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@cells
@paths
@with_extras
def test_the_loss_and_the_final_state_are_those_of_the_plain_definition(cell, path, extras):
    case = Case(cell, extras=extras, **path)
    case.batch.targets[...] = case.batch.targets % case.architecture.output_size
    expected_state, state = np.empty_like(case.state), case.state.copy()
    expected = case.plain_loss(expected_state)
    assert case.loss(state) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(state, expected_state, rtol=0, atol=1e-12)


@cells
@paths
@with_extras
def test_every_parameter_s_gradient_equals_central_differences(cell, path, extras):
    case = Case(cell, extras=extras, **path)
    case.batch.targets[...] = case.batch.targets % case.architecture.output_size
    case.loss()
    gradient, numeric = case.grads.copy(), np.empty_like(case.grads)
    for i, value in enumerate(case.flat.tolist()):
        case.flat[i] = value + EPSILON
        above = case.loss()
        case.flat[i] = value - EPSILON
        numeric[i] = (above - case.loss()) / (2 * EPSILON)
        case.flat[i] = value
    named, expected = named_views(case.specs, gradient), named_views(case.specs, numeric)
    if "direct.weight" in named:
        expected["direct.weight"][0] = 0  # stays what it is
    for name, values in named.items():
        assert np.abs(expected[name]).max() > 1e-4
        assert np.abs(values - expected[name]).max() / np.abs(expected[name]).max() < 1e-6, name


@cells
@with_extras
def test_what_is_scored_with_direct_features_is_the_mean_of_both_outputs(cell, extras):
    case = Case(cell, extras=extras, **DIRECT)
    case.batch.targets[...] = case.batch.targets % 3
    outputs = case.outputs().reshape(T, B, 3)
    weights = 1 if case.batch.weights is None else case.batch.weights
    losses = case.network.losses(case.batch, case.state.copy())
    np.testing.assert_allclose(losses, case.plain_losses(outputs) * weights, rtol=1e-12)
    case.given = {}
    assert SCALE * losses.sum() < case.loss()  # each of them learns alone, and together they know more


@cells
@embeddings
@pytest.mark.parametrize("rows", [1, 3, 9])
def test_a_head_in_pieces_gives_the_loss_and_gradient_of_the_whole(cell, embedding_size, rows, monkeypatch):
    direct = {"direct_size": R, "direct_at_once": K}
    whole = Case(cell, embedding_size, **direct)
    loss = whole.loss()
    monkeypatch.setattr(network, "HEAD_ELEMENTS", rows * V + 1)
    pieces = Case(cell, embedding_size, **direct)
    assert pieces.network.head_rows == rows < T * B
    assert pieces.loss() == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(pieces.grads, whole.grads, rtol=1e-11, atol=1e-13)
    losses = [case.network.losses(case.batch, case.state.copy()) for case in (whole, pieces)]
    np.testing.assert_allclose(*losses, rtol=1e-13)


@cells
@embeddings
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_sum_of_the_losses_times_the_scale(cell, embedding_size, weighted):
    case = Case(cell, embedding_size, extras=False)
    if weighted:
        case.batch = replace(case.batch, weights=np.arange(T * B).reshape(T, B) % 3)
    losses = case.network.losses(case.batch, case.state.copy())
    assert losses.shape == (T, B)
    assert not weighted or (losses == 0).sum() == (case.batch.weights == 0).sum()
    assert case.loss() == pytest.approx(SCALE * losses.sum(), rel=1e-13)


@cells
@paths
def test_the_sums_are_those_of_the_losses_and_of_hits_or_squares(cell, path):
    case = Case(cell, **path)
    case.batch.targets[...] = case.batch.targets % case.architecture.output_size
    sums = case.network.sums(case.batch, case.state.copy())
    assert sums[0] == pytest.approx(case.network.losses(case.batch, case.state.copy()).sum())
    weights, targets = case.batch.weights.ravel(), case.batch.targets.reshape(T * B, -1)
    outputs = case.outputs()
    if case.architecture.loss == "squared":
        np.testing.assert_allclose(sums[1:], weights @ np.square(outputs - targets))
    else:
        np.testing.assert_allclose(sums[1:], weights @ (outputs.argmax(axis=1) == targets[:, 0]))


@cells
@embeddings
def test_a_network_can_be_lent_other_parameters_for_a_while(cell, embedding_size):
    case, other = Case(cell, embedding_size), Case(cell, embedding_size, seed=1)
    before = case.loss()
    case.network.use(other.flat)
    losses = [c.network.losses(other.batch, other.state.copy()) for c in (case, other)]
    np.testing.assert_array_equal(*losses)
    case.network.use(case.flat)
    assert case.loss() == before


@cells
@embeddings
def test_a_call_leaves_nothing_behind_for_the_next(cell, embedding_size):
    """The gradient of a shorter batch after a full one with masks and keep is that of a fresh model."""
    used, fresh = Case(cell, embedding_size), Case(cell, embedding_size)
    used.loss()
    used.loss()
    for case in (used, fresh):
        batch = Batch(case.batch.x[:3], case.batch.targets[:3])
        case.network.loss_and_gradient(batch, case.state.copy(), SCALE)
    np.testing.assert_array_equal(used.grads, fresh.grads)
    assert np.isfinite(fresh.grads).all()


@pytest.mark.parametrize("vocabulary_size", [5, 300, 2000])
def test_the_gradient_of_chosen_rows_is_the_sum_over_where_they_were_chosen(vocabulary_size):
    """Few and many distinct ids; rows that were not chosen get zero."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary_size, (40, 20))
    dy, actual = rng.standard_normal((40, 20, D)), np.full((vocabulary_size + 1, D), np.nan)
    ops.embedding_backward(dy, ids, actual)
    expected = np.zeros_like(actual)
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_a_confident_model_has_a_finite_loss_and_gradient():
    """Logits of thousands: the softmax must not overflow, and what it calls impossible costs that many nats."""
    case = Case("lstm", 0, extras=False)
    case.network.named["head.weight"][...] = 0
    case.network.named["head.bias"][...] = [5000.0] + [0.0] * (V - 1)
    case.batch.targets[...] = 1
    assert case.loss() == pytest.approx(SCALE * 5000 * B * T)
    assert np.isfinite(case.grads).all()


def test_dropout_masks_keep_the_mean_and_drop_the_share_asked_for():
    mask = ops.dropout_mask(np.random.default_rng(0), (3, 100, 200), 0.3, np.float32)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
