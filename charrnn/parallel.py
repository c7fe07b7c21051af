"""One training step over all cores: processes that each take a shard of the batch, over one block of shared memory.

A step has three phases, each run by all workers at once, with the parent as worker 0:
  gradient  a shard's forward and backward pass -> its own flat gradient
  reduce    a slice of the parameters each: the shards' gradients added in a fixed order, the squared norm
  update    the same slice: clip, optimizer step, average
Processes rather than threads, since the many small operations of a recurrent step hold the interpreter's lock.

The workers are told the phase, a byte, through a pipe and answer the same way. A pipe that closes means that the other
side has died: the parent raises WorkerError, a child exits. The memory belongs to a file without a name, so that
nothing is left behind however a run ends.
"""

from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
import tempfile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.arena import Arena, Plan
from charrnn.errors import WorkerError
from charrnn.evaluate import SEQ_LENGTH, num_streams, text_nats
from charrnn.models.language import LanguageModel, parameter_specs
from charrnn.nn.ops import dropout_mask
from charrnn.nn.stack import CELLS, state_shape
from charrnn.optim import OPTIMIZERS, average, decay
from charrnn.params import views

Array = NDArray[Any]

GRADIENT, REDUCE, UPDATE, EVALUATE = b"g", b"r", b"u", b"e"
DROPOUT, RECURRENT_DROPOUT = 1, 2  # purposes of random numbers: a generator is keyed by (seed, purpose, step)


def dropped(plan: Plan, step: int) -> tuple[Array | None, list[Array]]:
    """What a step leaves out: masks of the layers' outputs (L, B, H), or None, and of each layer's W_hh (G, H).

    Every worker draws them for itself, all the same.
    """
    model, masks, w_masks = plan.model, None, []
    layers, _, streams, hidden = state_shape(model.cell, model.num_layers, plan.batch_size, model.hidden_size)
    if model.dropout:
        rng = np.random.default_rng((plan.seed, DROPOUT, step))
        masks = dropout_mask(rng, (layers, streams, hidden), model.dropout, plan.dtype)
    if model.recurrent_dropout:
        rng, rows = np.random.default_rng((plan.seed, RECURRENT_DROPOUT, step)), CELLS[model.cell].gates * hidden
        w_masks = [dropout_mask(rng, (rows, hidden), model.recurrent_dropout, plan.dtype) for _ in range(layers)]
    return masks, w_masks


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
        masks, w_masks = dropped(self.plan, int(arena.step))
        return self.model.loss_and_gradient(
            arena.x[:, rows],
            arena.targets[:, rows],
            state,
            1 / arena.x.size,
            None if masks is None else masks[:, rows],
            arena.keep[:, rows] if arena.has_keep else None,
            w_masks,
        )

    def reduce(self) -> float:
        """Sum of all shards' gradients over this worker's slice, into the first. The slice's squared norm."""
        first, *others = (grads[self.share] for grads in self.arena.grads)
        for other in others:
            first += other
        if self.plan.clip_value:
            np.clip(first, -self.plan.clip_value, self.plan.clip_value, out=first)
        return float(first @ first)

    def update(self) -> float:
        """The optimizer's step over this worker's slice, and the average after it."""
        arena, share = self.arena, self.share
        p, g, lr = arena.params[share], arena.grads[0][share], float(arena.learning_rate)
        if arena.clip_factor != 1:
            g *= float(arena.clip_factor)
        if self.is_matrix is not None:
            decay(p, lr * self.plan.weight_decay, self.is_matrix)
        step = int(arena.step) + 1
        OPTIMIZERS[self.plan.optimizer].update(p, g, arena.moments[:, share], step, lr)
        average(arena.average[share], p, step)
        return 0.0

    def evaluate(self) -> float:
        """The nats of this worker's streams of the validation text, summed."""
        streams, plan = self.val_streams, self.plan
        if not streams:
            return 0.0
        if self.val_model is None:
            shape = (plan.model, plan.vocabulary_size, self.arena.average, len(streams), SEQ_LENGTH)
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

    def set_batch(self, step: int, x: Array, targets: Array, keep: Array | None = None) -> None:
        """The batch of a step (from 0): (T, B), and keep (T, B, 1) where there is one."""
        arena = self.arena
        arena.step[...], arena.x[:], arena.targets[:] = step, x, targets
        arena.has_keep[...] = keep is not None
        if keep is not None:
            arena.keep[:] = keep

    def gradient(self) -> tuple[float, float]:
        """The batch's loss, and the norm of its gradient."""
        return self.run(GRADIENT), math.sqrt(self.run(REDUCE))

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step with the gradient times `factor`; moves on to the next state."""
        arena = self.arena
        arena.learning_rate[...], arena.clip_factor[...] = learning_rate, factor
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
