"""Optimizers, decoupled weight decay, the running average of the parameters, and gradient clipping.

All functions work in place on flat vectors, elementwise, so that a slice of the parameters is updated exactly like the
whole. They use only operators, so that all arguments, including `lr` and `t`, may also be PyTorch tensors.

p: parameters; g: gradient; m, v: moments (one vector each, zero at first); t: number of the step, from 1; lr: learning
rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from charrnn.nn.arrays import Array

BETA1 = 0.9
BETA2 = 0.99
EPSILON = 1e-8
RMSPROP_DECAY = 0.95
MOMENTUM = 0.9
AVERAGED_SHARE = 0.1  # the running average covers about this share of all steps


def adam(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Adam (Kingma & Ba 2015): p -= lr m_hat / (sqrt(v_hat) + epsilon), with bias-corrected m_hat and v_hat."""
    m, v = moments
    m += (1 - BETA1) * (g - m)
    v += (1 - BETA2) * (g * g - v)
    denominator = v**0.5
    denominator /= (1 - BETA2**t) ** 0.5
    denominator += EPSILON
    step = m / denominator
    step *= lr / (1 - BETA1**t)
    p -= step


def rmsprop(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """RMSProp (Tieleman & Hinton 2012): p -= lr g / (sqrt(v) + epsilon), where v is a running average of g^2."""
    (v,) = moments
    v += (1 - RMSPROP_DECAY) * (g * g - v)
    p -= lr * g / (v**0.5 + EPSILON)


def adagrad(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Adagrad (Duchi, Hazan & Singer 2011): p -= lr g / (sqrt(v) + epsilon), where v is the sum of all g^2."""
    (v,) = moments
    v += g * g
    p -= lr * g / (v**0.5 + EPSILON)


def sgd(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Gradient descent with momentum (Polyak 1964): m = 0.9 m + g; p -= lr m."""
    (m,) = moments
    m *= MOMENTUM
    m += g
    p -= lr * m


class Optimizer(NamedTuple):
    """An update rule update(p, g, moments, t, lr), its number of moments and its default learning rate."""

    update: Callable[[Array, Array, Array, int, float], None]
    num_moments: int
    learning_rate: float


# The engines apply `decay_weights` before the update of adamw (Loshchilov & Hutter 2019).
OPTIMIZERS = {
    "adamw": Optimizer(adam, 2, 8e-3),
    "adam": Optimizer(adam, 2, 8e-3),
    "rmsprop": Optimizer(rmsprop, 1, 2e-3),
    "adagrad": Optimizer(adagrad, 1, 3e-2),
    "sgd": Optimizer(sgd, 1, 1.0),
}


def decay_weights(p: Array, rate: float, matrix_mask: Array) -> None:
    """Decoupled weight decay (Loshchilov & Hutter 2019): p -= rate p where matrix_mask is 1, and not where it is 0."""
    p -= rate * matrix_mask * p


def update_average(average: Array, p: Array, t: int) -> None:
    """Moves the running average of the parameters towards p. The first step sets it to p.

    The average covers about the last tenth of all steps, however many there are: polynomial-decay averaging (Shamir &
    Zhang 2013), after Polyak & Juditsky (1992).
    """
    average += (p - average) / (1 + AVERAGED_SHARE * (t - 1))


def clip_factor(norm: float, clip_norm: float) -> float:
    """The factor that limits the L2 norm of a gradient to clip_norm (Pascanu et al. 2013). clip_norm 0 = no limit."""
    return clip_norm / norm if clip_norm and norm > clip_norm else 1.0
