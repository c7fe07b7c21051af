"""The processes that torchrun starts: how they meet, what the first one tells the others, how all add up."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from charrnn.errors import WorkerError

PATIENCE = datetime.timedelta(days=7)  # with a process that is busy; one that has died is noticed at once


def join() -> None:
    """Meets the others: what is told goes over gloo, the sums of GPUs over NCCL."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)


def broadcast(told: Any = None) -> Any:
    """What the first process tells, in all of them."""
    box = [told]
    with telling_of_death():
        distributed.broadcast_object_list(box, device=torch.device("cpu"))
    return box[0]


def add_up(tensor: Tensor) -> None:
    """Over all processes, in its place."""
    with telling_of_death():
        distributed.all_reduce(tensor)


@contextlib.contextmanager
def telling_of_death() -> Iterator[None]:
    """For what fails when another process has died. Raises WorkerError."""
    try:
        yield
    except RuntimeError:
        raise WorkerError("another process of torchrun died", "the run can go on with --resume") from None
