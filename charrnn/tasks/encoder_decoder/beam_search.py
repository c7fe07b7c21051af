"""Generates targets for many sources at a time, by beam search or by sampling.

N sources, K hypotheses per source (the beam), V symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.pairs import join_sources
from charrnn.engines.base import Backend, DecoderStepper
from charrnn.models.architecture import Architecture
from charrnn.models.beam_search import BeamSearch, Hypothesis
from charrnn.models.sampling import draw_texts
from charrnn.nn.arrays import Array
from charrnn.options import SamplingOptions
from charrnn.system import available_cores

MAX_STREAMS = 256  # hypotheses per group of sources
# A target has at most MIN_LIMIT + LIMIT_PER_SOURCE_STEP x S symbols for a source of S steps. This bounds the time for a
# network that never writes the end symbol.
MIN_LIMIT = 1000
LIMIT_PER_SOURCE_STEP = 20
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

        limit: the maximum length of a target. With beam 1, the search is greedy. A target is also limited by the length
        of its source.
        """

        def search_group(group: list[int]) -> list[list[Hypothesis]]:
            stepper = self._read_sources([sources[n] for n in group], beam)
            logits = stepper.step([self.end] * (len(group) * beam))
            limits = np.array([_limit(sources[n], limit) for n in group])
            return BeamSearch(stepper, limits, beam, self.end).run(logits)

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

        uniforms: for each source a function that returns a random number in [0, 1). prime: ids with which all targets
        begin; the results do not repeat them.
        """

        def draw_group(group: list[int]) -> list[tuple[list[int], list[float]]]:
            stepper = self._read_sources([sources[n] for n in group], 1)
            for i in [self.end, *prime.tolist()]:
                logits = stepper.step([i] * len(group))
            limits = [_limit(sources[n], limit) for n in group]
            drawn = draw_texts(stepper.step, logits, options, [uniforms[n] for n in group], self.end, max(limits))
            return [(ids[:limit], nats[:limit]) for (ids, nats), limit in zip(drawn, limits, strict=True)]

        return _map_groups(draw_group, sources, MAX_STREAMS)

    def _read_sources(self, sources: list[Array], beam: int) -> DecoderStepper:
        """A stepper that has read the sources, with `beam` streams for each of them."""
        source = join_sources(sources, len(sources))
        return self.backend.decoder(self.architecture, self.parameters, source, beam)


def _limit(source: Array, limit: int) -> int:
    """The maximum length of the target of a source."""
    return min(limit, MIN_LIMIT + LIMIT_PER_SOURCE_STEP * len(source))


def _map_groups(function: Callable[[list[int]], list[T]], sources: Sequence[Array], size: int) -> list[T]:
    """Calls a function for groups of up to `size` sources of similar length, in parallel. A group is a list of indices.
    Returns the results in the order of the sources."""
    order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    results: dict[int, T] = {}
    with threadpool_limits(1), ThreadPoolExecutor(available_cores()) as threads:
        for group, group_results in zip(groups, threads.map(function, groups), strict=True):
            results.update(zip(group, group_results, strict=True))
    return [results[n] for n in range(len(sources))]
