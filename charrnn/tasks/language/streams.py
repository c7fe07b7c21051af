"""Streams: how a text is read in batches. A batch is a function of the step alone: the step is all a resume needs."""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.nn.arrays import Array

WARMUP = 256  # characters that a reader in the middle of a text reads before its own part, unscored
FRESH = 1024  # characters on average between two fresh starts of a reader, if so many batches begin at a start symbol
SELDOM = 0.1  # at most this share of the start symbols is one
STARTS = 6  # purpose of random numbers: a generator is keyed by (seed, purpose, step)


class TextStream:
    """B readers of one text, evenly spaced, T characters a step, round and round: for training.

    Each reader goes on where it was, so a state carried from step to step is that of the text before, except where the
    text begins anew; and now and then it reads a start symbol from the zero state, as a text that somebody begins. That
    comes at the beginning of a batch alone, where it costs nothing.
    """

    def __init__(
        self,
        ids: Array,
        batch_size: int,
        seq_length: int,
        record_end: int | None = None,
        start: int | None = None,
        seed: int = 0,
    ) -> None:
        """record_end: the id that ends a record; it is the first input of the next. start: the start symbol, if there
        are to be fresh starts; they are drawn from the seed."""
        self.ids, self.seq_length, self.record_end = ids, seq_length, record_end
        self.start, self.seed = start, seed
        self.pairs = len(ids) - 1  # of a character and the next
        self.starts = np.arange(batch_size) * self.pairs // batch_size
        if start is not None:
            of_all = min(SELDOM, len(ids) / (FRESH * max(1, int((ids == start).sum()))))
            self.chance = min(1.0, of_all * seq_length)  # of those at the beginning of a batch

    @property
    def epoch_steps(self) -> float:
        return self.pairs / (len(self.starts) * self.seq_length)

    def batch(self, step: int) -> Batch:
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        places = (self.starts + times) % self.pairs
        x = self.ids[places]
        keep = _goes_on(x, places, self.record_end)
        if self.start is not None:
            drawn = np.random.default_rng((self.seed, STARTS, step)).random(len(self.starts))
            keep[0] &= (x[0] != self.start) | (drawn >= self.chance)
        keep |= times == 0  # every state is zero as it is
        return Batch(x, self.ids[places + 1], keep=None if keep.all() else keep[:, :, None])


class TextPass:
    """B readers of one text, each of a part of it, that score every prediction once: for validation and scoring.

    A reader first reads the WARMUP characters before its part with weight 0, so that it meets the first of its own in
    (all but) the state that a single reader would carry there.
    """

    def __init__(self, ids: Array, batch_size: int, seq_length: int, record_end: int | None = None) -> None:
        self.ids, self.seq_length, self.record_end = ids, seq_length, record_end
        self.pairs = len(ids) - 1
        length = -(-self.pairs // batch_size)
        self.starts = np.arange(batch_size) * length
        self.stops = np.minimum(self.starts + length, self.pairs)
        self.warmup = min(WARMUP, int(self.starts[-1]))
        self.steps = -(-(self.warmup + length) // seq_length)

    @property
    def predictions(self) -> int:
        return self.pairs

    def places(self, step: int) -> Array:
        """Which prediction each reader makes at each time (T, B): -1 where it makes none that counts."""
        places = self._read(step)
        return np.where((places >= self.starts) & (places < self.stops), places, -1)

    def batch(self, step: int) -> Batch:
        places = self._read(step)
        inside = places.clip(0, self.pairs - 1)
        x = self.ids[inside]
        keep = _goes_on(x, places, self.record_end)
        weights = (self.places(step) >= 0).astype(np.float32)
        return Batch(
            x,
            self.ids[inside + 1],
            weights=None if weights.all() else weights,
            keep=None if keep.all() else keep[:, :, None],
        )

    def _read(self, step: int) -> Array:
        """The places that are read, (T, B); some lie before the text or after a reader's part."""
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        return self.starts - self.warmup + times


def _goes_on(x: Array, places: Array, record_end: int | None) -> Array:
    """The rule for where a state starts anew, (T, B) false there: where the text begins, and after a record's end."""
    goes_on: Array = places > 0
    if record_end is not None:
        goes_on &= x != record_end
    return goes_on
