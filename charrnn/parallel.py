"""One training step over all cores: processes that each take a shard of the batch, over one block of shared memory.

A step has three phases, each run by all workers at once, with the parent as worker 0:
  gradient  a shard's forward and backward pass -> its own flat gradient
  reduce    a slice of the parameters each: the shards' gradients added in a fixed order, the squared norm
  update    the same slice: clip, optimizer step
Processes rather than threads, since the many small operations of a recurrent step hold the interpreter's lock.

The workers are told the phase, a byte, through a pipe and answer the same way. A pipe that closes means that the other
side has died: the parent raises WorkerError, a child exits. The memory belongs to a file without a name, so that
nothing is left behind however a run ends.
"""

from __future__ import annotations

import dataclasses
import json
import math
import mmap
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.config import ModelConfig
from charrnn.errors import WorkerError
from charrnn.evaluate import SEQ_LENGTH, num_streams, text_nats
from charrnn.models.language import LanguageModel, parameter_specs
from charrnn.nn.stack import state_shape
from charrnn.optim import OPTIMIZERS, decay
from charrnn.params import count, views

Array = NDArray[Any]

GRADIENT, REDUCE, UPDATE, EVALUATE = b"g", b"r", b"u", b"e"
ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True)
class Plan:
    """What every worker must know to lay the memory out and to compute its share."""

    model: ModelConfig
    vocabulary_size: int
    workers: int
    batch_size: int
    seq_length: int
    optimizer: str
    clip_value: float
    weight_decay: float
    dtype: str
    val_length: int
    record_end: int | None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**values | {"model": ModelConfig.from_dict(values["model"])})


class Arena:
    """The shared arrays, laid out one after the other in one buffer."""

    def __init__(self, plan: Plan, buffer: mmap.mmap | None = None) -> None:
        """Without a buffer only the size is computed."""
        self.size, self.buffer = 0, buffer
        specs = parameter_specs(plan.model, plan.vocabulary_size)
        total, model = count(specs), plan.model
        state = state_shape(model.cell, model.num_layers, plan.batch_size, model.hidden_size)
        batch = plan.seq_length, plan.batch_size
        self.params = self._take((total,), plan.dtype)
        self.grads = self._take((plan.workers, total), plan.dtype)
        self.moments = self._take((OPTIMIZERS[plan.optimizer].moments, total), plan.dtype)
        self.states = self._take((2, *state), plan.dtype)  # before and after the step, by turns
        self.masks = self._take((model.num_layers, plan.batch_size, model.hidden_size), plan.dtype)
        self.x, self.targets = self._take(batch, "uint32"), self._take(batch, "uint32")
        self.keep = self._take((*batch, 1), "bool")
        self.val = self._take((plan.val_length,), "uint32")
        self.results = self._take((plan.workers,), "float64")  # a phase's one number from each worker
        self.step = self._take((), "int64")  # of the update, from 1
        self.learning_rate, self.clip_factor = self._take((), "float64"), self._take((), "float64")
        self.current = self._take((), "int64")  # which of `states` stands before the step
        self.has_keep, self.has_masks = self._take((), "bool"), self._take((), "bool")

    def _take(self, shape: tuple[int, ...], dtype: str) -> Array:
        start, kind = self.size, np.dtype(dtype)
        self.size += -(-math.prod(shape) * kind.itemsize // ALIGNMENT) * ALIGNMENT
        if self.buffer is None:
            return np.empty(0, kind)
        return np.frombuffer(self.buffer, kind, math.prod(shape), start).reshape(shape)


class Worker:
    """The share of one worker, in whichever process."""

    def __init__(self, plan: Plan, arena: Arena, rank: int) -> None:
        self.plan, self.arena, self.rank = plan, arena, rank
        self.rows = slice(plan.batch_size * rank // plan.workers, plan.batch_size * (rank + 1) // plan.workers)
        size = arena.params.size
        self.share = slice(*(min(size, -(-size * r // plan.workers // 16) * 16) for r in (rank, rank + 1)))
        if rank == plan.workers - 1:
            self.share = slice(self.share.start, size)
        streams = self.rows.stop - self.rows.start
        shape = (plan.model, plan.vocabulary_size, arena.params, streams, plan.seq_length)
        self.model = LanguageModel(*shape, grads=arena.grads[rank])
        self.is_matrix: Array | None = None
        if plan.weight_decay:
            flat = np.zeros_like(arena.params)
            for view in views(parameter_specs(plan.model, plan.vocabulary_size), flat).values():
                view[...] = view.ndim > 1
            self.is_matrix = flat[self.share]
        total = num_streams(plan.val_length)
        self.val_streams = range(total * rank // plan.workers, total * (rank + 1) // plan.workers)
        self.val_model: LanguageModel | None = None
        self.phases = {GRADIENT: self.gradient, REDUCE: self.reduce, UPDATE: self.update, EVALUATE: self.evaluate}

    def gradient(self) -> float:
        """Forward and backward over this shard's streams. Its part of the loss."""
        arena, rows, now = self.arena, self.rows, int(self.arena.current)
        state = arena.states[1 - now][:, :, rows]
        state[...] = arena.states[now][:, :, rows]
        return self.model.loss_and_gradient(
            arena.x[:, rows],
            arena.targets[:, rows],
            state,
            1 / arena.x.size,
            arena.masks[:, rows] if arena.has_masks else None,
            arena.keep[:, rows] if arena.has_keep else None,
        )

    def reduce(self) -> float:
        """Sum of all shards' gradients over this worker's slice, into the first. The slice's squared norm."""
        first, *others = self.arena.grads[:, self.share]
        for other in others:
            first += other
        if self.plan.clip_value:
            np.clip(first, -self.plan.clip_value, self.plan.clip_value, out=first)
        return float(first @ first)

    def update(self) -> float:
        """The optimizer's step over this worker's slice."""
        arena, share = self.arena, self.share
        p, g, lr = arena.params[share], arena.grads[0, share], float(arena.learning_rate)
        if arena.clip_factor != 1:
            g *= float(arena.clip_factor)
        if self.is_matrix is not None:
            decay(p, lr * self.plan.weight_decay, self.is_matrix)
        OPTIMIZERS[self.plan.optimizer].update(p, g, arena.moments[:, share], int(arena.step), lr)
        return 0.0

    def evaluate(self) -> float:
        """The nats of this worker's streams of the validation text, summed."""
        streams, plan = self.val_streams, self.plan
        if not streams:
            return 0.0
        if self.val_model is None:
            shape = (plan.model, plan.vocabulary_size, self.arena.params, len(streams), SEQ_LENGTH)
            self.val_model = LanguageModel(*shape)
        total = num_streams(plan.val_length)
        return float(text_nats(self.val_model, self.arena.val, streams, total, plan.record_end).sum(dtype=np.float64))

    def run(self, phase: bytes) -> None:
        with np.errstate(all="ignore"):  # what is not finite is seen, and told, by the trainer
            self.arena.results[self.rank] = self.phases[phase]()


def _nameless_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("charrnn")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Team:
    """All workers of a run, and the parent's side of their work. Use as a context manager."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.fd, size = _nameless_file(), Arena(plan).size
        os.truncate(self.fd, size)
        self.arena = Arena(plan, mmap.mmap(self.fd, size))
        self.whole = True  # whether parameters and state belong to one step: not in the middle of an update
        self.limits = threadpool_limits(1)
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        single = dict.fromkeys(
            ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
        )
        for rank in range(1, self.plan.workers):
            # The parent's path, whatever stands in the directory that it was started in.
            start = f"import sys; sys.path[:] = {sys.path}; from charrnn.parallel import main; main()"
            command = [sys.executable, "-P", "-c", start, str(self.fd), str(rank), self.plan.to_json()]
            # In a session of its own, so that Ctrl-C reaches the parent alone.
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self.fd,),
                env=os.environ | single,
                start_new_session=True,
            )
            self.children.append(child)
        self.worker = Worker(self.plan, self.arena, 0)
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

    def set_batch(self, x: Array, targets: Array, keep: Array | None = None, masks: Array | None = None) -> None:
        """The next batch, (T, B); keep (T, B, 1) and the dropout masks (L, B, H) where there are any."""
        arena = self.arena
        arena.x[:], arena.targets[:] = x, targets
        arena.has_keep[...], arena.has_masks[...] = keep is not None, masks is not None
        if keep is not None:
            arena.keep[:] = keep
        if masks is not None:
            arena.masks[:] = masks

    def gradient(self) -> tuple[float, float]:
        """The batch's loss, and the norm of its gradient."""
        return self.run(GRADIENT), math.sqrt(self.run(REDUCE))

    def update(self, step: int, learning_rate: float, factor: float) -> None:
        """The optimizer's step number `step` (from 1) with the gradient times `factor`; moves on to the next state."""
        arena = self.arena
        arena.step[...], arena.learning_rate[...], arena.clip_factor[...] = step, learning_rate, factor
        self.whole = False
        self.run(UPDATE)
        arena.current[...] = 1 - arena.current
        self.whole = True

    def validate(self) -> float:
        """Mean nats per character of the validation text."""
        return self.run(EVALUATE) / (self.plan.val_length - 1)

    def run(self, phase: bytes) -> float:
        """Runs a phase on all workers; the sum of what they return. Raises WorkerError if one has died."""
        for child in self.children:
            self._talk(child, phase)
        self.worker.run(phase)
        for child in self.children:
            self._talk(child, None)
        return math.fsum(self.arena.results)

    def _talk(self, child: subprocess.Popen[bytes], phase: bytes | None) -> None:
        """Sends a phase, or with None waits for the answer."""
        assert child.stdin and child.stdout
        try:
            alive = child.stdin.write(phase) if phase else child.stdout.read(1)
        except BrokenPipeError:
            alive = None
        if not alive:
            raise WorkerError(f"worker process {child.pid} died", "the run can go on with --resume")


def main() -> None:
    """A child's life: a byte in, a phase, a byte out, until the parent closes the pipe."""
    fd, rank, plan = int(sys.argv[1]), int(sys.argv[2]), Plan.from_json(sys.argv[3])
    commands, answers = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    worker = Worker(plan, Arena(plan, mmap.mmap(fd, 0)), rank)
    while phase := commands.read(1):
        worker.run(phase)
        try:
            answers.write(b".")
        except BrokenPipeError:
            return
