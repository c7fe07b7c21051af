"""Choosing the next character. Pure functions: the randomness is handed in."""

from __future__ import annotations

import math

import numpy as np

from charrnn.config import SampleConfig
from charrnn.nn.arrays import Array

PLAIN = SampleConfig(temperature=1.0)  # the model's own distribution


def weights(logits: Array, config: SampleConfig) -> Array:
    """Logits (V,), the largest of them 0 -> unnormalised probabilities (V,), 0 for what may not be chosen.

    In this order: temperature, top-k, top-p (Holtzman et al. 2020), min-p. The most likely symbol always stays.
    """
    w: Array = np.exp(logits if config.temperature == 1 else logits / max(config.temperature, 1e-6))
    if config.top_k or config.top_p < 1:
        order = np.argsort(-w, kind="stable")
        if config.top_k:
            w[order[config.top_k :]] = 0
        if config.top_p < 1:
            ordered = w[order]
            before = np.cumsum(ordered) - ordered
            w[order[before >= max(config.top_p, 1e-9) * ordered.sum()]] = 0
            w[order[0]] = ordered[0]
    if config.min_p:
        w[w < config.min_p * w.max()] = 0
    return w


def choose(logits: Array, config: SampleConfig, u: float) -> tuple[int, float]:
    """Logits (V,) and a uniform number u in [0, 1) -> the next id, and its nats under the model (before any filter)."""
    shifted = logits - np.maximum.reduce(logits)
    if config.greedy or config.temperature == 0:
        return int(shifted.argmax()), math.log(np.exp(shifted).sum())
    w = weights(shifted, config)
    cumulative = np.add.accumulate(w)
    # Inverts the cumulative distribution; side="right" never takes a symbol of weight zero.
    i = int(cumulative.searchsorted(cumulative.dtype.type(u) * cumulative[-1], side="right"))
    if i >= len(w):  # u x total rounded up to the total
        i = int(np.flatnonzero(w)[-1])
    total = float(cumulative[-1]) if config == PLAIN else float(np.exp(shifted).sum())
    return i, math.log(total) - float(shifted[i])
