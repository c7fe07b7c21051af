"""The loss of a text in nats per character, with the state carried through the text.

A text is read in sections, which bounds the memory. A section is divided among several readers, which are the streams
of a batch; each thread has some of the readers. A reader first reads the WARMUP characters before its part, and then
its part. Its state at the start of its part is afterwards compared with the final state of the reader before it. Where
the two differ, the part is read again from that final state, until the state is the same as in the first reading.
Therefore the result is that of one reader that reads the whole text, except for differences of the states within
TOLERANCE.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.engines.base import Backend
from charrnn.models.architecture import Architecture
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.system import available_cores
from charrnn.tasks.language.streams import NO_STARTS, WARMUP, TextParts

MAX_READERS = 64
READERS_PER_THREAD = 16  # at least
MIN_READER_LENGTH = 1024  # characters per reader; a shorter section has one reader
MAX_READER_LENGTH = 8192
SEQ_LENGTH = 64  # time steps per batch
BATCHES_PER_COMPARISON = 8  # batches between two comparisons of the states of a part that is read again
TOLERANCE = 1e-4  # two states are the same if each value v differs by at most this times max(1, |v|)

# Processes a batch, from a state that it overwrites with the final state. places: (T, B), see TextParts. Several
# threads call it at the same time, each with its own network.
Visit = Callable[[ScoringNetwork, Batch, Array, Array], None]


def text_metrics(nats: Iterable[Array]) -> dict[str, Any]:
    """Computes the metrics of `charrnn eval` for a text from the nats of its characters, given in parts."""
    total = 0.0
    chars = 0
    for part in nats:
        total += float(part.sum(dtype=np.float64))
        chars += len(part)
    loss = total / chars
    return {"chars": chars, "loss": loss, "bpc": bits(loss), "perplexity": math.exp(min(loss, 700))}


class TextScorer:
    """Reads the sections of a text in order. The state is carried from section to section.

    All sections but the last one must have `size` pairs of a character and the next one.
    """

    def __init__(
        self,
        backend: Backend,
        architecture: Architecture,
        parameters: Array,
        record_end: int | None = None,
        window: int | None = None,
        file_starts: Array = NO_STARTS,
    ) -> None:
        """record_end, file_starts: where the state is reset, see TextStream.
        window: if given, the state is also reset after every `window` characters.
        """
        self.backend = backend
        self.architecture = architecture
        self.parameters = parameters
        self.record_end = record_end
        self.window = window
        self.file_starts = file_starts
        self.threads = available_cores()
        self._network = functools.lru_cache(2 * self.threads)(self._new_network)
        self.state = self._network(1, 0).zero_state(1)  # at the start of the next section
        self.position = 0  # of the first pair of the next section in the text
        self.size = MAX_READERS * MAX_READER_LENGTH
        if window is not None:
            self.size = window * max(1, self.size // window)

    def section_starts(self, ids: Array) -> range:
        """The first pair of each section of a text."""
        return range(0, len(ids) - 1, self.size)

    def nats(self, ids: Array) -> Array:
        """The nats of each prediction ids[1:] of a section."""
        nats = np.empty(len(ids) - 1, self.parameters.dtype)

        def store_losses(network: ScoringNetwork, batch: Batch, state: Array, places: Array) -> None:
            losses = network.losses(batch, state)
            is_scored = places >= 0
            nats[places[is_scored]] = losses[is_scored]

        if self.window is None:
            self.read(ids, store_losses)
        else:
            self._read_windows(ids, self.window, store_losses)
        return nats

    def read(self, ids: Array, visit: Visit) -> tuple[TextParts, Array]:
        """Reads a section. `visit` is called again for those parts that are read again.

        Returns the parts of the readers and their states at the start, for `batches`.
        """
        pairs = len(ids) - 1
        readers = max(1, min(MAX_READERS, pairs // MIN_READER_LENGTH))
        # The parts are whole batches, so that each reader but the last one reads no further than the end of its part.
        length = -(-pairs // (readers * SEQ_LENGTH)) * SEQ_LENGTH
        starts = np.arange(0, pairs, length)
        parts = self._parts(ids, starts, np.minimum(starts + length, pairs))
        first_states = self._warm_up(parts)
        later_states = self._read_in_threads(parts, first_states, visit)
        while True:
            last_states = later_states[-1]
            expected = np.concatenate([self.state, last_states[:, :, :-1]], axis=2)
            wrong = np.flatnonzero(~_are_same(first_states, expected))
            if not len(wrong):
                break
            first_states[:, :, wrong] = expected[:, :, wrong]
            again = self._parts(ids, starts[wrong], parts.stops[wrong])
            for known, states in zip(later_states, self._states(again, expected[:, :, wrong], visit), strict=False):
                is_same = _are_same(known[:, :, wrong], states).all()
                known[:, :, wrong] = states
                if is_same:
                    break
        self.state = last_states[:, :, -1:].copy()
        self.position += pairs
        return parts, first_states

    def batches(
        self, parts: TextParts, states: Array, thread: int = 0
    ) -> Iterator[tuple[ScoringNetwork, Batch, Array, Array]]:
        """Yields the arguments of `Visit` for each batch of parts that begin with some states.

        thread: the number of the thread, which has its own network.
        """
        network = self._network(len(parts.starts), thread)
        states = states.copy()
        for step in range(parts.steps):
            yield network, parts.batch(step), states, parts.places(step)

    def _warm_up(self, parts: TextParts) -> Array:
        """The states of the readers at the start of their parts, after the warm-up."""
        readers = len(parts.starts)
        network = self._network(readers, 0)
        states = network.zero_state(readers)
        if readers > 1:
            before = self._parts(parts.ids, parts.starts, parts.starts, WARMUP)
            for step in range(before.steps):
                network.sums(before.batch(step), states)
        states[:, :, :1] = self.state
        return states

    def _read_in_threads(self, parts: TextParts, states: Array, visit: Visit) -> list[Array]:
        """The states that `_states` yields, with the readers divided among threads."""
        threads = max(1, min(self.threads, len(parts.starts) // READERS_PER_THREAD))

        def read(thread: int, readers: Array) -> list[Array]:
            group = self._parts(parts.ids, parts.starts[readers], parts.stops[readers])
            with np.errstate(over="ignore", invalid="ignore"):  # the caller checks that the losses are finite
                return list(self._states(group, states[:, :, readers], visit, thread))

        with ThreadPoolExecutor(threads) as pool:
            groups = pool.map(read, range(threads), np.array_split(np.arange(len(parts.starts)), threads))
        return [np.concatenate(group_states, axis=2) for group_states in zip(*groups, strict=True)]

    def _states(self, parts: TextParts, states: Array, visit: Visit, thread: int = 0) -> Iterator[Array]:
        """Reads parts that begin with some states. Yields the states after every few batches, and at the end."""
        for number, (network, batch, state, places) in enumerate(self.batches(parts, states, thread), 1):
            visit(network, batch, state, places)
            if number % BATCHES_PER_COMPARISON == 0 or number == parts.steps:
                yield state.copy()

    def _read_windows(self, ids: Array, window: int, visit: Visit) -> None:
        """Reads a section in windows. The state is reset at the start of each window."""
        pairs = len(ids) - 1
        for first in range(0, pairs, MAX_READERS * window):
            starts = np.arange(first, min(first + MAX_READERS * window, pairs), window)
            parts = self._parts(ids, starts, np.minimum(starts + window, pairs))
            zero_states = self._network(len(starts), 0).zero_state(len(starts))
            self._read_in_threads(parts, zero_states, visit)
        self.position += pairs

    def _parts(self, ids: Array, starts: Array, stops: Array, warmup: int = 0) -> TextParts:
        """Parts of the next section."""
        first, last = np.searchsorted(self.file_starts, [self.position, self.position + len(ids) - 1])
        file_starts = self.file_starts[first:last] - self.position
        return TextParts(ids, starts, stops, SEQ_LENGTH, self.record_end, file_starts, warmup)

    def _new_network(self, streams: int, thread: int) -> ScoringNetwork:
        return self.backend.network(self.architecture, self.parameters, streams, SEQ_LENGTH)


def _are_same(first: Array, second: Array) -> Array:
    """Whether the states (L, num_states, B, H) of each stream are the same up to the tolerance (B,)."""
    differs = np.abs(first - second) > TOLERANCE * np.maximum(1, np.abs(second))
    is_same: Array = ~differs.any(axis=(0, 1, 3))
    return is_same
