"""Beam search: generates the most likely targets of several sources at a time.

N sources, K hypotheses per source (the beam), V symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.losses import log_softmax

MAX_REPEATS = 16  # number of values up to which `largest` searches for one value at a time
Hypothesis = tuple[Array, float]  # the ids of a target, without the end symbol, and its log probability


class SearchStepper(Protocol):
    """The part of a stepper that a beam search uses: N K streams, K for each source."""

    def step(self, ids: Sequence[int] | Array) -> Array:
        """Reads one symbol of each stream. Returns the logits (N K, V)."""

    def select_streams(self, rows: Array) -> None:
        """Replaces the state of each stream n with the state of stream rows[n]."""


class Candidates(NamedTuple):
    """Hypotheses with one more symbol, the best first."""

    log_p: Array  # (N, C), log probabilities
    parents: Array  # (N, C), the hypotheses of the beam that they extend
    ids: Array  # (N, C), the symbols that they add

    def take(self, order: Array) -> Candidates:
        """The candidates with the given indices (N, K)."""
        sources = np.arange(len(order))[:, None]
        return Candidates(*(array[sources, order] for array in self))


class BeamSearch:
    """A beam search for N sources.

    Each step extends the hypotheses by one symbol, removes the hypotheses that end, and keeps the best of the others.
    The symbols of a hypothesis are stored once: each step stores the new symbols and the parents that they extend.
    """

    def __init__(self, stepper: SearchStepper, limits: Array, beam: int, end: int) -> None:
        """limits: (N,), the maximum length of a target of each source. end: the symbol that ends a target; -1: none."""
        self.stepper = stepper
        self.limits = limits
        self.beam = beam
        self.end = end
        num_sources = len(limits)
        self.log_p = np.full((num_sources, beam), -np.inf)
        self.log_p[:, 0] = 0  # at first all hypotheses of a source are the same, so only one counts
        self.parents: list[Array] = []  # (N, K) for each step
        self.ids: list[Array] = []  # (N, K) for each step
        self.is_active = limits > 0  # whether a source can still get a better target
        # The best K results of each source, in descending order: the log probability, the length of the target, and
        # the rank that the hypothesis had after its last symbol.
        self.result_log_p = np.full((num_sources, beam), -np.inf)
        self.result_lengths = np.zeros((num_sources, beam), np.int64)
        self.result_ranks = np.zeros((num_sources, beam), np.int64)

    def run(self, logits: Array) -> list[list[Hypothesis]]:
        """Returns up to K targets of each source. logits (N K, V): the logits of the first symbol."""
        length = 0  # of the hypotheses
        first_streams = np.arange(len(self.limits))[:, None] * self.beam
        while self.is_active.any():
            if length:
                self.stepper.select_streams((first_streams + self.parents[-1]).ravel())
                logits = self.stepper.step(self.ids[-1].ravel())
            candidates = self._expand(logits)
            ends = candidates.ids == self.end
            # Only the best K candidates can end.
            self._add_results(candidates, ends & (np.arange(ends.shape[1]) < self.beam), length)
            kept = self._select(candidates, ends)
            self.log_p = kept.log_p
            self.parents.append(kept.parents)
            self.ids.append(kept.ids)
            length += 1
            unfinished = kept._replace(parents=np.broadcast_to(np.arange(self.beam), kept.parents.shape))
            self._add_results(unfinished, (self.limits == length)[:, None], length)
            # An unfinished hypothesis cannot overtake K better results: it is never more likely than its prefix.
            self.is_active &= (self.limits > length) & (self.result_log_p[:, -1] < self.log_p[:, 0])
        return self._results()

    def _expand(self, logits: Array) -> Candidates:
        """The best 2 K extensions of the hypotheses of each source. At most K of them end, so K others remain."""
        num_sources, beam = self.log_p.shape
        num_symbols = logits.shape[1]
        extended = self.log_p[:, :, None] + log_softmax(logits).reshape(num_sources, beam, num_symbols)
        log_p, best = largest(extended.reshape(num_sources, -1), 2 * beam)
        return Candidates(log_p, *np.divmod(best, num_symbols))

    def _select(self, candidates: Candidates, ends: Array) -> Candidates:
        """The best K candidates that do not end."""
        order = np.argsort(ends, axis=1, kind="stable")[:, : self.beam]  # those that end come last
        return candidates._replace(log_p=np.where(ends, -np.inf, candidates.log_p)).take(order)

    def _add_results(self, candidates: Candidates, chosen: Array, length: int) -> None:
        """Adds the chosen candidates (N, C) of active sources to the results. Their parents have the given length."""
        log_p = np.where(chosen & self.is_active[:, None], candidates.log_p, -np.inf)
        if not np.isfinite(log_p).any():
            return
        log_p = np.concatenate([self.result_log_p, log_p], axis=1)
        lengths = np.concatenate([self.result_lengths, np.full_like(candidates.parents, length)], axis=1)
        ranks = np.concatenate([self.result_ranks, candidates.parents], axis=1)
        order = np.argsort(-log_p, axis=1, kind="stable")[:, : self.beam]
        sources = np.arange(len(order))[:, None]
        self.result_log_p = log_p[sources, order]
        self.result_lengths = lengths[sources, order]
        self.result_ranks = ranks[sources, order]

    def _results(self) -> list[list[Hypothesis]]:
        """The targets of the results, from their last symbols to their first ones."""
        targets = np.zeros((*self.log_p.shape, int(self.result_lengths.max(initial=0))), np.uint32)
        ranks = self.result_ranks
        sources = np.arange(len(ranks))[:, None]
        for step in reversed(range(targets.shape[2])):
            has_step = step < self.result_lengths
            targets[:, :, step] = self.ids[step][sources, ranks]
            ranks = np.where(has_step, self.parents[step][sources, ranks], ranks)
        return [
            [
                (targets[n, k, : self.result_lengths[n, k]], float(log_p))
                for k, log_p in enumerate(self.result_log_p[n].tolist())
                if log_p > -np.inf
            ]
            for n in range(len(targets))
        ]


def largest(values: Array, number: int) -> tuple[Array, Array]:
    """The largest values of each row of (N, M), in descending order, and their indices. Both are (N, number).

    If there are fewer values than `number`, the rest are -inf, with any index.
    """
    rows = np.arange(len(values))[:, None]
    if MAX_REPEATS < number < values.shape[1]:
        best = np.argpartition(-values, number - 1, axis=1)[:, :number]
        best = best[rows, np.argsort(-values[rows, best], axis=1)]
        return values[rows, best], best
    # For few values, a search for one value at a time takes a seventh of the time of np.argpartition.
    remaining = values.copy()
    found = np.empty((len(values), number), values.dtype)
    best = np.empty((len(values), number), np.int64)
    for n in range(number):
        places = remaining.argmax(axis=1)
        best[:, n] = places
        found[:, n] = remaining[rows[:, 0], places]
        remaining[rows[:, 0], places] = -np.inf
    return found, best
