"""PyTorch devices: settings, random numbers, out-of-memory errors and CUDA graphs."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.engines.processes import torchrun_variable
from charrnn.errors import OutOfMemoryError
from charrnn.options import TrainingOptions

MALLOC_KEEPS = 31 << 20  # bytes, just below the largest threshold of glibc


def prepare_device(train: TrainingOptions) -> torch.device:
    """Sets PyTorch up for `train.device` and returns the device of this process."""
    if train.device == "torch":
        if train.workers:
            torch.set_num_threads(max(1, train.workers // torchrun_variable("LOCAL_WORLD_SIZE", 1)))
        # After one allocation of this size has been freed, glibc keeps freed memory. Otherwise each step would request
        # new pages from the system.
        torch.empty(MALLOC_KEEPS, dtype=torch.uint8)
        return torch.device("cpu")
    # A resume needs deterministic operations. PyTorch warns where an operation has no deterministic kernel.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # no uninitialised memory is read
    warnings.filterwarnings("ignore", "RNN module weights are not part")  # the weights are views of one flat vector
    precision = "tf32" if train.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.rnn.fp32_precision = precision
    device = torch.device(f"cuda:{torchrun_variable('LOCAL_RANK', 0)}" if train.device == "cuda" else train.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream())  # CUDA graphs cannot be captured on the default stream
    return device


def draw_masks_on_device(
    key: tuple[int, ...], shapes: Sequence[tuple[int, ...]], rate: float, dtype: str, device: torch.device
) -> list[Tensor]:
    """As `draw_masks` in engines/masks.py, but on a device, since drawing on the CPU would keep a GPU waiting.

    The masks have the same distribution, but other values.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(device).manual_seed(seed)
    drawn = (torch.rand(shape, generator=generator, device=device) for shape in shapes)
    return [(random >= rate).to(getattr(torch, dtype)) / (1 - rate) for random in drawn]


@contextlib.contextmanager
def raising_out_of_memory(device: str) -> Iterator[None]:
    """Turns PyTorch's out-of-memory errors into OutOfMemoryError."""
    try:
        yield
    except RuntimeError as error:  # GPUs have an error class of their own; the CPU's error differs only in its text
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory on --device {device}") from None


class Graph:
    """A function as a CUDA graph: captured at the first call, replayed at every call. Many small kernels are then
    launched as one.

    The function must do the same each time, on tensors of the same shapes. Numbers among its arguments become tensors.
    """

    def __init__(self, function: Callable[..., Any], *, warm_up: bool) -> None:
        """warm_up: whether the function is called once before the capture, so that libraries can initialise."""
        self.function = function
        self.warm_up = warm_up
        self.graph = torch.cuda.CUDAGraph()
        self.arguments: list[Tensor] = []  # the tensors that the captured graph reads

    def __call__(self, *arguments: Tensor | float) -> Any:
        if not self.arguments:
            if self.warm_up:
                self.function(*arguments)
            self.arguments = [_as_graph_input(argument) for argument in arguments]
            with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
                self.result = self.function(*self.arguments)
        for tensor, argument in zip(self.arguments, arguments, strict=True):
            if isinstance(argument, Tensor):
                tensor.copy_(argument)
            else:
                tensor.fill_(argument)
        self.graph.replay()
        return self.result


def _as_graph_input(argument: Tensor | float) -> Tensor:
    if isinstance(argument, Tensor):
        return argument.clone()
    return torch.tensor(argument, dtype=torch.float64, device="cuda")  # float64 holds a Python float exactly
