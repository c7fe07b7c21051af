"""Communication between the processes of torchrun."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from charrnn.errors import WorkerError

# The time to wait for a process that is busy. If a process has died, the others fail at once.
TIMEOUT = datetime.timedelta(days=7)


def join_group() -> None:
    """Connects to the other processes, with gloo for objects and tensors on the CPU, and NCCL for tensors on GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)


def broadcast(value: Any = None) -> Any:
    """Returns the value of the first process, in all processes."""
    values = [value]
    with raising_worker_error():
        distributed.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def all_reduce(tensor: Tensor) -> None:
    """Replaces the tensors of all processes by their sum."""
    with raising_worker_error():
        distributed.all_reduce(tensor)


@contextlib.contextmanager
def raising_worker_error() -> Iterator[None]:
    """Raises WorkerError if communication fails, which means that another process has died."""
    try:
        yield
    except RuntimeError:
        raise WorkerError("another process of torchrun died", "continue the run with --resume") from None
