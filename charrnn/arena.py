"""The memory that the processes of a run share: every array of a training step, in one block."""

from __future__ import annotations

import dataclasses
import json
import math
import mmap
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.models.language import parameter_specs
from charrnn.nn.buffers import CACHE_LINE
from charrnn.nn.stack import state_shape
from charrnn.optim import OPTIMIZERS
from charrnn.params import count

Array = NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """What every worker must know to lay the memory out and to compute its share."""

    model: ModelConfig
    vocabulary_size: int
    workers: int
    batch_size: int
    seq_length: int
    optimizer: str
    clip_value: float
    weight_decay: float
    dtype: str
    val_length: int
    record_end: int | None
    seed: int

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**values | {"model": ModelConfig.from_dict(values["model"])})


class Arena:
    """The shared arrays, laid out one after the other in one buffer."""

    def __init__(self, plan: Plan, buffer: mmap.mmap | None = None) -> None:
        """Without a buffer only the size is computed."""
        self.size, self.buffer = 0, buffer
        specs = parameter_specs(plan.model, plan.vocabulary_size)
        total, model = count(specs), plan.model
        state = state_shape(model.cell, model.num_layers, plan.batch_size, model.hidden_size)
        batch = plan.seq_length, plan.batch_size
        self.params = self._take((total,), plan.dtype)
        self.average = self._take((total,), plan.dtype)  # of the parameters over the last steps
        self.grads = [self._take((total,), plan.dtype) for _ in range(plan.workers)]
        self.moments = self._take((OPTIMIZERS[plan.optimizer].moments, total), plan.dtype)
        self.states = self._take((2, *state), plan.dtype)  # before and after the step, by turns
        self.x, self.targets = self._take(batch, "uint32"), self._take(batch, "uint32")
        self.keep = self._take((*batch, 1), "bool")
        self.val = self._take((plan.val_length,), "uint32")
        self.results = self._take((plan.workers,), "float64")  # a phase's one number from each worker
        self.step = self._take((), "int64")  # from 0
        self.learning_rate, self.clip_factor = self._take((), "float64"), self._take((), "float64")
        self.current = self._take((), "int64")  # which of `states` stands before the step
        self.has_keep = self._take((), "bool")

    def _take(self, shape: tuple[int, ...], dtype: str) -> Array:
        start, kind = self.size, np.dtype(dtype)
        self.size += -(-math.prod(shape) * kind.itemsize // CACHE_LINE) * CACHE_LINE
        if self.buffer is None:
            return np.empty(0, kind)
        return np.frombuffer(self.buffer, kind, math.prod(shape), start).reshape(shape)
