"""What one process of the second engine does of a training step (see torch_team.py), and the device it does it on."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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


class Share:
    """What one process does of a training step: its streams, and all parameters."""

    def __init__(self, architecture: Architecture, train: TrainConfig, dtype: str, rank: int, processes: int) -> None:
        assert train.batch_size and train.seq_length
        self.architecture, self.train = architecture, train
        self.processes, self.rows = processes, portion(train.batch_size, rank, processes)
        self.device = prepared_device(train)
        self.empty = torch.zeros(0, dtype=getattr(torch, dtype), device=self.device)  # what others are made like
        total = architecture.parameters
        self.params, self.average = self.empty.new_zeros(total), self.empty.new_zeros(total)
        self.moments = self.empty.new_zeros(OPTIMIZERS[train.optimizer].moments, total)
        self.gradient_and_loss = self.empty.new_zeros(total + 1)  # in one vector, for one all-reduce
        self.grads = self.gradient_and_loss[:-1]
        self.state = self.zero_state()
        self.network = TorchNetwork(architecture, self.params, self.grads)
        self.averaged = TorchNetwork(architecture, self.average)
        self.is_matrix = mark_matrices(architecture.specs(), torch.empty_like(self.params))
        on_gpu = self.device.type == "cuda"
        self.learn_whole, self.optimize = (
            Graph(each) if on_gpu else each for each in (self._learn_whole, self._optimize)
        )
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

    def place(self, step: int, batch: Batch) -> None:
        """Puts what the next step needs on the device, which may still be at the step before."""
        masks, w_masks = dropped(self.architecture, self.train, step, *self.drawing)
        self.masks = [] if masks is None else [torch.as_tensor(masks[:, self.rows])]
        self.masks += map(torch.as_tensor, w_masks)
        self.next, self.batch, self.scored = step, self._placed(batch), batch.scored

    def begin(self) -> None:
        """Forward and backward; the loss of the whole batch and the square of its gradient's norm come to `numbers`. A
        GPU may still be at it when this returns."""
        self.step, batch = self.next, self.batch
        if batch.is_whole:
            self.next_state = self.learn_whole(batch.x, batch.targets, self.state, *self.masks)
        else:
            self.next_state = self._learn(batch, self.state, self.masks)
        self._summed(self.gradient_and_loss)
        if self.train.clip_value:
            self.grads.clamp_(-self.train.clip_value, self.train.clip_value)
        self.numbers = torch.stack([self.gradient_and_loss[-1], self.grads @ self.grads])

    def _learn_whole(self, x: Tensor, targets: Tensor, state: Tensor, *masks: Tensor) -> Tensor:
        return self._learn(Placed(x, targets), state, masks)

    def _learn(self, batch: Placed, state: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """This process's part of loss and gradient; the state after it. masks: of the outputs, if they have any, and of
        each layer's W_hh."""
        of_outputs, of_weights = (masks[0], masks[1:]) if self.train.dropout else (None, masks)
        self.gradient_and_loss.zero_()
        loss, state = self.network.loss(batch, state, of_outputs, of_weights)
        loss = loss / self.scored
        loss.backward()
        self.gradient_and_loss[-1] = loss.detach()
        return state

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step, the average after it, and the next state."""
        self.optimize(learning_rate, factor, self.step + 1)
        self.state = self.next_state

    def _optimize(self, learning_rate: float, factor: float, number: int) -> None:
        self.grads.mul_(factor)
        if self.train.weight_decay:
            decay(self.params, learning_rate * self.train.weight_decay, self.is_matrix)
        rule = OPTIMIZERS[self.train.optimizer]
        rule.update(self.params, self.grads, self.moments, number, learning_rate)
        average(self.average, self.params, number)

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

    def _summed(self, tensor: Tensor) -> Tensor:
        """Added up over the processes, in its place."""
        if self.processes > 1:
            with telling_of_death():
                distributed.all_reduce(tensor)
        return tensor


class Graph:
    """Work on a GPU that is done once, recorded the next time, and played from then on: its many small kernels start as
    one. It must be the same work each time, on tensors of the same shapes and on numbers that only tensors meet.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.is_warm, self.graph = work, False, torch.cuda.CUDAGraph()
        self.arguments: list[Tensor] = []  # where the recorded work reads them

    def __call__(self, *arguments: Tensor | float) -> Any:
        if not self.is_warm:  # libraries set themselves up, and must not be recorded at it
            self.is_warm = True
            return self.work(*arguments)
        if not self.arguments:
            self.arguments = [self._copied(argument) for argument in arguments]
            with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
                self.result = self.work(*self.arguments)
        for mine, new in zip(self.arguments, arguments, strict=True):
            mine.copy_(new) if isinstance(new, Tensor) else mine.fill_(new)
        self.graph.replay()
        return self.result

    @staticmethod
    def _copied(argument: Tensor | float) -> Tensor:
        if isinstance(argument, Tensor):
            return argument.clone()
        return torch.tensor(argument, dtype=torch.float64, device="cuda")  # as exact as the number


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
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads any
    warnings.filterwarnings("ignore", "RNN module weights are not part")  # cuDNN wants them in an order of its own
    precision = "tf32" if train.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = precision
    name = f"cuda:{of_torchrun('LOCAL_RANK', 0)}" if train.device == "cuda" else train.device
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream())  # the default one cannot be recorded
    return device
