"""Chooses the next symbol of each of B streams, with pure functions: random numbers are arguments. V symbols."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.options import SamplingOptions

SORTED_SYMBOLS = 256  # number of symbols that are sorted first for top-p; their probabilities usually add up to top-p


def filtered_probabilities(logits: Array, options: SamplingOptions) -> Array:
    """Logits (B, V) whose maximum in each row is 0 -> unnormalised probabilities (B, V), 0 for excluded symbols.

    Applies temperature, top-k, top-p (Holtzman et al. 2020) and min-p in this order. The most likely symbol is never
    excluded.
    """
    p: Array = np.exp(logits if options.temperature == 1 else logits / max(options.temperature, 1e-6))
    if options.top_k or options.top_p < 1:
        width = options.top_k or SORTED_SYMBOLS  # number of symbols that are sorted
        order = _most_likely(p, width)
        ordered = np.take_along_axis(p, order, axis=1)
        if options.top_p < 1:
            total = (ordered if options.top_k else p).sum(axis=1, keepdims=True)
            limit = max(options.top_p, 1e-9) * total
            if not options.top_k and (ordered.sum(axis=1, keepdims=True) < limit).any():
                order = _most_likely(p, p.shape[1])
                ordered = np.take_along_axis(p, order, axis=1)
            more_likely = np.cumsum(ordered, axis=1) - ordered  # total of the symbols that are more likely
            ordered[:, 1:][more_likely[:, 1:] >= limit] = 0
        p = np.zeros_like(p)
        np.put_along_axis(p, order, ordered, axis=1)
    if options.min_p:
        p[p < options.min_p * p.max(axis=1, keepdims=True)] = 0
    return p


def _most_likely(p: Array, number: int) -> Array:
    """The ids of the `number` most likely symbols of each row, in descending order of probability."""
    if p.shape[1] <= max(number, SORTED_SYMBOLS):
        return np.argsort(-p, axis=1, kind="stable")[:, :number]
    # Finding the most likely symbols of a large vocabulary takes less time than sorting all of them.
    ids = np.argpartition(-p, number, axis=1)[:, :number]
    order = np.argsort(-np.take_along_axis(p, ids, axis=1), axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1)


def choose(logits: Array, options: SamplingOptions, u: Array, excluded: Array | None = None) -> tuple[Array, Array]:
    """Chooses a symbol for each stream. logits: (B, V). u: (B,), uniform random numbers in [0, 1).

    excluded: (B, V), True for symbols that must not be chosen. In each row, at least one must be False.

    Returns ids (B,), and their losses in nats (B,), from the probabilities before filtering.
    """
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    allowed = shifted
    if excluded is not None:
        allowed = np.where(excluded, -np.inf, shifted)
        allowed -= allowed.max(axis=1, keepdims=True)
    if options.greedy or options.temperature == 0:
        ids = allowed.argmax(axis=1)
    else:
        p = filtered_probabilities(allowed, options)
        cumulative = np.add.accumulate(p, axis=1)
        # Inverts the cumulative distribution. The comparison with <= never chooses an excluded symbol. The minimum
        # keeps the threshold below the total even if the product is rounded up.
        total = cumulative[:, -1]
        threshold = np.minimum(u.astype(p.dtype) * total, np.nextafter(total, 0))
        ids = np.add.reduce(cumulative <= threshold[:, None], axis=1)
    nats = np.log(np.add.reduce(np.exp(shifted), axis=1)) - shifted[np.arange(len(ids)), ids]
    return ids, nats


def draw_texts(
    step: Callable[[Array], Array],
    logits: Array,
    options: SamplingOptions,
    uniforms: Sequence[Callable[[], float]],
    end: int,
    limit: int,
) -> list[tuple[list[int], list[float]]]:
    """Draws a text for each of B streams. A text ends with the symbol `end`, or after `limit` symbols.

    step: ids (B,) -> logits (B, V).
    logits: (B, V), of the first symbol.
    uniforms: (B,) functions that return a random number in [0, 1). Each stream has its own, so that its text does not
        depend on the other streams.

    Returns for each stream the ids, without `end`, and the nats of all symbols, including `end`.
    """
    streams = len(uniforms)
    ids: list[list[int]] = [[] for _ in range(streams)]
    nats: list[list[float]] = [[] for _ in range(streams)]
    unfinished = list(range(streams))
    for _ in range(limit):
        chosen = np.full(streams, end)
        u = np.array([uniforms[n]() for n in unfinished])
        chosen[unfinished], costs = choose(logits[unfinished], options, u)
        for n, i, cost in zip(unfinished, chosen[unfinished].tolist(), costs.tolist(), strict=True):
            nats[n].append(cost)
            if i != end:
                ids[n].append(i)
        unfinished = [n for n in unfinished if chosen[n] != end]
        if not unfinished:
            break
        logits = step(chosen)
    return list(zip(ids, nats, strict=True))
