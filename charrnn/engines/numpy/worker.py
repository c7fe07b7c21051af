"""What one worker does of a training step, in whichever process."""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charrnn.engines.numpy.arena import Arena
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.arrays import Array
from charrnn.nn.ops import dropout_mask
from charrnn.nn.optimizers import OPTIMIZERS, average, decay
from charrnn.nn.parameters import mark_matrices
from charrnn.nn.stack import CELLS
from charrnn.options import TrainingOptions

GRADIENT, REDUCE, UPDATE, VALIDATE = b"g", b"r", b"u", b"v"
DROPOUT, RECURRENT_DROPOUT = 1, 2  # purposes of random numbers: a generator is keyed by (seed, purpose, step)
BLOCK = 1 << 15  # parameters that are updated at once: what that takes stays in the cache
CUT = 16  # numbers in a cache line: two workers do not write to the same one


def portion(size: int, rank: int, workers: int, unit: int = 1) -> slice:
    """The consecutive part of `size` things that falls to a worker, cut at multiples of `unit`."""
    start, stop = (min(size, -(-size * r // workers // unit) * unit) for r in (rank, rank + 1))
    return slice(start, size if rank == workers - 1 else stop)


def draw_masks(key: tuple[int, ...], shapes: Sequence[tuple[int, ...]], rate: float, dtype: Any) -> list[Array]:
    """Dropout masks, one after the other, from a generator with such a key."""
    rng = np.random.default_rng(key)
    return [dropout_mask(rng, shape, rate, dtype) for shape in shapes]


def dropped(
    architecture: Architecture,
    train: TrainingOptions,
    step: int,
    dtype: Any,
    draw: Callable[..., list[Any]] = draw_masks,
) -> tuple[Any, list[Any]]:
    """What a step leaves out: masks of the layers' outputs (L, B, H), or None, and of each layer's W_hh (G, H).

    Every worker draws them for itself, all the same.
    """
    masks, w_masks, hidden, layers = None, [], architecture.hidden_size, architecture.num_layers
    if train.dropout:
        (masks,) = draw((train.seed, DROPOUT, step), [(layers, train.batch_size, hidden)], train.dropout, dtype)
    if train.recurrent_dropout:
        shapes = [(CELLS[architecture.cell].gates * hidden, hidden)] * layers
        w_masks = draw((train.seed, RECURRENT_DROPOUT, step), shapes, train.recurrent_dropout, dtype)
    return masks, w_masks


class Worker:
    """A worker's rows of the batch and its slice of the parameters."""

    def __init__(self, architecture: Architecture, train: TrainingOptions, arena: Arena, rank: int) -> None:
        assert train.batch_size and train.seq_length and train.workers
        self.architecture, self.train, self.arena, self.rank = architecture, train, arena, rank
        self.rows = portion(train.batch_size, rank, train.workers)
        self.slice = portion(arena.params.size, rank, train.workers, CUT)
        self.streams = self.rows.stop - self.rows.start
        self.network = Network(architecture, arena.params, self.streams, train.seq_length, grads=arena.grads[rank])
        self.is_matrix: Array | None = None
        if train.weight_decay:
            self.is_matrix = mark_matrices(architecture.specs(), np.empty_like(arena.params))
        self.phases = {GRADIENT: self.gradient, REDUCE: self.reduce, UPDATE: self.update, VALIDATE: self.validate}

    def gradient(self) -> float:
        """Forward and backward over this worker's rows. Its part of the loss."""
        arena, rows, now = self.arena, self.rows, int(self.arena.current)
        state = arena.states[1 - now][:, :, rows]
        state[...] = arena.states[now][:, :, rows]
        masks, w_masks = dropped(self.architecture, self.train, int(arena.step), arena.params.dtype.name)
        its_masks = None if masks is None else masks[:, rows]
        return self.network.loss_and_gradient(arena.batch(rows), state, 1 / float(arena.scored), its_masks, w_masks)

    def reduce(self) -> float:
        """Sum of all workers' gradients over this one's slice, into the first. The slice's squared norm."""
        first, *others = (grads[self.slice] for grads in self.arena.grads)
        for other in others:
            first += other
        if self.train.clip_value:
            np.clip(first, -self.train.clip_value, self.train.clip_value, out=first)
        return float(first @ first)

    def update(self) -> float:
        """The optimizer's step over this worker's slice, and the average after it."""
        for start in range(self.slice.start, self.slice.stop, BLOCK):
            self._update(slice(start, min(start + BLOCK, self.slice.stop)))
        return 0.0

    def _update(self, block: slice) -> None:
        arena, step, lr = self.arena, int(self.arena.step) + 1, float(self.arena.learning_rate)
        p, g = arena.params[block], arena.grads[0][block]
        if arena.clip_factor != 1:
            g *= float(arena.clip_factor)
        if self.is_matrix is not None:
            decay(p, lr * self.train.weight_decay, self.is_matrix[block])
        OPTIMIZERS[self.train.optimizer].update(p, g, arena.moments[:, block], step, lr)
        average(arena.average[block], p, step)

    def validate(self) -> Array:
        """The sums of the averaged parameters over this worker's rows (see Network). Step 0 begins a pass."""
        if self.arena.step == 0:
            self.pass_state = np.zeros(self.architecture.state_shape(self.streams), self.arena.params.dtype)
        self.network.use(self.arena.average)
        sums = self.network.sums(self.arena.batch(self.rows), self.pass_state)
        self.network.use(self.arena.params)
        return sums

    def run(self, phase: bytes) -> None:
        with np.errstate(all="ignore"):  # what is not finite is seen, and told, by the trainer
            self.arena.results[self.rank] = self.phases[phase]()


def main() -> None:
    """A child's life: a byte in, a phase, a byte out, until the parent closes the pipe."""
    fd, rank, dtype = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    architecture, train = Architecture(**json.loads(sys.argv[4])), TrainingOptions(**json.loads(sys.argv[5]))
    commands, answers = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    worker = Worker(architecture, train, Arena(architecture, train, dtype, mmap.mmap(fd, 0)), rank)
    while phase := commands.read(1):
        worker.run(phase)
        try:
            answers.write(b".")
        except BrokenPipeError:
            return
