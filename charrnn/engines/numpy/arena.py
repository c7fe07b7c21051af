"""The memory that all workers of a run share."""

from __future__ import annotations

import math
import mmap

import numpy as np

from charrnn.corpus.batch import Batch, Source
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import CACHE_LINE, Array
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.options import ResolvedTraining


class Arena:
    """All arrays of a training step, consecutive in one buffer. Each array starts at a cache line."""

    def __init__(
        self, architecture: Architecture, train: ResolvedTraining, dtype: str, buffer: mmap.mmap | None = None
    ) -> None:
        """Without a buffer, only the size of the buffer is computed, and the arrays are empty."""
        self.size = 0  # bytes
        self.buffer = buffer
        total = architecture.num_parameters
        times = (train.seq_length, train.batch_size)
        self.parameters = self._take((total,), dtype)
        self.average = self._take((total,), dtype)  # running average of the parameters
        self.grads = [self._take((total,), dtype) for _ in range(train.workers)]
        self.moments = self._take((OPTIMIZERS[train.optimizer].num_moments, total), dtype)
        # The state before the step is states[current], the state after it is states[1 - current].
        self.states = self._take((2, *architecture.state_shape(train.batch_size)), dtype)
        self.current = self._take((), "int64")
        self.x = self._take_steps(times, architecture.input == "ids", architecture.input_size, dtype)
        self.targets = self._take_steps(times, architecture.loss == "softmax", architecture.output_size, dtype)
        self.loss_mask = self._take(times, dtype)
        self.reset_mask = self._take((*times, 1), "bool")
        self.has_loss_mask = self._take((), "bool")
        self.has_reset_mask = self._take((), "bool")
        self.has_source = architecture.memory_width > 0
        source_times = (train.seq_length if self.has_source else 0, train.batch_size)
        self.source_x = self._take_steps(source_times, architecture.source == "ids", architecture.source_size, dtype)
        self.source_lengths = self._take((train.batch_size,), "int64")
        # The batches of records with sources have different numbers of steps, up to the lengths of the arrays.
        self.steps = self._take((), "int64")
        self.source_steps = self._take((), "int64")
        self.ngrams = self._take((*times, architecture.ngrams_per_step), "uint32")
        self.num_scored = self._take((), "float64")  # number of scored steps in the whole batch
        self.results = self._take((train.workers, architecture.num_sums), "float64")  # of each worker's last phase
        self.step = self._take((), "int64")  # counted from 0
        self.learning_rate = self._take((), "float64")
        self.clip_factor = self._take((), "float64")

    def put(self, step: int, batch: Batch) -> None:
        """Copies the batch of a step into the arena."""
        self.step[...] = step
        self.num_scored[...] = batch.num_scored
        steps = len(batch.x)
        self.steps[...] = steps
        self.x[:steps] = batch.x
        self.targets[:steps] = batch.targets
        self.has_loss_mask[...] = batch.loss_mask is not None
        self.has_reset_mask[...] = batch.reset_mask is not None
        if batch.loss_mask is not None:
            self.loss_mask[:steps] = batch.loss_mask
        if batch.reset_mask is not None:
            self.reset_mask[:steps] = batch.reset_mask
        if batch.ngrams is not None:
            self.ngrams[:steps] = batch.ngrams
        if batch.source is not None:
            self.source_steps[...] = len(batch.source.x)
            self.source_x[: len(batch.source.x)] = batch.source.x
            self.source_lengths[:] = batch.source.lengths

    def batch(self, rows: slice) -> Batch:
        """The batch of some streams, as views of the arena."""
        steps = int(self.steps)
        source = None
        if self.has_source:
            source = Source(self.source_x[: int(self.source_steps)], self.source_lengths)
        batch = Batch(
            x=self.x[:steps],
            targets=self.targets[:steps],
            loss_mask=self.loss_mask[:steps] if self.has_loss_mask else None,
            reset_mask=self.reset_mask[:steps] if self.has_reset_mask else None,
            ngrams=self.ngrams[:steps] if self.ngrams.size else None,
            source=source,
        )
        return batch.select_streams(rows)

    def _take_steps(self, times: tuple[int, int], is_ids: bool, width: int, dtype: str) -> Array:
        """Allocates the next array of the buffer: ids (T, B), or numbers (T, B, width)."""
        return self._take(times, "uint32") if is_ids else self._take((*times, width), dtype)

    def _take(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Allocates the next array of the buffer."""
        start = self.size
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        self.size += -(-num_bytes // CACHE_LINE) * CACHE_LINE  # rounded up to whole cache lines
        if self.buffer is None:
            return np.empty(0, dtype)
        return np.frombuffer(self.buffer, dtype, math.prod(shape), start).reshape(shape)
