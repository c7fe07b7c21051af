"""Chooses a hidden size for a time budget, from the training speed of this machine, and a default dropout rate."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch, Source
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ResolvedTraining

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # hidden sizes to choose from
CHARS_PER_WEIGHT = 15  # training characters per recurrent weight; the best ratio in runs of 2, 5 and 30 minutes
EFFICIENCY = 0.45  # speed of training relative to a large matrix product; see `charrnn bench`
PRODUCT_SIZE = 1024  # rows and columns of the matrices that `product_rate` multiplies
PRODUCT_TIMINGS = 8
WARMUP_STEPS = 3  # training steps before the timed ones
TIMED_STEPS = 5


@functools.cache
def product_rate() -> float:
    """Floating-point operations per second of one core in a large float32 matrix product. The measurement takes 0.1 s.

    The fastest of several timings is used, because other programs can only slow down the product.
    """
    a = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
    product = np.empty_like(a)
    seconds = []
    with threadpool_limits(1):
        for _ in range(PRODUCT_TIMINGS):
            start = time.perf_counter()
            np.matmul(a, a, out=product)
            seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT_SIZE**3 / min(seconds)


def chars_per_second(architecture: Architecture, train: ResolvedTraining) -> float:
    """The training speed in characters per second. On a GPU, it is measured.

    On the CPU, it is estimated from the speed of a matrix product, assuming 6 floating-point operations per weight per
    character.
    """
    if train.device not in ("cpu", "torch"):
        return measured_rate(architecture, train)
    return train.workers * EFFICIENCY * product_rate() / (6 * architecture.weights_in_products)


@functools.cache
def measured_rate(architecture: Architecture, train: ResolvedTraining) -> float:
    """Characters per second, measured in a few training steps on a PyTorch device. Raises OutOfMemoryError."""
    from charrnn.engines.torch.engine import TorchEngine

    train = replace(train, dropout=0.0, recurrent_dropout=0.0)
    with TorchEngine(architecture, train, processes=1) as engine:
        engine.stream = ConstantStream(_blank_batch(architecture, train))
        for step in range(WARMUP_STEPS + TIMED_STEPS):
            if step == WARMUP_STEPS:
                start = time.perf_counter()
            engine.gradient(step)
            engine.update(0.0, 1.0)
    return TIMED_STEPS * train.seq_length * train.batch_size / (time.perf_counter() - start)


def _blank_batch(architecture: Architecture, train: ResolvedTraining) -> Batch:
    """A batch of zeros, with all arrays that the architecture needs."""
    times = (train.seq_length, train.batch_size)

    def zeros(is_ids: bool, width: int) -> Array:
        return np.zeros(times, np.uint32) if is_ids else np.zeros((*times, width))

    source = None
    if architecture.memory_width:
        x = zeros(architecture.source == "ids", architecture.source_size)
        source = Source(x, np.full(train.batch_size, len(x)))
    return Batch(
        zeros(architecture.input == "ids", architecture.input_size),
        zeros(architecture.loss == "softmax", architecture.output_size),
        ngrams=np.zeros((*times, architecture.ngrams_per_step), np.uint32) if architecture.ngram_size else None,
        source=source,
    )


@dataclass
class ConstantStream:
    """A stream with the same batch at every step."""

    constant: Batch
    epoch_steps = 1.0
    symbols_per_step = 1.0

    def batch(self, step: int) -> Batch:
        return self.constant


def affordable_size(architecture_of: Callable[[int], Architecture], train: ResolvedTraining, seconds: float) -> int:
    """The largest hidden size in SIZES for which the time allows CHARS_PER_WEIGHT characters per recurrent weight.

    Hoffmann et al. (2022) found a similar ratio of training data to weights for Transformers.
    architecture_of: returns the architecture with a hidden size. seconds: the time budget.
    """

    def chars_per_weight(size: int) -> float:
        architecture = architecture_of(size)
        return seconds * chars_per_second(architecture, train) / architecture.recurrent_weights

    return max((size for size in SIZES if chars_per_weight(size) >= CHARS_PER_WEIGHT), default=SIZES[0])


def default_dropout(weights: int, characters: int, epochs: float) -> float:
    """The default dropout rate. It rises with the number of weights per training character and with the number of
    epochs, because a network then memorises more of the text.

    The formula fits the best rates in runs on two cores with a text of a million characters: 0.13 for 256 units and 2
    minutes, 0.2 for 384 units and 5 minutes, 0.4 for 512 units and 30 minutes. It was also tested on texts of 0.2 and 3
    million characters.
    """
    return round(min(0.4, 0.12 * math.sqrt(weights / characters) * math.cbrt(epochs)), 2)
