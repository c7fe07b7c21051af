"""Sequences of numbers: segments of them for training, the whole of them, one after the other, for scoring."""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import ORDER, Records
from charrnn.nn.arrays import Array


class SegmentStream:
    """B segments of T steps a step, from places drawn anew from (seed, step): so that a short sequence shows itself in
    every phase. Each starts from the zero state."""

    def __init__(self, records: Records, batch_size: int, seq_length: int, seed: int) -> None:
        self.records, self.batch_size, self.seq_length, self.seed = records, batch_size, seq_length, seed

    @property
    def epoch_steps(self) -> float:
        return max(1, len(self.records.x)) / (self.batch_size * self.seq_length)

    def batch(self, step: int) -> Batch:
        rng, records = np.random.default_rng((self.seed, ORDER, step)), self.records
        lengths = records.lengths
        chosen = rng.choice(len(lengths), self.batch_size, p=lengths / lengths.sum())
        first = (rng.random(self.batch_size) * (np.maximum(0, lengths[chosen] - self.seq_length) + 1)).astype(int)
        return pieces(records, chosen, first, self.seq_length, begin=True)


class SequencePass:
    """Every sequence from its beginning to its end, B side by side, T steps a step, the state carried."""

    def __init__(self, records: Records, batch_size: int, seq_length: int) -> None:
        self.records, self.batch_size, self.seq_length = records, batch_size, seq_length
        groups = range(0, len(records), batch_size)
        longest = [records.lengths[start : start + batch_size].max(initial=0) for start in groups]
        self.of_step = [(g * batch_size, t) for g, size in enumerate(longest) for t in range(0, int(size), seq_length)]

    @property
    def steps(self) -> int:
        return len(self.of_step)

    @property
    def predictions(self) -> int:
        return int(self.records.weights.sum())

    def places(self, step: int) -> Array:
        """Which step of the records stands where (T, B); -1 for none."""
        start, t = self.of_step[step]
        return _places(self.records, start + np.arange(self.batch_size), np.full(self.batch_size, t), self.seq_length)

    def batch(self, step: int) -> Batch:
        start, t = self.of_step[step]
        chosen = start + np.arange(self.batch_size)
        return pieces(self.records, chosen, np.full(self.batch_size, t), self.seq_length, begin=t == 0)


def pieces(records: Records, chosen: Array, first: Array, seq_length: int, *, begin: bool) -> Batch:
    """T steps of the chosen records, from the step `first` of each on, with the state zero before it if they begin."""
    places = _places(records, chosen, first, seq_length)
    there = places >= 0
    keep = np.ones((*places.shape, 1), bool)
    keep[0] = not begin
    weights = (records.weights[places] & there).astype(np.float32)
    return Batch(records.x[places], records.targets[places], weights, None if keep.all() else keep)


def _places(records: Records, chosen: Array, first: Array, seq_length: int) -> Array:
    """(T, B), -1 behind a record's end and where there is no such record."""
    known = np.minimum(chosen, len(records) - 1)
    inside = first + np.arange(seq_length)[:, None]
    there = (inside < records.lengths[known]) & (chosen < len(records))
    return np.where(there, records.starts[known] + inside, -1)
