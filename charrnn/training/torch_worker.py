"""What one process of the second engine does of a training step (see torch_team.py), and the device it does it on."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from charrnn.config import TrainConfig
from charrnn.corpus.batch import Batch
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.optim import OPTIMIZERS, average, decay
from charrnn.nn.params import mark_matrices
from charrnn.training.process import of_torchrun
from charrnn.training.torch_network import Placed, TorchNetwork
from charrnn.training.worker import dropped, portion

MALLOC_KEEPS = 31 << 20  # bytes: what glibc allows at most, less its own
TIMED, WARMUP = 5, 2  # steps, to measure a device


class Share:
    """What one process does of a training step: its streams, and all parameters."""

    def __init__(self, architecture: Architecture, train: TrainConfig, dtype: str, rank: int, processes: int) -> None:
        assert train.batch_size and train.seq_length
        self.architecture, self.train = architecture, train
        self.processes, self.rows = processes, portion(train.batch_size, rank, processes)
        self.device = prepared_device(train)
        self.empty = torch.zeros(0, dtype=getattr(torch, dtype), device=self.device)  # what others are made like
        total, rule = architecture.parameters, OPTIMIZERS[train.optimizer]
        self.params, self.average = self.empty.new_zeros(total), self.empty.new_zeros(total)
        self.moments = self.empty.new_zeros(rule.moments, total)
        self.gradient_and_loss = self.empty.new_zeros(total + 1)  # in one vector, for one all-reduce
        self.grads = self.gradient_and_loss[:-1]
        self.state = self.zero_state()
        self.network = TorchNetwork(architecture, self.params, self.grads)
        self.averaged = TorchNetwork(architecture, self.average)
        self.is_matrix = mark_matrices(architecture.specs(), torch.empty_like(self.params))
        self.drawing: tuple[Any, ...] = (dtype,)  # of masks: on the CPU NumPy's
        if self.device.type != "cpu":
            self.drawing = self.empty.dtype, partial(draw_on_device, device=self.device)

    def zero_state(self) -> Tensor:
        return self.empty.new_zeros(self.architecture.state_shape(self.rows.stop - self.rows.start))

    def load(self, arrays: dict[str, Array]) -> None:
        """Writes over params, average, moments, or the state of all streams."""
        for name, array in arrays.items():
            its = array[:, :, self.rows] if name == "state" else array
            getattr(self, name).copy_(torch.tensor(its))

    def whole_state(self) -> Tensor:
        """The state of all streams."""
        whole = self.empty.new_zeros(self.architecture.state_shape(self.train.batch_size or 0))
        whole[:, :, self.rows] = self.state
        return self._summed(whole)

    def begin(self, step: int, batch: Batch) -> None:
        """Forward and backward; the loss of the whole batch and the square of its gradient's norm come to `numbers`. A
        GPU may still be at it when this returns."""
        self.step = step
        self.gradient_and_loss.zero_()
        loss, self.next_state = self.network.loss(self._placed(batch), self.state, *self._dropped(step))
        loss = loss / batch.scored
        loss.backward()
        self.gradient_and_loss[-1] = loss.detach()
        self._summed(self.gradient_and_loss)
        if self.train.clip_value:
            self.grads.clamp_(-self.train.clip_value, self.train.clip_value)
        self.numbers = torch.stack([self.gradient_and_loss[-1], self.grads @ self.grads])

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step, the average after it, and the next state."""
        if factor != 1:
            self.grads.mul_(factor)
        if self.train.weight_decay:
            decay(self.params, learning_rate * self.train.weight_decay, self.is_matrix)
        rule, number = OPTIMIZERS[self.train.optimizer], self.step + 1
        rule.update(self.params, self.grads, self.moments, number, learning_rate)
        average(self.average, self.params, number)
        self.state = self.next_state

    def validate(self, step: int, batch: Batch) -> Array:
        """The sums of the averaged parameters over all streams. Step 0 begins a pass."""
        if step == 0:
            self.pass_state = self.zero_state()
        with torch.no_grad():
            sums, self.pass_state = self.averaged.sums(self._placed(batch), self.pass_state)
        return self._summed(sums).cpu().double().numpy()  # type: ignore[no-any-return]

    def _placed(self, batch: Batch) -> Placed:
        """This process's streams of it, on its device."""
        return Placed.of(batch.streams(self.rows), self.device, self.empty.dtype)

    def _dropped(self, step: int) -> tuple[Tensor | None, list[Tensor]]:
        """What a step leaves out of this process's streams, and of each layer's W_hh."""
        masks, w_masks = dropped(self.architecture, self.train, step, *self.drawing)
        its_masks = None if masks is None else torch.as_tensor(masks[:, self.rows])
        return its_masks, [torch.as_tensor(mask) for mask in w_masks]

    def _summed(self, tensor: Tensor) -> Tensor:
        """Added up over the processes, in its place."""
        if self.processes > 1:
            with telling_of_death():
                distributed.all_reduce(tensor)
        return tensor


def draw_on_device(
    key: tuple[int, ...], shapes: Sequence[tuple[int, ...]], rate: float, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """As draw_masks of worker.py, but on a device: other bits of the same law. Millions of numbers a step, drawn by the
    processor, would keep a GPU waiting."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(device).manual_seed(seed)
    drawn = (torch.rand(shape, generator=generator, device=device) for shape in shapes)
    return [(random >= rate).to(dtype) / (1 - rate) for random in drawn]


@contextlib.contextmanager
def telling_of_death() -> Iterator[None]:
    """For what fails when another process has died. Raises WorkerError."""
    try:
        yield
    except RuntimeError:
        raise WorkerError("another process of torchrun died", "the run can go on with --resume") from None


@contextlib.contextmanager
def telling_of_memory(device: str) -> Iterator[None]:
    """Raises OutOfMemoryError for PyTorch's own errors."""
    try:
        yield
    except RuntimeError as error:  # that of a GPU has a class of its own, that of the CPU only a text
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory on --device {device}") from None


def prepared_device(train: TrainConfig) -> torch.device:
    """The device of this process, with PyTorch set up for it."""
    if train.device == "torch":
        if train.workers:
            torch.set_num_threads(max(1, train.workers // of_torchrun("LOCAL_WORLD_SIZE", 1)))
        # Once so much was freed, glibc keeps what is freed; else each step asks the system for new pages.
        torch.empty(MALLOC_KEEPS, dtype=torch.uint8)
        return torch.device("cpu")
    # The same bits every time, which a resume needs; where an operation has no such kernel PyTorch warns.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.filterwarnings("ignore", "RNN module weights are not part")  # cuDNN wants them in an order of its own
    torch.backends.fp32_precision = "tf32" if train.precision == "tf32" else "ieee"
    name = f"cuda:{of_torchrun('LOCAL_RANK', 0)}" if train.device == "cuda" else train.device
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


@cache
def measured_rate(architecture: Architecture, train: TrainConfig) -> float:
    """Characters a second in a few steps of training on the device, of whatever. Raises OutOfMemoryError."""
    assert train.batch_size and train.seq_length
    times = train.seq_length, train.batch_size

    def some(is_ids: bool, size: int) -> Array:
        return np.zeros(times, np.uint32) if is_ids else np.zeros((*times, size))

    x = some(architecture.input == "ids", architecture.input_size)
    targets = some(architecture.loss == "softmax", architecture.output_size)
    vectors = np.zeros((train.batch_size, architecture.features)) if architecture.features else None
    with telling_of_memory(train.device):
        share = Share(architecture, replace(train, dropout=0.0, recurrent_dropout=0.0), "float32", 0, 1)
        for step in range(WARMUP + TIMED):
            if step == WARMUP:
                began = time.perf_counter()
            share.begin(step, Batch(x, targets, features=vectors))
            share.update(0.0, 1.0)
            share.numbers.tolist()  # waits
    return TIMED * math.prod(times) / (time.perf_counter() - began)


def large_product(train: TrainConfig, size: int) -> Callable[[], object]:
    """Multiplies two matrices (size, size) on the device, and waits for it."""
    a = torch.ones(size, size, device=prepared_device(train))
    return lambda: (a @ a)[0, 0].item()
