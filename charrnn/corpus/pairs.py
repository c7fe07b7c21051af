"""Records for an encoder and a decoder: pairs of a source and a target sequence, in batches of similar lengths.

R records, B streams, S source steps and T target steps of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.corpus.batch import Batch, Source, spread
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator

LENGTH_NOISE = 0.1  # target lengths are increased by up to this share before records are sorted by length


@dataclass(frozen=True, eq=False)
class SourceRecords:
    """R records. The decoder reads `end` and then the target; it predicts the target and then `end`."""

    sources: Sequence[Array]  # (S_r,) ids, or (S_r, D) numbers
    targets: Sequence[Array]  # (T_r,) ids, without `end`
    end: int

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def source_lengths(self) -> Array:
        return np.array([len(source) for source in self.sources], np.int64)

    @cached_property
    def target_lengths(self) -> Array:
        """The number of predicted symbols of each record: the target and `end`."""
        return np.array([len(target) + 1 for target in self.targets], np.int64)

    def batch(self, chosen: Sequence[int], batch_size: int) -> Batch:
        """A batch of the chosen records, with one record in each stream. The remaining streams are empty."""
        steps = max(len(self.targets[r]) + 1 for r in chosen)
        x = np.zeros((steps, batch_size), np.uint32)
        targets = np.zeros((steps, batch_size), np.uint32)
        loss_mask = np.zeros((steps, batch_size), np.float32)
        for stream, r in enumerate(chosen):
            target = self.targets[r]
            x[0, stream] = self.end
            x[1 : len(target) + 1, stream] = target
            targets[: len(target), stream] = target
            targets[len(target), stream] = self.end
            loss_mask[: len(target) + 1, stream] = 1
        source = join_sources([self.sources[r] for r in chosen], batch_size)
        return Batch(x, targets, loss_mask=loss_mask, source=source)


def join_sources(sources: Sequence[Array], batch_size: int) -> Source:
    """Joins sources into a batch, aligned at their ends. The remaining streams are empty."""
    lengths = np.zeros(batch_size, np.int64)
    lengths[: len(sources)] = [len(source) for source in sources]
    steps = max(1, int(lengths.max()))
    x = np.zeros((steps, batch_size, *sources[0].shape[1:]), sources[0].dtype)
    for stream, source in enumerate(sources):
        x[steps - len(source) :, stream] = source
    return Source(x, lengths)


class PairStream:
    """Training batches of B records of similar lengths. The records are shuffled in each epoch."""

    def __init__(self, records: SourceRecords, batch_size: int, seed: int) -> None:
        self.records = records
        self.batch_size = batch_size
        self.seed = seed
        self.num_batches = -(-len(records) // batch_size)
        self._last_batches: tuple[int, list[Array]] | None = None  # epoch, the records of each batch

    @property
    def epoch_steps(self) -> float:
        return self.num_batches

    @property
    def symbols_per_step(self) -> float:
        records = self.records
        return float(records.source_lengths.sum() + records.target_lengths.sum()) / self.num_batches

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.num_batches)
        return self.records.batch(self._order(epoch)[place].tolist(), self.batch_size)

    def _order(self, epoch: int) -> list[Array]:
        if self._last_batches is None or self._last_batches[0] != epoch:
            rng = random_generator(self.seed, Purpose.ORDER, epoch)
            shuffled = rng.permutation(len(self.records))
            # The noise varies the batches from epoch to epoch. The padding grows by a few per cent.
            noise = rng.uniform(1, 1 + LENGTH_NOISE, len(shuffled))
            batches = split_by_length(self.records, shuffled, self.batch_size, noise)
            self._last_batches = (epoch, [batches[n] for n in rng.permutation(len(batches)).tolist()])
        return self._last_batches[1]


class PairPass:
    """Reads every record once, or records that are spread evenly over all, for validation and scoring."""

    def __init__(self, records: SourceRecords, batch_size: int, limit: int = 0) -> None:
        """limit: the largest number of steps of all sources and targets that are read, approximately; 0 = all."""
        self.records = records
        self.batch_size = batch_size
        number = len(records)
        symbols = int(records.source_lengths.sum() + records.target_lengths.sum())
        if 0 < limit < symbols:
            number = max(1, number * limit // symbols)
        self.chosen = spread(number, len(records))
        self.batches = split_by_length(records, self.chosen, batch_size)

    @property
    def steps(self) -> int:
        return len(self.batches)

    @property
    def predictions(self) -> int:
        return int(self.records.target_lengths[self.chosen].sum())

    def batch(self, step: int) -> Batch:
        return self.records.batch(self.batches[step].tolist(), self.batch_size)


def split_by_length(records: SourceRecords, chosen: Array, batch_size: int, factors: Array | float = 1) -> list[Array]:
    """Sorts the chosen records by target length, then by source length, and splits them into batches.

    factors: multiply the target lengths of the chosen records. The products are rounded, so that records with about the
        same target length are sorted by source length.
    """
    target_lengths = np.rint(records.target_lengths[chosen] * factors)
    ordered = chosen[np.lexsort((records.source_lengths[chosen], target_lengths))]
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
