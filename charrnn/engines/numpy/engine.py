"""The NumPy engine. Worker processes divide each batch among themselves and share one block of memory.

A training step has three phases. All workers run the same phase at the same time. The parent process is worker 0.
  gradient  forward and backward pass over the worker's streams -> the worker's own flat gradient
  reduce    for a slice of the parameters: sums the workers' gradients in a fixed order and limits the elements of the
            sum (--clip-value) -> squared norm of the slice
  update    for the same slice: limits the norm of the gradient (--clip-norm), optimizer step, running average
The workers are processes and not threads, because a recurrent step consists of many small operations that hold Python's
global interpreter lock.

The parent starts a phase by sending one byte through a pipe. The worker answers with one byte when it has finished. A
closed pipe means that the process at the other end has died. The parent then raises WorkerError, and a worker exits.
The system frees the shared memory even if all processes are killed.
"""

from __future__ import annotations

import json
import math
import subprocess
from typing import Self

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch, BatchStream
from charrnn.engines.numpy.arena import Arena
from charrnn.engines.numpy.worker import GRADIENT, REDUCE, SCORE, UPDATE, Worker
from charrnn.engines.processes import start_child
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ResolvedTraining
from charrnn.system import SharedMemory


class NumpyEngine:
    """See engines.base.Engine. This class runs in the parent process."""

    stream: BatchStream

    def __init__(self, architecture: Architecture, train: ResolvedTraining, dtype: str = "float32") -> None:
        self.architecture = architecture
        self.train = train
        self.dtype = dtype
        size = Arena(architecture, train, dtype).size
        try:
            self.memory = SharedMemory(size)
        except OSError as error:
            raise OutOfMemoryError(f"cannot allocate {size:,} bytes of shared memory: {error.strerror}") from None
        self.arena = Arena(architecture, train, dtype, self.memory.buffer)
        self.is_consistent = True
        self.thread_limits = threadpool_limits(1)
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        options = [json.dumps(each.to_dict()) for each in (self.architecture, self.train)]
        for rank in range(1, self.train.workers):
            arguments = [self.memory.name, str(rank), self.dtype, *options]
            self.children.append(start_child("charrnn.engines.numpy.worker", arguments, self.memory))
        self.worker = Worker(self.architecture, self.train, self.arena, rank=0)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
        self.thread_limits.restore_original_limits()
        self.memory.close()

    @property
    def parameters(self) -> Array:
        return self.arena.parameters

    @property
    def average(self) -> Array:
        return self.arena.average

    @property
    def process_ids(self) -> list[int]:
        return [child.pid for child in self.children]

    def tensors(self) -> dict[str, Array]:
        arena = self.arena
        return {
            "parameters": arena.parameters,
            "moments": arena.moments,
            "state": arena.states[int(arena.current)],
        }

    def load(self, **arrays: Array) -> None:
        for name, target in {"average": self.average, **self.tensors()}.items():
            if name in arrays:
                target[...] = arrays[name]

    def gradient(self, step: int) -> tuple[float, float]:
        self.arena.put(step, self.stream.batch(step))
        loss = float(self.run(GRADIENT)[0])
        squared_norm = self.run(REDUCE)[0]
        return loss, math.sqrt(squared_norm)

    def update(self, learning_rate: float, factor: float) -> None:
        self.arena.learning_rate[...] = learning_rate
        self.arena.clip_factor[...] = factor
        self.is_consistent = False
        self.run(UPDATE)
        self.arena.current[...] = 1 - self.arena.current
        self.is_consistent = True

    def score(self, step: int, batch: Batch) -> Array:
        self.arena.put(step, batch)
        return self.run(SCORE)

    def run(self, phase: bytes) -> Array:
        """Runs a phase on all workers. Returns the sum of their results. Raises WorkerError if a worker has died."""
        for child in self.children:
            self._send(child, phase)
        self.worker.run(phase)
        self.wait()
        return np.array([math.fsum(column) for column in self.arena.results.T.tolist()])

    def wait(self) -> None:
        """Waits until all other workers have finished the phase."""
        for child in self.children:
            assert child.stdout
            if not child.stdout.read(1):
                raise _worker_died(child)

    def _send(self, child: subprocess.Popen[bytes], phase: bytes) -> None:
        assert child.stdin
        try:
            child.stdin.write(phase)
        except OSError:
            raise _worker_died(child) from None


def _worker_died(child: subprocess.Popen[bytes]) -> WorkerError:
    return WorkerError(f"worker process {child.pid} died", "continue the run with --resume")
