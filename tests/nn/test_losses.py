"""Losses: values by hand, gradients by central differences, tallies."""

import numpy as np
import pytest

from charrnn.nn.losses import LOSSES

N, V = 6, 5


def outputs_and_targets(kind):
    rng = np.random.default_rng(4)
    outputs = rng.standard_normal((N, V))
    return outputs, rng.integers(0, V, N) if kind == "softmax" else rng.standard_normal((N, V))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_of_the_scaled_sum_equals_central_differences(kind, weighted):
    loss, (outputs, targets) = LOSSES[kind], outputs_and_targets(kind)
    scale = np.arange(N, dtype=float)[:, None] if weighted else 0.3

    def total(values):
        return float((loss.forward(values.copy(), targets)[0] * np.ravel(scale)).sum())

    _, turned = loss.forward(outputs.copy(), targets)
    gradient = loss.backward(turned, targets, scale)
    for index in np.ndindex(outputs.shape):
        step = np.zeros_like(outputs)
        step[index] = 1e-6
        numeric = (total(outputs + step) - total(outputs - step)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, abs=1e-8)


def test_squared_error_is_half_the_mean_square_and_its_tally_the_squares():
    losses, turned = LOSSES["squared"].forward(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    assert losses.tolist() == [0.5 * (1 + 4) / 2]
    assert LOSSES["squared"].tally(turned, np.zeros((1, 2))).tolist() == [[1, 4]]


def test_the_tally_of_a_softmax_counts_where_the_likeliest_is_the_target():
    targets = np.array([1, 0])
    losses, turned = LOSSES["softmax"].forward(np.log([[0.2, 0.8], [0.4, 0.6]]), targets)
    np.testing.assert_allclose(losses, -np.log([0.8, 0.4]))
    assert LOSSES["softmax"].tally(turned, targets).tolist() == [[1], [0]]
