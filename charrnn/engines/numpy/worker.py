"""A worker of the NumPy engine. See engine.py for the phases of a training step."""

from __future__ import annotations

import json
import os
import sys

import numpy as np

from charrnn.engines.masks import draw_step_masks
from charrnn.engines.numpy.arena import Arena
from charrnn.engines.processes import partition
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.arrays import Array
from charrnn.nn.optimizers import OPTIMIZERS, decay_weights, update_average
from charrnn.nn.parameters import matrix_mask
from charrnn.options import ResolvedTraining
from charrnn.system import open_shared_memory

# The phases. The parent sends these bytes to the workers.
GRADIENT = b"g"
REDUCE = b"r"
UPDATE = b"u"
SCORE = b"s"

UPDATE_BLOCK = 1 << 15  # parameters updated at a time, so that the optimizer's operands stay in the cache
SLICE_UNIT = 16  # float32 numbers in a cache line, so that no two workers write to the same cache line


class Worker:
    """Computes the gradient of some streams of each batch, and updates a slice of the parameters."""

    def __init__(self, architecture: Architecture, train: ResolvedTraining, arena: Arena, rank: int) -> None:
        self.architecture = architecture
        self.train = train
        self.arena = arena
        self.rank = rank
        self.rows = partition(train.batch_size, rank, train.workers)
        self.slice = partition(arena.parameters.size, rank, train.workers, SLICE_UNIT)
        self.streams = self.rows.stop - self.rows.start
        self.network = Network(
            architecture, arena.parameters, self.streams, train.seq_length, arena.grads[rank], train.seq_length
        )
        self.is_matrix: Array | None = None
        if train.weight_decay:
            self.is_matrix = matrix_mask(architecture.specs(), np.empty_like(arena.parameters))
        self.phases = {GRADIENT: self.gradient, REDUCE: self.reduce, UPDATE: self.update, SCORE: self.score}

    def run(self, phase: bytes) -> None:
        """Runs a phase and stores its result in the arena."""
        with np.errstate(all="ignore"):  # the trainer checks that loss and gradient are finite
            self.arena.results[self.rank] = self.phases[phase]()

    def gradient(self) -> float:
        """Forward and backward pass over this worker's streams. Returns their part of the loss."""
        arena = self.arena
        current = int(arena.current)
        state = arena.states[1 - current][:, :, self.rows]
        state[...] = arena.states[current][:, :, self.rows]
        masks = draw_step_masks(self.architecture, self.train, int(arena.step), arena.parameters.dtype.name)
        outputs_mask = None if masks.outputs is None else masks.outputs[:, self.rows]
        scale = 1 / max(1.0, float(arena.num_scored))  # a batch without scored steps has loss 0
        return self.network.loss_and_gradient(arena.batch(self.rows), state, scale, outputs_mask, masks.recurrent)

    def reduce(self) -> float:
        """Adds the gradients of all workers in this worker's slice, always in the same order.

        Limits the elements of the sum to `clip_value`. Returns the squared norm of the slice.
        """
        first, *others = (grads[self.slice] for grads in self.arena.grads)
        for other in others:
            first += other
        if self.train.clip_value:
            np.clip(first, -self.train.clip_value, self.train.clip_value, out=first)
        return float(first @ first)

    def update(self) -> float:
        """Takes the optimizer step for this worker's slice, and updates its running average."""
        for start in range(self.slice.start, self.slice.stop, UPDATE_BLOCK):
            self._update(slice(start, min(start + UPDATE_BLOCK, self.slice.stop)))
        return 0.0

    def _update(self, block: slice) -> None:
        arena = self.arena
        number = int(arena.step) + 1
        learning_rate = float(arena.learning_rate)
        parameters = arena.parameters[block]
        grads = arena.grads[0][block]
        if arena.clip_factor != 1:
            grads *= float(arena.clip_factor)
        if self.is_matrix is not None:
            decay_weights(parameters, learning_rate * self.train.weight_decay, self.is_matrix[block])
        optimizer = OPTIMIZERS[self.train.optimizer]
        optimizer.update(parameters, grads, arena.moments[:, block], number, learning_rate)
        update_average(arena.average[block], parameters, number)

    def score(self) -> Array:
        """Scores this worker's streams with the averaged parameters (see `ScoringNetwork.sums`). Step 0 starts a new
        pass."""
        if self.arena.step == 0:
            self.pass_state = np.zeros(self.architecture.state_shape(self.streams), self.arena.parameters.dtype)
        self.network.set_parameters(self.arena.average)
        sums = self.network.sums(self.arena.batch(self.rows), self.pass_state)
        self.network.set_parameters(self.arena.parameters)
        return sums


def main() -> None:
    """Runs a worker process. It reads a phase, runs it and answers, until the parent closes the pipe."""
    memory_name = sys.argv[1]
    rank = int(sys.argv[2])
    dtype = sys.argv[3]
    architecture = Architecture(**json.loads(sys.argv[4]))
    train = ResolvedTraining(**json.loads(sys.argv[5]))
    phases = os.fdopen(0, "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    memory = open_shared_memory(memory_name, Arena(architecture, train, dtype).size)
    worker = Worker(architecture, train, Arena(architecture, train, dtype, memory), rank)
    while phase := phases.read(1):
        worker.run(phase)
        try:
            answers.write(b".")
        except OSError:  # the parent has ended
            return
