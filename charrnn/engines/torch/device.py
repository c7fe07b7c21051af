"""A device of PyTorch's: made ready, its random numbers, its memory, and work that a GPU plays from a record."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.engines.processes import of_torchrun
from charrnn.errors import OutOfMemoryError
from charrnn.options import TrainingOptions

MALLOC_KEEPS = 31 << 20  # bytes: what glibc allows at most, less its own


def prepared_device(train: TrainingOptions) -> torch.device:
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


def draw_on_device(
    key: tuple[int, ...], shapes: Sequence[tuple[int, ...]], rate: float, dtype: str, device: torch.device
) -> list[Tensor]:
    """As draw_masks of worker.py, but on a device: other bits of the same law. Millions of numbers a step, drawn by the
    processor, would keep a GPU waiting."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(device).manual_seed(seed)
    drawn = (torch.rand(shape, generator=generator, device=device) for shape in shapes)
    return [(random >= rate).to(getattr(torch, dtype)) / (1 - rate) for random in drawn]


@contextlib.contextmanager
def telling_of_memory(device: str) -> Iterator[None]:
    """Raises OutOfMemoryError for PyTorch's own errors."""
    try:
        yield
    except RuntimeError as error:  # that of a GPU has a class of its own, that of the CPU only a text
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory on --device {device}") from None


class Graph:
    """Work on a GPU, recorded when it is first asked for, and played then and ever after: many small kernels start as
    one. It must be the same each time, on tensors of the same shapes and on numbers that only tensors meet.
    """

    def __init__(self, work: Callable[..., Any], *, warms_up: bool) -> None:
        """warms_up: whether the work may be done once for nothing, for libraries that set themselves up."""
        self.work, self.warms_up, self.graph = work, warms_up, torch.cuda.CUDAGraph()
        self.arguments: list[Tensor] = []  # where the recorded work reads them

    def __call__(self, *arguments: Tensor | float) -> Any:
        if not self.arguments:
            if self.warms_up:
                self.work(*arguments)
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
