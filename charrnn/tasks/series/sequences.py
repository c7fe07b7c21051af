"""Batches of sequences of numbers: random segments for training, complete sequences for scoring.

T time steps, B sequences or segments in a batch. For `places` see corpus/windows.py.
"""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator


class SegmentStream:
    """Batches for training: B random segments of T steps, which start from the zero state."""

    def __init__(self, records: Records, batch_size: int, seq_length: int, seed: int) -> None:
        self.records = records
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.seed = seed

    @property
    def epoch_steps(self) -> float:
        return max(1, len(self.records.x)) / (self.batch_size * self.seq_length)

    @property
    def symbols_per_step(self) -> float:
        return self.batch_size * self.seq_length

    def batch(self, step: int) -> Batch:
        rng = random_generator(self.seed, Purpose.ORDER, step)
        lengths = self.records.lengths
        chosen = rng.choice(len(lengths), self.batch_size, p=lengths / lengths.sum())
        num_starts = np.maximum(0, lengths[chosen] - self.seq_length) + 1
        first = (rng.random(self.batch_size) * num_starts).astype(int)
        return segments(self.records, chosen, first, self.seq_length, resets_at_start=True)


class SequencePass:
    """Batches for scoring: all sequences, B at a time, T steps at a time. The state is carried from batch to batch."""

    def __init__(self, records: Records, batch_size: int, seq_length: int) -> None:
        self.records = records
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.schedule: list[tuple[int, int]] = []  # (first record, first time step) of each batch
        for first_record in range(0, len(records), batch_size):
            longest = int(records.lengths[first_record : first_record + batch_size].max(initial=0))
            self.schedule += [(first_record, time) for time in range(0, longest, seq_length)]

    @property
    def steps(self) -> int:
        return len(self.schedule)

    @property
    def predictions(self) -> int:
        return int(self.records.loss_mask.sum())

    def places(self, step: int) -> Array:
        """The places (T, B) of a batch."""
        chosen, first = self._segments(step)
        return _places(self.records, chosen, first, self.seq_length)

    def batch(self, step: int) -> Batch:
        chosen, first = self._segments(step)
        _, time = self.schedule[step]
        return segments(self.records, chosen, first, self.seq_length, resets_at_start=time == 0)

    def _segments(self, step: int) -> tuple[Array, Array]:
        first_record, time = self.schedule[step]
        return first_record + np.arange(self.batch_size), np.full(self.batch_size, time)


def segments(records: Records, chosen: Array, first: Array, seq_length: int, *, resets_at_start: bool) -> Batch:
    """Makes a batch of T steps of the chosen records (B,), starting at the time steps `first` (B,)."""
    places = _places(records, chosen, first, seq_length)
    is_step = places >= 0
    reset_mask = np.zeros((*places.shape, 1), bool)
    reset_mask[0] = resets_at_start
    return Batch(
        records.x[places],
        records.targets[places],
        loss_mask=(records.loss_mask[places] & is_step).astype(np.float32),
        reset_mask=reset_mask if resets_at_start else None,
    )


def _places(records: Records, chosen: Array, first: Array, seq_length: int) -> Array:
    """Returns the places (T, B) of a batch; -1 after the end of a record and for records that do not exist."""
    existing = np.minimum(chosen, len(records) - 1)
    times = first + np.arange(seq_length)[:, None]
    is_step = (times < records.lengths[existing]) & (chosen < len(records))
    return np.where(is_step, records.starts[existing] + times, -1)
