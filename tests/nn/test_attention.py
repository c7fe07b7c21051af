"""The attention: its forward pass against the plain reference, its gradients against central differences."""

import numpy as np
import pytest
from reference import attention as reference_attention
from reference import numeric_gradient

from charrnn.nn.attention import Attention, AttentionWeights

B, T, S, H, E = 3, 4, 5, 6, 2
LENGTHS = np.array([5, 2, 1])
WITH_EMPTY_STREAM = np.array([4, 0, 2])

each_lengths = pytest.mark.parametrize("lengths", [LENGTHS, WITH_EMPTY_STREAM], ids=["all streams", "an empty stream"])
single = pytest.mark.parametrize(("streams", "steps"), [(1, T), (B, 1), (1, 1)])


class Case:
    """Random weights and inputs. An empty stream has no gradient, because its steps are not scored."""

    def __init__(self, lengths=LENGTHS, steps=T, dtype=np.float64):
        rng = np.random.default_rng(4)
        streams = len(lengths)

        def random(*shape):
            return rng.standard_normal(shape).astype(dtype)

        self.weights = AttentionWeights(query=random(E, H), output=random(H, E + H), bias=random(H))
        self.h = random(steps, streams, H)
        self.memory = random(S, streams, E)
        self.dy = random(steps, streams, H)
        self.dy[:, lengths == 0] = 0
        self.lengths = lengths
        self.is_source = np.arange(S)[:, None] >= S - lengths
        self.attention = Attention(self.weights)

    def forward(self):
        return self.attention.forward(self.h, self.memory, self.is_source)

    def loss(self):
        return float((self.forward() * self.dy).sum())

    def gradients(self):
        """The gradients of h, of the memory and of the weights, after `forward`."""
        grads = AttentionWeights(*map(np.empty_like, self.weights))
        dh = np.empty_like(self.h)
        dmemory = self.attention.backward(self.dy.copy(), dh, grads)
        return {"h": dh, "memory": dmemory, **grads._asdict()}


def test_outputs_and_attention_weights_equal_the_reference():
    case = Case()
    y = case.forward()
    for b, length in enumerate(LENGTHS.tolist()):
        expected_y, expected_alignment = reference_attention(case.weights, case.h[:, b], case.memory[S - length :, b])
        np.testing.assert_allclose(y[:, b], expected_y, rtol=0, atol=1e-12)
        alignment = case.attention.alignment[b]
        np.testing.assert_allclose(alignment[:, S - length :], expected_alignment, rtol=0, atol=1e-12)
        assert not alignment[:, : S - length].any()


@each_lengths
@pytest.mark.parametrize("steps", [T, 1])
def test_gradients_equal_central_differences(lengths, steps):
    case = Case(lengths, steps)
    case.loss()
    arrays = {"h": case.h, "memory": case.memory, **case.weights._asdict()}
    for name, gradient in case.gradients().items():
        numeric = numeric_gradient(case.loss, arrays[name])
        assert np.abs(gradient - numeric).max() / np.abs(numeric).max() < 1e-6, name


@each_lengths
def test_padding_has_no_influence(lengths):
    """Other values in the padding give the same outputs and gradients. The gradient of the padding is zero."""
    case = Case(lengths)
    other = Case(lengths)
    is_padding = ~case.is_source & (lengths > 0)
    other.memory[is_padding] = 100 * np.random.default_rng(5).standard_normal((is_padding.sum(), E))
    is_stream = lengths > 0
    np.testing.assert_array_equal(case.forward()[:, is_stream], other.forward()[:, is_stream])
    gradients = case.gradients()
    for name, gradient in other.gradients().items():
        np.testing.assert_array_equal(gradient, gradients[name], err_msg=name)
    assert not gradients["memory"][~case.is_source].any()


@single
def test_the_caller_may_overwrite_the_outputs_and_the_gradient_of_h_may_replace_that_of_the_outputs(streams, steps):
    """With one stream or one step the arrays (T, B, H) and (B, T, H) have the same memory layout."""
    case = Case(LENGTHS[:streams], steps)
    case.forward()
    expected = case.gradients()
    case.forward()[...] = 0
    grads = AttentionWeights(*map(np.empty_like, case.weights))
    dh = case.dy.copy()
    dmemory = case.attention.backward(dh, dh, grads)
    for name, gradient in {"h": dh, "memory": dmemory, **grads._asdict()}.items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


def test_very_large_scores_have_finite_outputs_and_gradients():
    case = Case(WITH_EMPTY_STREAM, dtype=np.float32)
    case.weights.query[...] *= 1e4
    y = case.forward()
    assert y.dtype == np.float32 and np.isfinite(y).all()
    for name, gradient in case.gradients().items():
        assert gradient.dtype == np.float32 and np.isfinite(gradient).all(), name
    np.testing.assert_allclose(case.attention.alignment.sum(axis=2), 1, atol=1e-6)


@each_lengths
def test_outputs_and_gradients_equal_those_of_pytorch(lengths):
    """With PyTorch's own linear layers and scaled_dot_product_attention."""
    torch = pytest.importorskip("torch")
    case = Case(lengths)
    y = case.forward()
    query = torch.nn.Linear(H, E, bias=False).double()
    combine = torch.nn.Linear(E + H, H).double()
    query.load_state_dict({"weight": torch.tensor(case.weights.query)})
    combine.load_state_dict({"weight": torch.tensor(case.weights.output), "bias": torch.tensor(case.weights.bias)})
    h = torch.tensor(case.h, requires_grad=True)
    memory = torch.tensor(case.memory, requires_grad=True)
    # A stream without a source is not masked. It has no gradient.
    is_source = torch.tensor((case.is_source | (lengths == 0)).T[:, None])
    keys = memory.transpose(0, 1)
    context = torch.nn.functional.scaled_dot_product_attention(
        query(h).transpose(0, 1), keys, keys, attn_mask=is_source, scale=1.0
    )
    expected = torch.tanh(combine(torch.cat([context.transpose(0, 1), h], dim=2)))
    is_stream = lengths > 0
    np.testing.assert_allclose(y[:, is_stream], expected.detach().numpy()[:, is_stream], rtol=0, atol=1e-12)
    (expected * torch.tensor(case.dy)).sum().backward()
    expected_gradients = {
        "h": h.grad,
        "memory": memory.grad,
        "query": query.weight.grad,
        "output": combine.weight.grad,
        "bias": combine.bias.grad,
    }
    for name, gradient in case.gradients().items():
        np.testing.assert_allclose(gradient, expected_gradients[name].numpy(), rtol=0, atol=1e-10, err_msg=name)
