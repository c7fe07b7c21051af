"""Losses: what an output costs beside its target, and the gradient of that, in the place of the outputs.

N counts rows (time steps x streams), V is the number of classes, M that of the numbers predicted. Costs are nats for a
softmax, half the mean square for numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.nn.arrays import Array


def cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Logits (N, V), targets (N,) -> nats of each row (N,) and, in the place of the logits, the probabilities."""
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    nats = -logits[rows, targets]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    nats += np.log(total[:, 0])
    logits /= total
    return nats, logits


def cross_entropy_backward(probabilities: Array, targets: Array, scale: float | Array) -> Array:
    """Turns probabilities (N, V) in place into the logits' gradient of the sum of scale x nats: scale x (p - one_hot).

    scale: one number, or one for each row (N, 1)."""
    probabilities[np.arange(len(targets)), targets] -= 1
    probabilities *= scale
    return probabilities


def hits(probabilities: Array, targets: Array) -> Array:
    """1 where the likeliest class is the target (N, 1)."""
    right: Array = probabilities.argmax(axis=1) == targets
    return right[:, None].astype(probabilities.dtype)


def squared_error_forward(y: Array, targets: Array) -> tuple[Array, Array]:
    """y (N, M), targets (N, M) -> half the mean square of each row (N,) and, in the place of y, the differences."""
    y -= targets
    return 0.5 * np.square(y).mean(axis=1), y


def squared_error_backward(differences: Array, targets: Array, scale: float | Array) -> Array:
    """Turns differences (N, M) in place into the gradient of y of the sum of scale x losses."""
    differences *= scale / differences.shape[1]
    return differences


def squares(differences: Array, targets: Array) -> Array:
    """The squared error of each number (N, M)."""
    return np.square(differences)


class Loss(NamedTuple):
    """forward: outputs, targets -> losses (N,) and what the outputs were turned into; backward takes that, the targets
    and the scale; tally, that and the targets -> what is counted of each row to be shown (N, 1) or (N, M)."""

    forward: Callable[[Array, Array], tuple[Array, Array]]
    backward: Callable[[Array, Array, float | Array], Array]
    tally: Callable[[Array, Array], Array]


LOSSES = {
    "softmax": Loss(cross_entropy_forward, cross_entropy_backward, hits),
    "squared": Loss(squared_error_forward, squared_error_backward, squares),
}


def bits(nats: float | None) -> float | None:
    """Nats -> bits; nothing stays nothing."""
    return None if nats is None else nats / math.log(2)
