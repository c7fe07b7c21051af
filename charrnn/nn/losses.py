"""Losses: what an output costs beside its target, and the gradient of that, in the place of the outputs.

N counts rows (time steps x streams), V is the number of classes. Costs are in nats.
"""

from __future__ import annotations

import math

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


def bits(nats: float | None) -> float | None:
    """Nats -> bits; nothing stays nothing."""
    return None if nats is None else nats / math.log(2)
