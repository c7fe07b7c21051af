"""Generates targets for many sources at a time, by beam search or by sampling.

N sources, K hypotheses per source (the beam), V symbols.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.pairs import join_sources
from charrnn.engines.base import Backend, DecoderStepper
from charrnn.models.architecture import Architecture
from charrnn.models.sampling import draw_texts
from charrnn.nn.arrays import Array
from charrnn.nn.losses import log_softmax
from charrnn.options import SamplingOptions

MAX_STREAMS = 256  # hypotheses per group of sources
Hypothesis = tuple[Array, float]  # the ids of a target, without the end symbol, and its log probability
T = TypeVar("T")


class Decoder:
    """Generates targets for sources with a trained network. A target ends with the symbol `end`."""

    def __init__(self, backend: Backend, architecture: Architecture, parameters: Array, end: int) -> None:
        self.backend = backend
        self.architecture = architecture
        self.parameters = parameters
        self.end = end

    def search(self, sources: Sequence[Array], *, beam: int, limit: int) -> list[list[Hypothesis]]:
        """Finds up to `beam` targets of each source, in descending order of probability.

        limit: the maximum length of a target. With beam 1, the search is greedy.
        """

        def search_group(group: list[int]) -> list[list[Hypothesis]]:
            stepper = self._read_sources([sources[n] for n in group], beam)
            logits = stepper.step([self.end] * (len(group) * beam))
            return BeamSearch(stepper, len(group), beam, limit, self.end).run(logits)

        return _map_groups(search_group, sources, max(1, MAX_STREAMS // beam))

    def draw(
        self,
        sources: Sequence[Array],
        options: SamplingOptions,
        uniforms: Sequence[Callable[[], float]],
        *,
        limit: int,
        prime: Array,
    ) -> list[tuple[list[int], list[float]]]:
        """Samples a target for each source. Returns the ids of each target, without `end`, and the loss of each symbol.

        uniforms: a generator of random numbers in [0, 1) for each source. prime: ids with which all targets begin; the
        results do not repeat them.
        """

        def draw_group(group: list[int]) -> list[tuple[list[int], list[float]]]:
            stepper = self._read_sources([sources[n] for n in group], 1)
            for i in [self.end, *prime.tolist()]:
                logits = stepper.step([i] * len(group))
            return draw_texts(stepper.step, logits, options, [uniforms[n] for n in group], self.end, limit)

        return _map_groups(draw_group, sources, MAX_STREAMS)

    def _read_sources(self, sources: list[Array], beam: int) -> DecoderStepper:
        """A stepper that has read the sources, with `beam` streams for each of them."""
        source = join_sources(sources, len(sources))
        return self.backend.decoder(self.architecture, self.parameters, source, beam)


class Candidates(NamedTuple):
    """Hypotheses with one more symbol, the best first."""

    log_p: Array  # (N, C), log probabilities
    parents: Array  # (N, C), the hypotheses of the beam that they extend
    ids: Array  # (N, C), the symbols that they add


class BeamSearch:
    """A beam search for N sources.

    Each step extends the hypotheses by one symbol, removes the hypotheses that end, and keeps the best of the others.
    """

    def __init__(self, stepper: DecoderStepper, num_sources: int, beam: int, limit: int, end: int) -> None:
        self.stepper = stepper
        self.beam = beam
        self.limit = limit
        self.end = end
        self.log_p = np.full((num_sources, beam), -np.inf)
        self.log_p[:, 0] = 0  # at first all hypotheses of a source are the same, so only one counts
        self.targets = np.zeros((num_sources, beam, limit), np.uint32)
        self.ended: list[list[Hypothesis]] = [[] for _ in range(num_sources)]
        self.is_active = np.ones(num_sources, bool)  # whether a source can still get a better target

    def run(self, logits: Array) -> list[list[Hypothesis]]:
        """Returns up to K targets of each source. logits (N K, V): the logits of the first symbol."""
        for length in range(self.limit):
            candidates = self._expand(logits)
            self._retire(candidates, length)
            parents, ids = self._select(candidates)
            self._deactivate()
            if not self.is_active.any():
                break
            sources = np.arange(len(parents))[:, None]
            self.targets = self.targets[sources, parents]
            self.targets[:, :, length] = ids
            self.stepper.select_streams((sources * self.beam + parents).ravel())
            logits = self.stepper.step(ids.ravel())
        self._add_unfinished()
        return [hypotheses[: self.beam] for hypotheses in self.ended]

    def _expand(self, logits: Array) -> Candidates:
        """The best 2 K extensions of the hypotheses of each source. At most K of them end, so K others remain."""
        num_sources, beam = self.log_p.shape
        num_symbols = logits.shape[1]
        extended = self.log_p[:, :, None] + log_softmax(logits).reshape(num_sources, beam, num_symbols)
        extended = extended.reshape(num_sources, -1)
        number = min(2 * beam, extended.shape[1])
        best = np.argpartition(-extended, number - 1, axis=1)[:, :number]
        order = np.argsort(-np.take_along_axis(extended, best, axis=1), axis=1)
        best = np.take_along_axis(best, order, axis=1)
        parents, ids = np.divmod(best, num_symbols)
        return Candidates(np.take_along_axis(extended, best, axis=1), parents, ids)

    def _retire(self, candidates: Candidates, length: int) -> None:
        """Adds each of the best K candidates to the ended hypotheses if its last symbol is `end`."""
        ends = candidates.ids[:, : self.beam] == self.end
        for n, rank in zip(*np.nonzero(ends & self.is_active[:, None]), strict=True):
            log_p = float(candidates.log_p[n, rank])
            if np.isfinite(log_p):
                target = self.targets[n, candidates.parents[n, rank], :length].copy()
                self.ended[n].append((target, log_p))

    def _select(self, candidates: Candidates) -> tuple[Array, Array]:
        """The best K candidates that do not end: their parents and ids (N, K)."""
        ends = candidates.ids == self.end
        order = np.argsort(ends, axis=1, kind="stable")[:, : self.beam]  # those that end come last
        self.log_p = np.take_along_axis(np.where(ends, -np.inf, candidates.log_p), order, axis=1)
        parents = np.take_along_axis(candidates.parents, order, axis=1)
        return parents, np.take_along_axis(candidates.ids, order, axis=1)

    def _deactivate(self) -> None:
        """Stops the search of each source that has K finished hypotheses more likely than all unfinished ones.

        An unfinished hypothesis cannot overtake them, because a hypothesis is never more likely than its prefix.
        """
        for n in np.flatnonzero(self.is_active).tolist():
            self.ended[n].sort(key=lambda hypothesis: -hypothesis[1])
            is_full = len(self.ended[n]) >= self.beam
            self.is_active[n] = not is_full or self.ended[n][self.beam - 1][1] < self.log_p[n, 0]

    def _add_unfinished(self) -> None:
        """Appends the hypotheses that have reached the maximum length."""
        for n in np.flatnonzero(self.is_active).tolist():
            for rank in range(self.beam):
                if self.log_p[n, rank] > -np.inf:
                    self.ended[n].append((self.targets[n, rank], float(self.log_p[n, rank])))


def _map_groups(function: Callable[[list[int]], list[T]], sources: Sequence[Array], size: int) -> list[T]:
    """Calls a function for groups of up to `size` sources of similar length, in parallel. A group is a list of indices.
    Returns the results in the order of the sources."""
    order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    results: dict[int, T] = {}
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:
        for group, group_results in zip(groups, threads.map(function, groups), strict=True):
            results.update(zip(group, group_results, strict=True))
    return [results[n] for n in range(len(sources))]
