"""Losses: values computed by hand, gradients against central differences, tallies."""

import numpy as np
import pytest

from charrnn.nn.losses import LOSSES, bits

N, V = 6, 5
EPSILON = 1e-6


def outputs_and_targets(kind):
    rng = np.random.default_rng(4)
    outputs = rng.standard_normal((N, V))
    targets = rng.integers(0, V, N) if kind == "softmax" else rng.standard_normal((N, V))
    return outputs, targets


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("scale", [0.3, np.arange(N, dtype=float)[:, None]], ids=["one scale", "a scale for each row"])
def test_gradient_of_the_scaled_sum_equals_central_differences(kind, scale):
    loss = LOSSES[kind]
    outputs, targets = outputs_and_targets(kind)

    def scaled_sum(values):
        losses, _ = loss.forward(values.copy(), targets)
        return float((losses * np.ravel(scale)).sum())

    _, residual = loss.forward(outputs.copy(), targets)
    gradient = loss.backward(residual, targets, scale)
    for index in np.ndindex(outputs.shape):
        step = np.zeros_like(outputs)
        step[index] = EPSILON
        numeric = (scaled_sum(outputs + step) - scaled_sum(outputs - step)) / (2 * EPSILON)
        assert gradient[index] == pytest.approx(numeric, abs=1e-8)


def test_squared_error_is_half_the_mean_square_and_tallies_the_squares():
    losses, errors = LOSSES["squared"].forward(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    assert losses.tolist() == [0.5 * (1 + 4) / 2]
    assert LOSSES["squared"].tally(errors, np.zeros((1, 2))).tolist() == [[1, 4]]


def test_cross_entropy_is_minus_log_p_and_tallies_correct_predictions():
    targets = np.array([1, 0])
    losses, probabilities = LOSSES["softmax"].forward(np.log([[0.2, 0.8], [0.4, 0.6]]), targets)
    np.testing.assert_allclose(losses, -np.log([0.8, 0.4]))
    assert LOSSES["softmax"].tally(probabilities, targets).tolist() == [[1], [0]]


def test_cross_entropy_of_logits_in_the_thousands_is_finite():
    losses, probabilities = LOSSES["softmax"].forward(np.array([[5000.0, 0.0]]), np.array([1]))
    assert losses.tolist() == [5000]
    assert LOSSES["softmax"].backward(probabilities, np.array([1]), 1.0).tolist() == [[1, -1]]


def test_bits_converts_nats_and_passes_none_through():
    assert bits(float(np.log(8))) == pytest.approx(3)
    assert bits(None) is None
