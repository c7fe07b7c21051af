"""Optimizers: in place on flat vectors, so that a slice of the parameters is stepped exactly like the whole.

They use operators alone, so that PyTorch's tensors are stepped by the same rules; lr and t may be tensors too.

g is the gradient, p the parameters, m and v the moments, t the number of this step (from 1), lr the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from charrnn.nn.arrays import Array

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
SQUARED_SHARE = 0.5
RMS_DECAY, MOMENTUM = 0.95, 0.9
AVERAGED_SHARE = 0.1


def adam(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Kingma & Ba 2015: p -= lr m^ / (sqrt(v^) + eps), the moments corrected for their start at zero.

    From step 200 on v chrono_init half of all steps, not 100: where it forgets between two uses of a weight, that one's
    steps grow the more seldom it is used.
    """
    m, v = moments
    m += (1 - BETA1) * (g - m)
    short, long = 1 / (1 - BETA2), SQUARED_SHARE * t
    v += (g * g - v) / ((short + long + abs(short - long)) / 2)  # the larger one, of tensors too
    denominator = v**0.5
    denominator /= (1 - BETA2**t) ** 0.5
    denominator += EPSILON
    step = m / denominator
    step *= lr / (1 - BETA1**t)
    p -= step


def rmsprop(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Tieleman & Hinton 2012: p -= lr g / (sqrt(v) + eps)."""
    (v,) = moments
    v += (1 - RMS_DECAY) * (g * g - v)
    p -= lr * g / (v**0.5 + EPSILON)


def adagrad(p: Array, g: Array, moments: Array, t: int, lr: float) -> None:
    """Duchi, Hazan & Singer 2011: v sums the squares; p -= lr g / (sqrt(v) + eps)."""
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
    """A rule, the number of moment vectors it needs, and a learning rate that suits it."""

    update: Callable[[Array, Array, Array, int, float], None]
    moments: int
    learning_rate: float


OPTIMIZERS = {
    "adamw": Optimizer(adam, 2, 8e-3),  # with decoupled weight decay (Loshchilov & Hutter 2019): see `decay`
    "adam": Optimizer(adam, 2, 8e-3),
    "rmsprop": Optimizer(rmsprop, 1, 2e-3),
    "adagrad": Optimizer(adagrad, 1, 3e-2),
    "sgd": Optimizer(sgd, 1, 1.0),
}


def decay(p: Array, rate: float, is_matrix: Array) -> None:
    """Decoupled weight decay: p -= rate x p where `is_matrix` is 1, and not where it is 0 (biases)."""
    p -= rate * is_matrix * p


def average(a: Array, p: Array, t: int) -> None:
    """Moves a, the running average of the parameters, towards p: about the mean of the last tenth of all steps, however
    many there have been (polynomial decay: Shamir & Zhang 2013, after Polyak & Juditsky 1992)."""
    a += (p - a) / (1 + AVERAGED_SHARE * (t - 1))


def clip_factor(norm: float, clip_norm: float) -> float:
    """What the gradient is multiplied with so that its L2 norm is at most clip_norm (Pascanu et al. 2013); 0 = off."""
    return clip_norm / norm if clip_norm and norm > clip_norm else 1.0
