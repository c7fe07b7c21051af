"""What a machine can learn in a given time: an estimate, from which the size of a model is chosen."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import TrainingOptions

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # of a hidden layer
CHARS_PER_WEIGHT = 15  # the largest model that is trained on so many: measured at 2, 5 and 30 minutes
EFFICIENCY = 0.45  # of the rate of a large product, in training: what `charrnn bench` shows for one layer of 256 to 512
PRODUCT_SIZE = 1024
TRIED, WARMUP = 5, 3  # steps, on a device of PyTorch's


@functools.cache
def product_rate() -> float:
    """Floating-point operations a second of one core in a large float32 product, measured once; some 0.1 s. The best of
    several timings: what else the machine does in that moment says nothing of the minutes to come."""
    a = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
    product, seconds = np.empty_like(a), []
    with threadpool_limits(1):
        for _ in range(8):
            start = time.perf_counter()
            np.matmul(a, a, out=product)
            seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT_SIZE**3 / min(seconds)


def chars_per_second(architecture: Architecture, train: TrainingOptions) -> float:
    """In training: on the CPU an estimate, from 6 operations a character for each weight in a product; of a device of
    another kind only trying it tells."""
    if train.device not in ("cpu", "torch"):
        return tried_rate(architecture, train)
    assert train.workers
    return train.workers * EFFICIENCY * product_rate() / (6 * architecture.weights_in_products)


@functools.cache
def tried_rate(architecture: Architecture, train: TrainingOptions) -> float:
    """Characters a second in a few steps of training on a device of PyTorch's, of whatever. Raises OutOfMemoryError."""
    from charrnn.engines.torch.team import TorchTeam

    assert train.batch_size and train.seq_length
    times = train.seq_length, train.batch_size

    def some(is_ids: bool, size: int) -> Array:
        return np.zeros(times, np.uint32) if is_ids else np.zeros((*times, size))

    x = some(architecture.input == "ids", architecture.input_size)
    targets = some(architecture.loss == "softmax", architecture.output_size)
    vectors = np.zeros((train.batch_size, architecture.features)) if architecture.features else None
    with TorchTeam(architecture, dataclasses.replace(train, dropout=0.0, recurrent_dropout=0.0), processes=1) as team:
        team.stream = Same(Batch(x, targets, features=vectors))
        for step in range(WARMUP + TRIED):
            if step == WARMUP:
                began = time.perf_counter()
            team.gradient(step)
            team.update(0.0, 1.0)
    return TRIED * math.prod(times) / (time.perf_counter() - began)


@dataclass
class Same:
    """A stream of the same batch for ever."""

    same: Batch
    epoch_steps = 1.0

    def batch(self, step: int) -> Batch:
        return self.same


def affordable_size(of_size: Callable[[int], Architecture], train: TrainingOptions, seconds: float) -> int:
    """The hidden size on which so much time is well spent: the largest of SIZES that can be trained on at least
    CHARS_PER_WEIGHT characters for each weight of its recurrent layers (such a balance of size and training is what
    Hoffmann et al. 2022 found for Transformers). of_size: a hidden size -> the network."""

    def chars_per_weight(size: int) -> float:
        architecture = of_size(size)
        return seconds * chars_per_second(architecture, train) / architecture.recurrent_weights

    return max((size for size in SIZES if chars_per_weight(size) >= CHARS_PER_WEIGHT), default=SIZES[0])
