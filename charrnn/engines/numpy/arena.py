"""The memory that the processes of a run share: every array of a training step, in one block."""

from __future__ import annotations

import math
import mmap

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import CACHE_LINE, Array
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.options import TrainingOptions


class Arena:
    """The shared arrays, laid out one after the other in one buffer."""

    def __init__(
        self, architecture: Architecture, train: TrainingOptions, dtype: str, buffer: mmap.mmap | None = None
    ) -> None:
        """Without a buffer only the size is computed."""
        assert train.batch_size and train.seq_length and train.workers
        self.size, self.buffer = 0, buffer
        total, times = architecture.parameters, (train.seq_length, train.batch_size)
        reads_ids, chooses = architecture.input == "ids", architecture.loss == "softmax"
        self.params = self._take((total,), dtype)
        self.average = self._take((total,), dtype)  # of the parameters over the last steps
        self.grads = [self._take((total,), dtype) for _ in range(train.workers)]
        self.moments = self._take((OPTIMIZERS[train.optimizer].moments, total), dtype)
        # Before and after the step, by turns.
        self.states = self._take((2, *architecture.state_shape(train.batch_size)), dtype)
        x_shape = times if reads_ids else (*times, architecture.input_size)
        self.x = self._take(x_shape, "uint32" if reads_ids else dtype)
        targets_shape = times if chooses else (*times, architecture.output_size)
        self.targets = self._take(targets_shape, "uint32" if chooses else dtype)
        self.features = self._take((train.batch_size, architecture.features), dtype)
        self.direct = self._take((*times, architecture.direct_at_once), "uint32")
        self.weights, self.keep = self._take(times, dtype), self._take((*times, 1), "bool")
        self.has_weights, self.has_keep = self._take((), "bool"), self._take((), "bool")
        self.scored = self._take((), "float64")  # the sum of the weights
        self.results = self._take((train.workers, architecture.sums), "float64")  # of a phase, from each worker
        self.step = self._take((), "int64")  # from 0
        self.learning_rate, self.clip_factor = self._take((), "float64"), self._take((), "float64")
        self.current = self._take((), "int64")  # which of `states` stands before the step

    def put(self, step: int, batch: Batch) -> None:
        """Makes it the batch that all work on."""
        self.step[...], self.scored[...] = step, batch.scored
        self.x[:], self.targets[:] = batch.x, batch.targets
        self.has_weights[...], self.has_keep[...] = batch.weights is not None, batch.keep is not None
        if batch.weights is not None:
            self.weights[:] = batch.weights
        if batch.keep is not None:
            self.keep[:] = batch.keep
        if batch.features is not None:
            self.features[:] = batch.features
        if batch.direct is not None:
            self.direct[:] = batch.direct

    def batch(self, rows: slice) -> Batch:
        """These streams of it."""
        whole = Batch(
            self.x,
            self.targets,
            self.weights if self.has_weights else None,
            self.keep if self.has_keep else None,
            self.features if self.features.size else None,
            self.direct if self.direct.size else None,
        )
        return whole.streams(rows)

    def _take(self, shape: tuple[int, ...], dtype: str) -> Array:
        start, kind = self.size, np.dtype(dtype)
        self.size += -(-math.prod(shape) * kind.itemsize // CACHE_LINE) * CACHE_LINE
        if self.buffer is None:
            return np.empty(0, kind)
        return np.frombuffer(self.buffer, kind, math.prod(shape), start).reshape(shape)
