"""The processes that torchrun starts: how they connect, how the first one instructs the others, how sums are formed."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from charrnn.errors import WorkerError

TIMEOUT = datetime.timedelta(days=7)  # for a process that is busy; a process that has died is noticed at once


def join_group() -> None:
    """Connects to the other processes: gloo for objects and for tensors on the CPU, NCCL for tensors on GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)


def broadcast(value: Any = None) -> Any:
    """Returns the first process's value in all processes."""
    values = [value]
    with raising_worker_error():
        distributed.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def all_reduce(tensor: Tensor) -> None:
    """Replaces the tensor in all processes by the sum of all of them."""
    with raising_worker_error():
        distributed.all_reduce(tensor)


@contextlib.contextmanager
def raising_worker_error() -> Iterator[None]:
    """Raises WorkerError for a communication that fails because another process has died."""
    try:
        yield
    except RuntimeError:
        raise WorkerError("another process of torchrun died", "continue the run with --resume") from None
