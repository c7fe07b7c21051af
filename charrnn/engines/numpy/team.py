"""One training step over all cores: workers that each take their rows of the batch, over one block of shared memory.

A step has three phases, each run by all workers at once, with the parent as worker 0:
  gradient  forward and backward pass of a worker's rows -> its own flat gradient
  reduce    a slice of the parameters each: the workers' gradients added in a fixed order, the squared norm
  update    the same slice: clip, optimizer step, average
Processes rather than threads, since the many small operations of a recurrent step hold the interpreter's lock.

The workers are told the phase, a byte, through a pipe and answer the same way. A pipe that closes means that the other
side has died: the parent raises WorkerError, a child exits. The memory belongs to a file without a name, so that
nothing is left behind however a run ends.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import subprocess
import sys
import tempfile
from typing import Self

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.engines.numpy.arena import Arena
from charrnn.engines.numpy.worker import GRADIENT, REDUCE, UPDATE, VALIDATE, Worker
from charrnn.engines.processes import start_child
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import TrainingOptions
from charrnn.tasks.base import Pass, Stream


def _nameless_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("charrnn")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Team:
    """All workers of a run, and the parent's side of their work. Use as a context manager."""

    def __init__(self, architecture: Architecture, train: TrainingOptions, dtype: str = "float32") -> None:
        """The settings must all be chosen."""
        self.architecture, self.train, self.dtype = architecture, train, dtype
        self.fd, size = _nameless_file(), Arena(architecture, train, dtype).size
        try:
            os.truncate(self.fd, size)
            self.arena = Arena(architecture, train, dtype, mmap.mmap(self.fd, size))
        except OSError as error:
            os.close(self.fd)
            raise OutOfMemoryError(f"{size:,} bytes for the workers to share: {error.strerror}") from None
        self.stream: Stream  # of the batches to train on: set it before the first step
        self.params, self.average = self.arena.params, self.arena.average
        self.whole = True  # whether parameters and state belong to one step: not in the middle of an update
        self.limits = threadpool_limits(1)
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        settings = [json.dumps(each.to_dict()) for each in (self.architecture, self.train)]
        for rank in range(1, self.train.workers or 1):
            arguments = [str(self.fd), str(rank), self.dtype, *settings]
            self.children.append(start_child("charrnn.engines.numpy.worker", arguments, [self.fd]))
        self.worker = Worker(self.architecture, self.train, self.arena, 0)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
        self.limits.restore_original_limits()
        os.close(self.fd)

    def tensors(self) -> dict[str, Array]:
        """What a checkpoint must hold besides the average."""
        arena = self.arena
        return {"params": arena.params, "moments": arena.moments, "state": arena.states[int(arena.current)]}

    def load(self, **arrays: Array) -> None:
        """Writes over the average and any of `tensors()`."""
        for name, target in {"average": self.average, **self.tensors()}.items():
            if name in arrays:
                target[...] = arrays[name]

    def gradient(self, step: int) -> tuple[float, float]:
        """The loss of a step's batch (from 0), and the norm of its gradient."""
        self.arena.put(step, self.stream.batch(step))
        return float(self.run(GRADIENT)[0]), math.sqrt(self.run(REDUCE)[0])

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step with the gradient times `factor`; moves on to the next state."""
        arena = self.arena
        arena.learning_rate[...], arena.clip_factor[...] = learning_rate, factor
        self.whole = False
        self.run(UPDATE)
        arena.current[...] = 1 - arena.current
        self.whole = True

    def validate(self, reading: Pass) -> Array:
        """The mean loss of the averaged parameters over a pass, and behind it the means of the loss's tally."""
        total = np.zeros(self.architecture.sums)
        for step in range(reading.steps):
            self.arena.put(step, reading.batch(step))
            total += self.run(VALIDATE)
        return total / reading.predictions

    def run(self, phase: bytes) -> Array:
        """Runs a phase on all workers; the sums of what they return. Raises WorkerError if one has died."""
        for child in self.children:
            self._talk(child, phase)
        self.worker.run(phase)
        self.wait()
        return np.array([math.fsum(numbers) for numbers in self.arena.results.T.tolist()])

    def wait(self) -> None:
        """For the other workers, until all have answered."""
        for child in self.children:
            self._talk(child, None)

    def _talk(self, child: subprocess.Popen[bytes], phase: bytes | None) -> None:
        """Sends a phase, or with None waits for the answer."""
        assert child.stdin and child.stdout
        try:
            alive = child.stdin.write(phase) if phase else child.stdout.read(1)
        except BrokenPipeError:
            alive = None
        if not alive:
            raise WorkerError(f"worker process {child.pid} died", "the run can go on with --resume")
