"""Batches of a text. B readers, which are the streams of a batch, read T time steps at a time.

A pair is a character and the next one, which it predicts. `places` are positions of pairs in the text.
"""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator

WARMUP = 256  # characters that a reader of a pass reads before its part of the text, without scoring them
CHARACTERS_PER_RESTART = 1024  # mean number of characters between two restarts in training
NO_STARTS = np.empty(0, np.int64)
MAX_RESTART_FRACTION = 0.1  # upper limit of the fraction of start symbols at which the state restarts


class TextStream:
    """Batches for training. The readers start at evenly spaced places and read the text repeatedly.

    Each reader continues at the place where it stopped in the last batch. The state is reset at the start of the text.
    It is also reset at some of the start symbols, so that the network learns how texts begin. These resets happen only
    at the first time step of a batch, where they take no extra time.
    """

    def __init__(
        self,
        ids: Array,
        batch_size: int,
        seq_length: int,
        record_end: int | None = None,
        start: int | None = None,
        seed: int = 0,
        file_starts: Array = NO_STARTS,
        start_symbols: int | None = None,
    ) -> None:
        """record_end: the id at the end of each record, which is also the first input of the next record.
        start: the id of the start symbol, if the state is also reset at some of the start symbols, chosen by the seed.
        start_symbols: the number of start symbols in `ids`. If it is None, they are counted.
        file_starts: places where the state is reset in addition to the start of the text, in ascending order.
        """
        self.ids = ids
        self.seq_length = seq_length
        self.record_end = record_end
        self.start = start
        self.seed = seed
        self.file_starts = np.append(0, file_starts)
        self.pairs = len(ids) - 1
        self.starts = np.arange(batch_size) * self.pairs // batch_size
        if start is not None:
            start_symbols = max(1, int((ids == start).sum()) if start_symbols is None else start_symbols)
            fraction = min(MAX_RESTART_FRACTION, len(ids) / (CHARACTERS_PER_RESTART * start_symbols))
            # Only about one in T start symbols is at the first time step of a batch, where resets are possible, so the
            # probability of a reset there is T times as high.
            self.restart_probability = min(1.0, fraction * seq_length)

    @property
    def epoch_steps(self) -> float:
        return self.pairs / (len(self.starts) * self.seq_length)

    @property
    def symbols_per_step(self) -> float:
        return len(self.starts) * self.seq_length

    def batch(self, step: int) -> Batch:
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        places = (self.starts + times) % self.pairs
        x = self.ids[places]
        resets = _resets(x, places, self.record_end, self.file_starts)
        if self.start is not None:
            drawn = random_generator(self.seed, Purpose.RESTARTS, step).random(len(self.starts))
            resets[0] |= (x[0] == self.start) & (drawn < self.restart_probability)
        resets &= times > 0  # at the first time step of a run the state is zero anyway
        return Batch(x, self.ids[places + 1], reset_mask=resets[:, :, None] if resets.any() else None)


class TextParts:
    """Batches in which each reader reads one part of a text. Every pair of the parts is scored once."""

    def __init__(
        self,
        ids: Array,
        starts: Array,
        stops: Array,
        seq_length: int,
        record_end: int | None = None,
        file_starts: Array = NO_STARTS,
        warmup: int = 0,
    ) -> None:
        """starts, stops: (B,), the first pair of each reader's part, and the pair after its last one.
        record_end, file_starts: where the state is reset, see TextStream. It is not reset at the start of the text.
        warmup: number of pairs that a reader reads before its part, without scoring them.
        """
        self.ids = ids
        self.starts = starts
        self.stops = stops
        self.seq_length = seq_length
        self.record_end = record_end
        self.file_starts = file_starts
        self.warmup = warmup
        self.pairs = len(ids) - 1
        self.steps = -(-(warmup + int((stops - starts).max())) // seq_length)

    def places(self, step: int) -> Array:
        """The places of the scored pairs (T, B); -1 where a pair is not scored."""
        places = self._read_places(step)
        return np.where((places >= self.starts) & (places < self.stops), places, -1)

    def batch(self, step: int) -> Batch:
        places = self._read_places(step)
        valid_places = places.clip(0, self.pairs - 1)
        x = self.ids[valid_places]
        resets = _resets(x, places, self.record_end, self.file_starts)
        loss_mask = (self.places(step) >= 0).astype(np.float32)
        return Batch(
            x,
            self.ids[valid_places + 1],
            loss_mask=None if loss_mask.all() else loss_mask,
            reset_mask=resets[:, :, None] if resets.any() else None,
        )

    def _read_places(self, step: int) -> Array:
        """The places of all pairs (T, B). Some are before the text or after the reader's part."""
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        return self.starts - self.warmup + times


class TextPass(TextParts):
    """Batches for the validation of a text, or of parts that are spread evenly over a long text.

    Each reader first reads the WARMUP characters before its part without scoring them. Its state is then almost the
    same as if it had read the whole text before its part. On trained networks, the mean loss differs by less than 1e-4.
    """

    def __init__(
        self,
        ids: Array,
        batch_size: int,
        seq_length: int,
        record_end: int | None = None,
        file_starts: Array = NO_STARTS,
        limit: int = 0,
    ) -> None:
        """limit: the largest number of scored pairs, approximately; 0 = all."""
        pairs = len(ids) - 1
        spacing = -(-pairs // batch_size)
        length = min(spacing, -(-limit // batch_size)) if limit else spacing
        starts = np.minimum(np.arange(batch_size) * spacing, pairs)
        stops = np.minimum(starts + length, pairs)
        warmup = min(WARMUP, int(starts[-1]))
        super().__init__(ids, starts, stops, seq_length, record_end, np.append(0, file_starts), warmup)

    @property
    def predictions(self) -> int:
        return int((self.stops - self.starts).sum())


def _resets(x: Array, places: Array, record_end: int | None, file_starts: Array) -> Array:
    """Where the state is reset (T, B): at the start of each file, and after each record."""
    resets: Array = np.isin(places, file_starts)
    if record_end is not None:
        resets |= x == record_end
    return resets
