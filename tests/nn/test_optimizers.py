"""Optimizers against the formulas of their papers, written for one scalar; clipping, weight decay, averaging."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.nn.optimizers import OPTIMIZERS, clip_factor, decay_weights, update_average

SIZE, STEPS = 37, 6

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def adam(p, gradients, rates):
    """Kingma & Ba 2015, algorithm 1."""
    m = v = 0.0
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        m_hat = m / (1 - 0.9**t)
        v_hat = v / (1 - 0.99**t)
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
    """Polyak 1964: the velocity is the sum of all gradients so far; each loses a tenth of its weight at every step."""
    for t, lr in enumerate(rates, 1):
        p = p - lr * sum(0.9 ** (t - 1 - k) * gradients[k] for k in range(t))
    return p


FORMULAS = {
    "adam": adam,
    "adamw": adam,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "sgd": sgd,
}


def problem(dtype=np.float64):
    """Parameters, gradients of very different sizes for several steps, and learning rates."""
    rng = np.random.default_rng(3)
    p = rng.standard_normal(SIZE).astype(dtype)
    gradients = (rng.standard_normal((STEPS, SIZE)) * 10.0 ** rng.integers(-3, 2, SIZE)).astype(dtype)
    return p, gradients, [0.1, 0.2, 0.05, 0.3, 0.01, 0.1]


def run(name, p, gradients, rates):
    """The parameters after one update for each gradient."""
    optimizer = OPTIMIZERS[name]
    p = p.copy()
    moments = np.zeros((optimizer.num_moments, len(p)), p.dtype)
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        optimizer.update(p, g.copy(), moments, t, lr)
    return p


def test_every_optimizer_has_a_formula_in_this_file():
    assert set(FORMULAS) == set(OPTIMIZERS)


@each_optimizer
def test_several_updates_equal_the_formula(name):
    p, gradients, rates = problem()
    expected = [FORMULAS[name](p[i], gradients[:, i].tolist(), rates) for i in range(SIZE)]
    np.testing.assert_allclose(run(name, p, gradients, rates), expected, rtol=1e-12)


@each_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_of_slices_equal_the_update_of_the_whole(name, dtype):
    p, gradients, rates = problem(dtype)
    whole = run(name, p, gradients, rates)
    pieces = [run(name, p[part], gradients[:, part], rates) for part in (slice(0, 5), slice(5, 21), slice(21, None))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert whole.dtype == dtype


@each_optimizer
def test_a_zero_gradient_changes_nothing(name):
    p, gradients, rates = problem()
    np.testing.assert_array_equal(run(name, p, np.zeros_like(gradients), rates), p)


@each_optimizer
def test_updates_converge_to_the_minimum_of_a_quadratic_function(name):
    optimizer = OPTIMIZERS[name]
    p = np.array([1.0, -2.0, 0.5])
    moments = np.zeros((optimizer.num_moments, 3))
    for t in range(1, 2001):
        lr = 0.05 / math.sqrt(t) if name == "rmsprop" else 0.05
        optimizer.update(p, p * [1.0, 0.3, 2.0], moments, t, lr)
    assert np.abs(p).max() < (0.3 if name == "adagrad" else 0.01)


def test_weight_decay_shrinks_matrices_only():
    p = np.array([1.0, -2.0, 3.0])
    decay_weights(p, 0.1, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(p, [0.9, -1.8, 3.0], rtol=1e-15)


@settings(deadline=None)
@given(st.floats(0, 1e30), st.floats(1e-6, 1e6))
@example(norm=1.01, limit=1.0)
@example(norm=1.0, limit=1.0)
def test_clipping_scales_a_gradient_down_to_the_limit_and_leaves_shorter_ones(norm, limit):
    factor = clip_factor(norm, limit)
    if norm > limit:
        assert 0 < factor < 1
        assert math.isclose(norm * factor, limit, rel_tol=1e-12)
    else:
        assert factor == 1


def test_clipping_is_off_at_zero():
    assert clip_factor(1e9, 0.0) == 1


def test_the_average_starts_at_the_first_step_and_covers_about_the_last_tenth():
    steps = 2000
    average = np.full(1, 99.0)
    shares = np.zeros(steps)  # the share of each step in the average, from the definition
    for t in range(1, steps + 1):
        update_average(average, np.full(1, float(t)), t)
        share = 1 / (1 + 0.1 * (t - 1))
        shares[:t] *= 1 - share
        shares[t - 1] = share
        if t == 1:
            assert average == 1
    assert math.isclose(shares.sum(), 1)
    np.testing.assert_allclose(average, shares @ np.arange(1.0, steps + 1), rtol=1e-12)
    assert 0.6 < shares[-steps // 10 :].sum() < 0.7  # 1 - 1 / e
