"""Each optimizer against its paper's formula written out for one scalar; clipping; decoupled weight decay."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.nn.optimizers import OPTIMIZERS, clip_factor, decay_weights, update_average

SIZE, STEPS = 37, 6


def adam(p, gradients, rates):
    """Kingma & Ba 2015, algorithm 1; from step 200 on v chrono_init half of all steps."""
    m = v = 0.0
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        m = 0.9 * m + 0.1 * g
        beta2 = max(0.99, 1 - 2 / t)
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.99**t)
        p = p - lr * m_hat / (math.sqrt(v_hat) + 1e-8)
    return p


def rmsprop(p, gradients, rates):
    """Tieleman & Hinton 2012."""
    v = 0.0
    for g, lr in zip(gradients, rates, strict=True):
        v = 0.95 * v + 0.05 * g**2
        p = p - lr * g / (math.sqrt(v) + 1e-8)
    return p


def adagrad(p, gradients, rates):
    """Duchi, Hazan & Singer 2011."""
    for t, lr in enumerate(rates, 1):
        p = p - lr * gradients[t - 1] / (math.sqrt(sum(g**2 for g in gradients[:t])) + 1e-8)
    return p


def sgd(p, gradients, rates):
    """Polyak 1964: the velocity is the sum of all gradients so far, each 0.9 as strong a step later."""
    for t, lr in enumerate(rates, 1):
        p = p - lr * sum(0.9 ** (t - 1 - k) * gradients[k] for k in range(t))
    return p


FORMULAS = {"adam": adam, "adamw": adam, "rmsprop": rmsprop, "adagrad": adagrad, "sgd": sgd}


def problem(dtype=np.float64):
    rng = np.random.default_rng(3)
    p = rng.standard_normal(SIZE).astype(dtype)
    gradients = (rng.standard_normal((STEPS, SIZE)) * 10.0 ** rng.integers(-3, 2, SIZE)).astype(dtype)
    return p, gradients, [0.1, 0.2, 0.05, 0.3, 0.01, 0.1]


def run(name, p, gradients, rates):
    optimizer, p = OPTIMIZERS[name], p.copy()
    moments = np.zeros((optimizer.num_moments, len(p)), p.dtype)
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        optimizer.update(p, g.copy(), moments, t, lr)
    return p


def test_every_optimizer_has_its_formula_here():
    assert set(FORMULAS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_several_steps_equal_the_paper_s_formula(name):
    p, gradients, rates = problem()
    expected = [FORMULAS[name](p[i], gradients[:, i].tolist(), rates) for i in range(SIZE)]
    np.testing.assert_allclose(run(name, p, gradients, rates), expected, rtol=1e-12)


def test_a_weight_used_every_500_steps_is_not_forgotten_between_them():
    gradients = np.zeros((2001, 2))
    gradients[:, 0], gradients[::500, 1] = 1, 1
    p = run("adam", np.zeros(2), gradients, [0.1] * len(gradients))
    expected = [adam(0.0, gradients[:, n].tolist(), [0.1] * len(gradients)) for n in range(2)]
    np.testing.assert_allclose(p, expected, rtol=1e-9)
    per_use = p / gradients.sum(axis=0)
    assert per_use[1] / per_use[0] < 20  # where v chrono_init 100 steps: 78


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slice_stepped_alone_equals_the_whole(name, dtype):
    p, gradients, rates = problem(dtype)
    whole = run(name, p, gradients, rates)
    pieces = [run(name, p[part], gradients[:, part], rates) for part in (slice(0, 5), slice(5, 21), slice(21, None))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert whole.dtype == dtype


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_zero_moves_nothing(name):
    p, gradients, rates = problem()
    np.testing.assert_array_equal(run(name, p, np.zeros_like(gradients), rates), p)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_walks_to_the_minimum_of_a_bowl(name):
    optimizer, p = OPTIMIZERS[name], np.array([1.0, -2.0, 0.5])
    moments = np.zeros((optimizer.num_moments, 3))
    for t in range(1, 2001):
        optimizer.update(p, p * [1.0, 0.3, 2.0], moments, t, 0.05 / math.sqrt(t) if name == "rmsprop" else 0.05)
    assert np.abs(p).max() < (0.3 if name == "adagrad" else 0.01)


def test_weight_decay_shrinks_the_matrices_and_leaves_the_biases():
    p = np.array([1.0, -2.0, 3.0])
    decay_weights(p, 0.1, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(p, [0.9, -1.8, 3.0], rtol=1e-15)


@settings(deadline=None)
@given(st.floats(0, 1e30), st.floats(1e-6, 1e6))
@example(norm=1.01, limit=1.0)
@example(norm=1.0, limit=1.0)
def test_a_clipped_gradient_is_no_longer_than_the_limit_and_keeps_its_direction(norm, limit):
    factor = clip_factor(norm, limit)
    assert 0 < factor <= 1
    assert norm * factor <= limit * (1 + 1e-12)
    assert factor == 1 or norm > limit
    if norm > limit:
        assert math.isclose(norm * factor, limit)


def test_clipping_is_off_at_zero():
    assert clip_factor(1e9, 0.0) == 1


def test_the_average_is_the_first_step_then_mostly_the_last_tenth_of_all_steps():
    steps, averaged, weights = 2000, np.full(1, 99.0), np.zeros(2000)
    for t in range(1, steps + 1):
        update_average(averaged, np.full(1, float(t)), t)
        if t == 1:
            assert averaged == 1
    for t in range(1, steps + 1):  # how much each step counts, from the definition
        weights[:t] *= 1 - 1 / (1 + 0.1 * (t - 1))
        weights[t - 1] = 1 / (1 + 0.1 * (t - 1))
    assert math.isclose(weights.sum(), 1)
    np.testing.assert_allclose(averaged, weights @ np.arange(1.0, steps + 1), rtol=1e-12)
    assert 0.6 < weights[-steps // 10 :].sum() < 0.7  # 1 - 1 / e
