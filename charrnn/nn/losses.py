"""Losses and their gradients.

N rows (time steps x streams), V classes, M predicted numbers. The loss of a softmax is in nats. The loss of numbers is
half their mean squared error. To save memory, the forward and backward functions overwrite their first argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.nn.arrays import Array


def cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """logits (N, V), targets (N,) -> losses in nats (N,) and probabilities (N, V), which overwrite the logits."""
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    nats = -logits[rows, targets]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    nats += np.log(total[:, 0])
    logits /= total
    return nats, logits


def cross_entropy_backward(probabilities: Array, targets: Array, scale: float | Array) -> Array:
    """The gradient of sum(scale * losses) with respect to the logits: scale * (probabilities - one_hot(targets)).

    The gradient overwrites the probabilities (N, V). scale: a number, or one for each row (N, 1).
    """
    probabilities[np.arange(len(targets)), targets] -= 1
    probabilities *= scale
    return probabilities


def log_softmax(logits: Array) -> Array:
    """logits (N, V) -> log probabilities (N, V), in a new array."""
    log_p: Array = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return log_p


def correct(probabilities: Array, targets: Array) -> Array:
    """1 where the most probable class is the target, else 0 (N, 1)."""
    is_correct: Array = probabilities.argmax(axis=1) == targets
    return is_correct[:, None].astype(probabilities.dtype)


def squared_error_forward(y: Array, targets: Array) -> tuple[Array, Array]:
    """y (N, M), targets (N, M) -> half the mean square of each row (N,) and the errors (N, M), which overwrite y."""
    y -= targets
    return 0.5 * np.square(y).mean(axis=1), y


def squared_error_backward(errors: Array, targets: Array, scale: float | Array) -> Array:
    """The gradient of sum(scale * losses) with respect to y: scale * errors / M.

    The gradient overwrites the errors (N, M).
    """
    errors *= scale / errors.shape[1]
    return errors


def squares(errors: Array, targets: Array) -> Array:
    """The squared error of each number (N, M)."""
    return np.square(errors)


class Loss(NamedTuple):
    """The functions of a loss.

    forward(outputs, targets) -> losses (N,) and a residual: the probabilities or the errors.
    backward(residual, targets, scale) -> the gradient of sum(scale * losses) with respect to the outputs.
    tally(residual, targets) -> the terms of a metric: correct predictions (N, 1), or squared errors (N, M).
    """

    forward: Callable[[Array, Array], tuple[Array, Array]]
    backward: Callable[[Array, Array, float | Array], Array]
    tally: Callable[[Array, Array], Array]


LOSSES = {
    "softmax": Loss(cross_entropy_forward, cross_entropy_backward, correct),
    "squared": Loss(squared_error_forward, squared_error_backward, squares),
}


def bits(nats: float | None) -> float | None:
    """Converts nats to bits. None stays None."""
    return None if nats is None else nats / math.log(2)
