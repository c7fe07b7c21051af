"""Choosing the next character of each of B streams. Pure functions: the randomness is handed in. V symbols."""

from __future__ import annotations

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.options import SamplingOptions


def weights(logits: Array, config: SamplingOptions) -> Array:
    """Logits (B, V), the largest of each row 0 -> unnormalised probabilities (B, V), 0 for what may not be chosen.

    In this order: temperature, top-k, top-p (Holtzman et al. 2020), min-p. The most likely symbol always stays.
    """
    w: Array = np.exp(logits if config.temperature == 1 else logits / max(config.temperature, 1e-6))
    if config.top_k or config.top_p < 1:
        order = np.argsort(-w, axis=1, kind="stable")
        ordered = np.take_along_axis(w, order, axis=1)
        if config.top_k:
            ordered[:, config.top_k :] = 0
        if config.top_p < 1:
            before = np.cumsum(ordered, axis=1) - ordered
            ordered[:, 1:][before[:, 1:] >= max(config.top_p, 1e-9) * ordered.sum(axis=1, keepdims=True)] = 0
        np.put_along_axis(w, order, ordered, axis=1)
    if config.min_p:
        w[w < config.min_p * w.max(axis=1, keepdims=True)] = 0
    return w


def choose(logits: Array, config: SamplingOptions, u: Array) -> tuple[Array, Array]:
    """Logits (B, V) and uniform numbers u (B,) in [0, 1) -> the next ids (B,), and their nats (B,) under the model
    (before any filter)."""
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    if config.greedy or config.temperature == 0:
        ids = shifted.argmax(axis=1)
    else:
        w = weights(shifted, config)
        cumulative = np.add.accumulate(w, axis=1)
        # Inverts the cumulative distribution; <= never takes a symbol of weight zero, nor does a u that rounds up to 1.
        total = cumulative[:, -1]
        below = np.minimum(u.astype(w.dtype) * total, np.nextafter(total, 0))
        ids = np.add.reduce(cumulative <= below[:, None], axis=1)
    return ids, np.log(np.add.reduce(np.exp(shifted), axis=1)) - shifted[np.arange(len(ids)), ids]
