"""PyTorch devices: settings, dropout masks, out-of-memory errors and CUDA graphs."""

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

LARGE_ALLOCATION = 31 << 20  # bytes; just below the upper limit of glibc's mmap threshold (mallopt, M_MMAP_THRESHOLD)


def prepare_device(train: TrainingOptions) -> torch.device:
    """Sets PyTorch up for `train.device` and returns the device of this process."""
    if train.device == "torch":
        if train.workers:
            torch.set_num_threads(max(1, train.workers // torchrun_variable("LOCAL_WORLD_SIZE", 1)))
        # glibc returns large blocks to the system when they are freed, so each step would request new pages. Freeing a
        # block raises the limit above which a block counts as large. Therefore a large block is allocated and freed.
        torch.empty(LARGE_ALLOCATION, dtype=torch.uint8)
        return torch.device("cpu")
    # A resumed run must compute the same bits. PyTorch warns about operations that have no deterministic kernel.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time; uninitialized memory is never read
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
    """Draws masks on the device, because a GPU would have to wait for masks that are drawn on the CPU.

    The masks have the same distribution as those of `engines.masks.draw_masks`, but different values.
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
    except RuntimeError as error:  # only GPUs have their own error class; the CPU's error is recognised by its text
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory on --device {device}") from None


class Graph:
    """A function as a CUDA graph, which launches many small kernels at once.

    The graph is captured at the first call and replayed at every call. The function must perform the same operations on
    tensors of the same shapes at every call. Arguments that are numbers become tensors.
    """

    def __init__(self, function: Callable[..., Any], *, warm_up: bool) -> None:
        """warm_up: whether to call the function once before the capture, so that libraries can initialise."""
        self.function = function
        self.warm_up = warm_up
        self.graph = torch.cuda.CUDAGraph()
        self.arguments: list[Tensor] = []  # the graph reads its arguments from these tensors

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
