"""Batches of sequences of numbers: random segments for training, complete sequences for scoring.

T time steps, B segments or readers in a batch. For `places` see corpus/windows.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator

WARMUP = 1024  # steps that a reader reads before its part of a record, without scoring them


class SegmentStream:
    """Batches for training: B random segments of T steps, which start from the zero state."""

    def __init__(self, records: Records, batch_size: int, seq_length: int, seed: int) -> None:
        self.records = records
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.seed = seed
        self.lengths = records.lengths
        self.shares = self.lengths / max(1, self.lengths.sum())

    @property
    def epoch_steps(self) -> float:
        return max(1, len(self.records.x)) / (self.batch_size * self.seq_length)

    @property
    def symbols_per_step(self) -> float:
        return self.batch_size * self.seq_length

    def batch(self, step: int) -> Batch:
        rng = random_generator(self.seed, Purpose.ORDER, step)
        chosen = rng.choice(len(self.lengths), self.batch_size, p=self.shares)
        num_starts = np.maximum(0, self.lengths[chosen] - self.seq_length) + 1
        first = self.records.starts[chosen] + (rng.random(self.batch_size) * num_starts).astype(int)
        stop = self.records.starts[chosen + 1]
        return segments(self.records, _places(first, stop, self.seq_length), resets_at_start=True)


class Reader(NamedTuple):
    """A reader of a part of a record. All numbers are places."""

    first: int  # where it starts to read
    start: int  # where it starts to score
    stop: int


class SequencePass:
    """Batches for scoring. Groups of B readers read T steps at a time. Every scored step is scored once.

    The scored steps of a long record are divided among several readers. Each reads up to WARMUP steps before its part.
    Its state is then almost the same as if it had read the whole record before its part.
    """

    def __init__(self, records: Records, batch_size: int, seq_length: int) -> None:
        self.records = records
        self.batch_size = batch_size
        self.seq_length = seq_length
        readers = sorted(_divide(records, batch_size), key=lambda reader: reader.first - reader.stop)
        self.groups: list[Array] = []  # (B, 3), the readers of each group; empty streams are zeros
        self.schedule: list[tuple[int, int]] = []  # (group, first time step) of each batch
        for begin in range(0, len(readers), batch_size):
            group = np.zeros((batch_size, 3), np.int64)
            chosen = readers[begin : begin + batch_size]
            group[: len(chosen)] = chosen
            longest = int((group[:, 2] - group[:, 0]).max())
            self.schedule += [(len(self.groups), time) for time in range(0, longest, seq_length)]
            self.groups.append(group)

    @property
    def steps(self) -> int:
        return len(self.schedule)

    @property
    def predictions(self) -> int:
        return int(self.records.loss_mask.sum())

    def places(self, step: int) -> Array:
        """The places (T, B) of a batch."""
        group, time = self.schedule[step]
        first, _, stop = self.groups[group].T
        return _places(first + time, stop, self.seq_length)

    def batch(self, step: int) -> Batch:
        group, time = self.schedule[step]
        places = self.places(step)
        batch = segments(self.records, places, resets_at_start=time == 0)
        assert batch.loss_mask is not None
        batch.loss_mask[places < self.groups[group][:, 1]] = 0
        return batch


def _divide(records: Records, batch_size: int) -> list[Reader]:
    """Divides the scored steps of all records among about `batch_size` readers."""
    spans = []  # start of the record, first scored place, place after the last one
    for begin, end in zip(records.starts[:-1].tolist(), records.starts[1:].tolist(), strict=True):
        scored = np.flatnonzero(records.loss_mask[begin:end])
        if len(scored):
            spans.append((begin, begin + int(scored[0]), begin + int(scored[-1]) + 1))
    total = sum(stop - start for _, start, stop in spans)
    length = max(WARMUP, -(-total // batch_size))
    return [
        Reader(max(begin, first - WARMUP), first, min(first + length, stop))
        for begin, start, stop in spans
        for first in range(start, stop, length)
    ]


def segments(records: Records, places: Array, *, resets_at_start: bool) -> Batch:
    """Makes a batch of the steps at some places (T, B)."""
    is_step = places >= 0
    reset_mask = np.zeros((*places.shape, 1), bool)
    reset_mask[0] = resets_at_start
    return Batch(
        records.x[places],
        records.targets[places],
        loss_mask=(records.loss_mask[places] & is_step).astype(np.float32),
        reset_mask=reset_mask if resets_at_start else None,
    )


def _places(first: Array, stop: Array, seq_length: int) -> Array:
    """The places (T, B) from `first` (B,) on; -1 from `stop` (B,) on."""
    places = first + np.arange(seq_length)[:, None]
    return np.where(places < stop, places, -1)
