"""How a text is read in batches. A batch depends on its step alone, so a resume needs only the step.

T time steps, B readers (streams of the batch).
"""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator

WARMUP = 256  # characters that a reader reads without scoring them, before its part of the text
CHARACTERS_PER_RESTART = 1024  # mean number of characters between two restarts of the state in training
MAX_RESTART_FRACTION = 0.1  # of all occurrences of the start symbol, at most this fraction is a restart


class TextStream:
    """B readers of one text for training, evenly spaced, T characters per step, again and again.

    Each reader continues where it stopped, so the state carried from step to step is that of the text before. It is
    reset where the text starts again. Now and then it is also reset at a start symbol, so that the network learns how a
    text begins. Such restarts happen only at the first step of a batch, where they cost no time.
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
        """record_end: the id that ends a record and is the first input of the next record. start: the id of the start
        symbol if the state is to be restarted there; the restarts are drawn from the seed."""
        self.ids = ids
        self.seq_length = seq_length
        self.record_end = record_end
        self.start = start
        self.seed = seed
        self.pairs = len(ids) - 1  # a character and the next one
        self.starts = np.arange(batch_size) * self.pairs // batch_size
        if start is not None:
            start_symbols = max(1, int((ids == start).sum()))
            fraction = min(MAX_RESTART_FRACTION, len(ids) / (CHARACTERS_PER_RESTART * start_symbols))
            # Only start symbols at the first of the T steps can be restarts, so each of them must be one more often.
            self.restart_probability = min(1.0, fraction * seq_length)

    @property
    def epoch_steps(self) -> float:
        return self.pairs / (len(self.starts) * self.seq_length)

    def batch(self, step: int) -> Batch:
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        places = (self.starts + times) % self.pairs
        x = self.ids[places]
        resets = _resets(x, places, self.record_end)
        if self.start is not None:
            drawn = random_generator(self.seed, Purpose.RESTARTS, step).random(len(self.starts))
            resets[0] |= (x[0] == self.start) & (drawn < self.restart_probability)
        resets &= times > 0  # at the first step of a run all states are zero
        return Batch(x, self.ids[places + 1], reset_mask=resets[:, :, None] if resets.any() else None)


class TextPass:
    """B readers of one text that score every prediction once, for validation and scoring.

    Each reader has a part of the text. It first reads the WARMUP characters before its part with loss mask 0, so that its
    state at the first character of the part is nearly that of a single reader.
    """

    def __init__(self, ids: Array, batch_size: int, seq_length: int, record_end: int | None = None) -> None:
        self.ids = ids
        self.seq_length = seq_length
        self.record_end = record_end
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
        """Which prediction each reader makes at each time (T, B); -1 where the prediction is not scored."""
        places = self._read_places(step)
        return np.where((places >= self.starts) & (places < self.stops), places, -1)

    def batch(self, step: int) -> Batch:
        places = self._read_places(step)
        valid_places = places.clip(0, self.pairs - 1)
        x = self.ids[valid_places]
        resets = _resets(x, places, self.record_end)
        loss_mask = (self.places(step) >= 0).astype(np.float32)
        return Batch(
            x,
            self.ids[valid_places + 1],
            loss_mask=None if loss_mask.all() else loss_mask,
            reset_mask=resets[:, :, None] if resets.any() else None,
        )

    def _read_places(self, step: int) -> Array:
        """The places that are read (T, B). Some are before the text or after the reader's part."""
        times = step * self.seq_length + np.arange(self.seq_length)[:, None]
        return self.starts - self.warmup + times


def _resets(x: Array, places: Array, record_end: int | None) -> Array:
    """Where the state is reset (T, B): where the text begins, and after the end of a record."""
    resets: Array = places <= 0
    if record_end is not None:
        resets |= x == record_end
    return resets
