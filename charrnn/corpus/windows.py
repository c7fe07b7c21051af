"""Windows: whole records packed end to end, dealt out anew in each epoch. No state crosses a record's end."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.nn.arrays import Array
from charrnn.tasks.tag.ngrams import Found

ORDER, DETAIL = 3, 7  # purposes of random numbers: a generator is keyed by (seed, purpose, epoch or step)
SIMPLER = 0.5  # of the steps in training are read in less detail, where there are levels


@dataclass(frozen=True, eq=False)
class Records:
    """R records, their steps end to end: N in all."""

    x: Array  # (N,) ids, or (N, D) numbers
    targets: Array  # (N,) ids, or (N, M) numbers
    weights: Array  # (N,) bool: whether the step is scored
    starts: Array  # (R + 1,): where each begins, and where the last ends
    features: Array | None = None  # (R, F): each record begins with such a vector, and has a window of its own
    levels: Array | None = None  # (K, N): x in ever more detail, the last x itself; training reads less at some steps
    lag: int = 0  # how many steps a target comes behind what it is of
    strings: Found | None = None  # those that stand around what a step's target is of

    @property
    def lengths(self) -> Array:
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1


class Windows:
    """Records packed into windows of T steps. One that is longer loses its beginning."""

    def __init__(self, records: Records, seq_length: int) -> None:
        self.records, self.seq_length = records, seq_length
        lengths = np.minimum(records.lengths, seq_length)
        alone = records.features is not None
        window, offset = (np.arange(len(lengths)), np.zeros(len(lengths), int)) if alone else pack(lengths, seq_length)
        self.number = int(window.max(initial=-1)) + 1
        # Which step of the records stands where, (W, T); -1 at a window's empty end.
        self.places = np.full((self.number, seq_length), -1, np.int32 if len(records.x) < 2**31 else np.int64)
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = np.repeat(offset, lengths) + inside
        self.places[np.repeat(window, lengths), at] = np.repeat(records.starts[1:] - lengths, lengths) + inside
        self.begins = np.zeros((self.number, seq_length), bool)
        self.begins[window, offset] = True
        self.weights = records.weights
        if records.lag and (cut := records.lengths > seq_length).any():
            self.weights = records.weights.copy()
            for stop in records.starts[1:][cut].tolist():  # targets of what was lost
                self.weights[stop - seq_length : min(stop, stop - seq_length + records.lag)] = False
        self.scored = int(self.weights[self.places[self.places >= 0]].sum())

    @property
    def shares(self) -> tuple[float, float]:
        """Of all steps, those that are scored and those that are empty."""
        size = max(1, self.places.size)
        return self.scored / size, float((self.places < 0).sum()) / size

    def batch(self, chosen: Array, level: Array | None = None) -> Batch:
        """These windows side by side; -1 is an empty one. level (T, B): in which detail each step is read."""
        places = np.where(chosen >= 0, self.places[chosen].T, -1)
        there, records = places >= 0, self.records
        keep = ~(self.begins[chosen].T & there)
        features = None if records.features is None else records.features[chosen]
        weights = (self.weights[places] & there).astype(np.float32)
        x = records.x[places] if level is None or records.levels is None else records.levels[level, places]
        direct = None if records.strings is None else records.strings.at(places)
        return Batch(x, records.targets[places], weights, keep[:, :, None], features, direct)


class WindowStream:
    """B windows a step, for training. Each epoch has an order of its own, drawn from (seed, epoch)."""

    def __init__(self, windows: Windows, batch_size: int, seed: int) -> None:
        self.windows, self.batch_size, self.seed = windows, batch_size, seed
        self.order: tuple[int, Array] | None = None

    @property
    def epoch_steps(self) -> float:
        return self.windows.number / self.batch_size

    def batch(self, step: int) -> Batch:
        places = step * self.batch_size + np.arange(self.batch_size)
        epochs, inside = np.divmod(places, self.windows.number)
        chosen = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            chosen[epochs == epoch] = self._order(epoch)[inside[epochs == epoch]]
        return self.windows.batch(chosen, self._detail(step))

    def _detail(self, step: int) -> Array | None:
        """In which detail each step is read (T, B)."""
        levels = self.windows.records.levels
        if levels is None:
            return None
        rng, shape = np.random.default_rng((self.seed, DETAIL, step)), (self.windows.seq_length, self.batch_size)
        return np.where(rng.random(shape) < SIMPLER, rng.integers(0, len(levels) - 1, shape), len(levels) - 1)

    def _order(self, epoch: int) -> Array:
        if self.order is None or self.order[0] != epoch:
            rng = np.random.default_rng((self.seed, ORDER, epoch))
            self.order = epoch, rng.permutation(self.windows.number)
        return self.order[1]


class WindowPass:
    """Every window once, for validation and scoring."""

    def __init__(self, windows: Windows, batch_size: int) -> None:
        self.windows, self.batch_size = windows, batch_size
        self.steps = -(-windows.number // batch_size)

    @property
    def predictions(self) -> int:
        return self.windows.scored

    def places(self, step: int) -> Array:
        """Which step of the records stands where in the batch (T, B); -1 for none."""
        chosen = self._chosen(step)
        return np.where(chosen >= 0, self.windows.places[chosen].T, -1)

    def batch(self, step: int) -> Batch:
        return self.windows.batch(self._chosen(step))

    def _chosen(self, step: int) -> Array:
        chosen = step * self.batch_size + np.arange(self.batch_size)
        return np.where(chosen < self.windows.number, chosen, -1)


def pack(lengths: Array, size: int) -> tuple[Array, Array]:
    """Which window each record goes to, and where it begins there: the fullest one with room, the longest record first
    (best fit, decreasing)."""
    window, offset = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    rooms: list[int] = []  # the sizes of room that there are, ascending
    of_room: dict[int, list[int]] = {}  # the windows with so much room
    number = 0
    for record in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[record])
        place = bisect.bisect_left(rooms, length)
        if place == len(rooms):
            room, chosen = size, number
            number += 1
        else:
            room = rooms[place]
            chosen = of_room[room].pop()
            if not of_room[room]:
                del rooms[place], of_room[room]
        window[record], offset[record] = chosen, size - room
        left = room - length
        if left:
            if left not in of_room:
                of_room[left] = []
                bisect.insort(rooms, left)
            of_room[left].append(chosen)
    return window, offset
