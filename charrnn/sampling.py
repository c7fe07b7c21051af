"""Choosing the next character, and writing text with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.nn.ops import softmax_forward

Array = NDArray[Any]


def distribution(logits: Array, config: SampleConfig) -> Array:
    """Logits (B, V), overwritten -> probabilities (B, V): temperature, top-k, top-p (Holtzman et al. 2020), min-p."""
    if config.greedy or config.temperature == 0:
        best = logits.argmax(axis=1)
        logits.fill(0)
        logits[np.arange(len(best)), best] = 1
        return logits
    if config.temperature != 1:
        logits -= logits.max(axis=1, keepdims=True)  # so that a small temperature cannot overflow
        logits /= max(config.temperature, 1e-6)
    p = softmax_forward(logits)
    if config.top_k and config.top_k < p.shape[1]:
        _keep(p, np.argsort(-p, axis=1, kind="stable")[:, : config.top_k])
    if config.top_p < 1:
        order = np.argsort(-p, axis=1, kind="stable")
        ordered = np.take_along_axis(p, order, axis=1)
        before = np.cumsum(ordered, axis=1) - ordered  # the most likely one always stays
        np.put_along_axis(
            p, order, np.where(before < config.top_p * ordered.sum(axis=1, keepdims=True), ordered, 0), axis=1
        )
    if config.min_p > 0:
        p[p < config.min_p * p.max(axis=1, keepdims=True)] = 0
    return p


def _keep(p: Array, places: Array) -> None:
    kept = np.take_along_axis(p, places, axis=1)
    p.fill(0)
    np.put_along_axis(p, places, kept, axis=1)


def choose(p: Array, u: Array) -> Array:
    """Weights p (B, V), uniform numbers u (B,) in [0, 1) -> ids (B,), by inverting the cumulative distribution."""
    cumulative = p.cumsum(axis=1, dtype=np.float64)
    targets = u * cumulative[:, -1]
    # side="right" never takes a symbol of probability zero.
    return np.array([row.searchsorted(target, side="right") for row, target in zip(cumulative, targets, strict=True)])


def generate(
    step: Callable[[Array], Array], logits: Array, config: SampleConfig, rngs: list[np.random.Generator]
) -> Iterator[tuple[Array, Array]]:
    """Endless text for B streams: yields (ids (B,), their nats under the model (B,)).

    `step` takes ids and gives the next logits (B, V); `logits` are those after the prime. Each stream has a generator
    of its own, so a sample does not depend on which others are drawn beside it.
    """
    rows = np.arange(len(rngs))
    while True:
        shifted = logits - logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(shifted).sum(axis=1))
        u = np.array([rng.random() for rng in rngs])
        ids = choose(distribution(logits, config), u)
        yield ids, normaliser - shifted[rows, ids]
        logits = step(ids)
