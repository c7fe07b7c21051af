"""The second engine, on PyTorch: what team.py does with workers on NumPy, on one device, or under torchrun on several.

Each process holds all parameters and takes its share of the batch's streams; one all-reduce sums the gradients, and the
same update follows everywhere. The first process alone has a Trainer, and so decides, writes and prints; it tells the
others what to do, as a Team tells its workers.
"""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
from typing import Any, Self

import numpy as np
from torch import distributed

from charrnn.config import TrainConfig
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.tasks.task import Pass, Stream
from charrnn.training.process import of_torchrun
from charrnn.training.torch_device import telling_of_memory
from charrnn.training.torch_processes import heard, join, tell
from charrnn.training.torch_worker import Share


class TorchTeam:
    """The engine as the trainer knows it (see Team): of the first process, where there are several."""

    def __init__(
        self, architecture: Architecture, train: TrainConfig, dtype: str = "float32", processes: int | None = None
    ) -> None:
        """The settings must all be chosen. processes: all of torchrun's, if not said."""
        self.architecture, self.train, self.dtype = architecture, train, dtype
        self.stream: Stream  # of the batches to train on: set it before the first step
        self.placed: int | None = None  # the step whose batch is on the device
        self.whole = True
        self.children: list[subprocess.Popen[bytes]] = []
        self.processes = of_torchrun("WORLD_SIZE", 1) if processes is None else processes

    def __enter__(self) -> Self:
        settings = self.architecture, self.train, self.dtype
        if self.processes > 1:
            join()
            tell(settings)
        with telling_of_memory(self.train.device):
            self.share = Share(*settings, 0, self.processes)
        return self

    def __exit__(self, *_: object) -> None:
        if self.processes > 1:
            if self.whole:
                with contextlib.suppress(WorkerError):
                    tell(None)
            distributed.destroy_process_group()

    @property
    def params(self) -> Array:
        """As they are now, in the host's memory."""
        return self.share.params.cpu().numpy()  # type: ignore[no-any-return]

    @property
    def average(self) -> Array:
        return self.share.average.cpu().numpy()  # type: ignore[no-any-return]

    def tensors(self) -> dict[str, Array]:
        """What a checkpoint must hold besides the average."""
        moments, state = self.share.moments.cpu().numpy(), self._all("whole_state").cpu().numpy()
        return {"params": self.params, "moments": moments, "state": state}

    def load(self, **arrays: Array) -> None:
        """Writes over the average and any of `tensors()`."""
        self._all("load", arrays)

    def gradient(self, step: int) -> tuple[float, float]:
        """The loss of a step's batch (from 0), and the norm of its gradient. Meanwhile the next one is put in place."""
        if step != self.placed:
            self._all("place", step, self.stream.batch(step))
        self._all("begin")
        self.placed = step + 1
        self._all("place", self.placed, self.stream.batch(self.placed))
        loss, square = self.share.numbers.tolist()
        return loss, math.sqrt(square)

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step with the gradient times `factor`; moves on to the next state."""
        self._all("update", learning_rate, factor)

    def validate(self, reading: Pass) -> Array:
        """The mean loss of the averaged parameters over a pass, and behind it the means of the loss's tally."""
        total = np.zeros(self.architecture.sums)
        for step in range(reading.steps):
            total += self._all("validate", step, reading.batch(step))
        return total / reading.predictions

    def _all(self, work: str, *arguments: Any) -> Any:
        """Has every process do it; what it gave here. Raises WorkerError if one has died, OutOfMemoryError."""
        try:
            if self.processes > 1:
                tell((work, arguments))
            with telling_of_memory(self.train.device):
                return getattr(self.share, work)(*arguments)
        except (WorkerError, OutOfMemoryError):
            self.whole = False  # the others' part of the state is gone: what was saved last stands
            raise


def follow() -> None:
    """The life of a process of torchrun other than the first: does what that one tells it, until it ends."""
    join()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the first one saves, and then says that it is over
    architecture, train, dtype = heard()
    with telling_of_memory(train.device):
        share = Share(architecture, train, dtype, distributed.get_rank(), distributed.get_world_size())
        while (order := heard()) is not None:
            work, arguments = order
            getattr(share, work)(*arguments)
    distributed.destroy_process_group()
