"""Windows: whole records packed into sequences of T steps. The state is reset at the start of each record.

R records with N steps in total, W windows, B windows in a batch. For each step of a window or batch, an array `places`
contains the index of a step of the records (0 ... N - 1), or -1 if the step is empty.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charrnn.corpus.batch import Batch, spread
from charrnn.nn.arrays import Array
from charrnn.seeding import Purpose, random_generator

# A function with which a task changes a batch: batch, places (T, B), generator (None when scoring) -> batch.
Augment = Callable[[Batch, Array, np.random.Generator | None], Batch]


@dataclass(frozen=True, eq=False)
class Records:
    """R records. The arrays hold the steps of all records, concatenated."""

    x: Array  # (N,) ids, or (N, D) numbers
    targets: Array  # (N,) ids, or (N, M) numbers
    loss_mask: Array  # (N,) bool, whether the step is scored
    starts: Array  # (R + 1,), the first step of each record, followed by N
    target_delay: int = 0  # steps between a character and the step that predicts its target
    augment: Augment | None = None

    @property
    def lengths(self) -> Array:
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1


class Windows:
    """Records packed into windows of T steps. Only the last T steps of a longer record are used."""

    def __init__(self, records: Records, seq_length: int) -> None:
        self.records = records
        self.seq_length = seq_length
        lengths = np.minimum(records.lengths, seq_length)
        window, offset = pack(lengths, seq_length)
        self.number = int(window.max(initial=-1)) + 1
        self.places = _places(records, lengths, window, offset, (self.number, seq_length))
        self.starts_record = np.zeros((self.number, seq_length), bool)
        self.starts_record[window, offset] = True
        self.loss_mask = _mask_lost_targets(records, seq_length)
        self.num_scored = int(self.loss_mask[self.places[self.places >= 0]].sum())

    @property
    def scored_fraction(self) -> float:
        """The fraction of all steps that are scored."""
        return self.num_scored / max(1, self.places.size)

    @property
    def empty_fraction(self) -> float:
        """The fraction of all steps that are empty."""
        return float((self.places < 0).sum()) / max(1, self.places.size)

    def batch(self, chosen: Array, rng: np.random.Generator | None = None) -> Batch:
        """The batch of the chosen windows (B,), where -1 is an empty window. rng: for `Augment`, None when scoring."""
        places = self.batch_places(chosen)
        is_step = places >= 0
        records = self.records
        batch = Batch(
            x=records.x[places],
            targets=records.targets[places],
            loss_mask=(self.loss_mask[places] & is_step).astype(np.float32),
            reset_mask=(self.starts_record[chosen].T & is_step)[:, :, None],
        )
        return batch if records.augment is None else records.augment(batch, places, rng)

    def batch_places(self, chosen: Array) -> Array:
        """The places (T, B) of the chosen windows."""
        return np.where(chosen >= 0, self.places[chosen].T, -1)


class WindowStream:
    """Training batches of B windows. The windows are shuffled in each epoch."""

    def __init__(self, windows: Windows, batch_size: int, seed: int) -> None:
        self.windows = windows
        self.batch_size = batch_size
        self.seed = seed
        self._last_order: tuple[int, Array] | None = None  # epoch, order

    @property
    def epoch_steps(self) -> float:
        return self.windows.number / self.batch_size

    @property
    def symbols_per_step(self) -> float:
        return self.batch_size * self.windows.seq_length

    def batch(self, step: int) -> Batch:
        counts = step * self.batch_size + np.arange(self.batch_size)  # the windows, counted from 0 over all epochs
        epochs, ranks = np.divmod(counts, self.windows.number)
        chosen = np.empty_like(counts)
        for epoch in np.unique(epochs).tolist():
            in_epoch = epochs == epoch
            chosen[in_epoch] = self._order(epoch)[ranks[in_epoch]]
        rng = random_generator(self.seed, Purpose.AUGMENT, step) if self.windows.records.augment else None
        return self.windows.batch(chosen, rng)

    def _order(self, epoch: int) -> Array:
        if self._last_order is None or self._last_order[0] != epoch:
            rng = random_generator(self.seed, Purpose.ORDER, epoch)
            self._last_order = (epoch, rng.permutation(self.windows.number))
        return self._last_order[1]


class WindowPass:
    """Reads every window once, or windows that are spread evenly over all, for validation and scoring."""

    def __init__(self, windows: Windows, batch_size: int, limit: int = 0) -> None:
        """limit: the number of steps to read, rounded up to whole windows; 0 = all windows."""
        self.windows = windows
        self.batch_size = batch_size
        number = min(windows.number, -(-limit // windows.seq_length)) if limit else windows.number
        self.numbers = spread(number, windows.number)
        self.steps = -(-number // batch_size)

    @property
    def predictions(self) -> int:
        places = self.windows.places[self.numbers]
        return int(self.windows.loss_mask[places[places >= 0]].sum())

    def places(self, step: int) -> Array:
        """The places (T, B) of a batch."""
        return self.windows.batch_places(self._chosen(step))

    def batch(self, step: int) -> Batch:
        return self.windows.batch(self._chosen(step))

    def _chosen(self, step: int) -> Array:
        chosen = np.full(self.batch_size, -1)
        numbers = self.numbers[step * self.batch_size :][: self.batch_size]
        chosen[: len(numbers)] = numbers
        return chosen


def pack(lengths: Array, size: int) -> tuple[Array, Array]:
    """Assigns records to windows of `size` steps (best fit decreasing). Returns the windows (R,) and offsets (R,).

    The longest record is assigned first. A record goes to the fullest window that has space for it, or to a new window.

    >>> pack(np.array([2, 5, 3]), 5)  # record 1 fills window 0; records 2 and 0 share window 1
    (array([1, 0, 1]), array([3, 0, 0]))
    """
    window = np.empty(len(lengths), np.int64)
    offset = np.empty(len(lengths), np.int64)
    free_sizes: list[int] = []  # distinct numbers of free steps, ascending
    windows_with: dict[int, list[int]] = {}  # number of free steps -> windows
    number = 0
    for record in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[record])
        place = bisect.bisect_left(free_sizes, length)
        if place == len(free_sizes):
            free = size
            chosen = number
            number += 1
        else:
            free = free_sizes[place]
            chosen = windows_with[free].pop()
            if not windows_with[free]:
                del free_sizes[place]
                del windows_with[free]
        window[record] = chosen
        offset[record] = size - free
        rest = free - length
        if rest:
            if rest not in windows_with:
                windows_with[rest] = []
                bisect.insort(free_sizes, rest)
            windows_with[rest].append(chosen)
    return window, offset


def _places(records: Records, lengths: Array, window: Array, offset: Array, shape: tuple[int, int]) -> Array:
    """The places (W, T) of all windows. The last lengths[r] steps of record r start at offset[r] of window[r]."""
    places = np.full(shape, -1, np.int32 if len(records.x) < 2**31 else np.int64)
    first_steps = records.starts[1:] - lengths
    # Counts the steps of each record from 0. For lengths 2 and 3 it is [0, 1, 0, 1, 2].
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places[np.repeat(window, lengths), np.repeat(offset, lengths) + within] = np.repeat(first_steps, lengths) + within
    return places


def _mask_lost_targets(records: Records, seq_length: int) -> Array:
    """The loss mask (N,) of the records, without targets whose characters are not in a window.

    A target follows its character after `target_delay` steps. If a record is cut to its last T steps, the characters of
    its first targets are cut off.
    """
    shortened = records.lengths > seq_length
    if not records.target_delay or not shortened.any():
        return records.loss_mask
    mask = records.loss_mask.copy()
    for stop in records.starts[1:][shortened].tolist():
        start = stop - seq_length
        mask[start : min(stop, start + records.target_delay)] = False
    return mask
