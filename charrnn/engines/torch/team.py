"""The second engine, on PyTorch: what team.py does with workers on NumPy, on one device, or under torchrun on several.

Each process holds all parameters and takes its share of the batch's streams; one all-reduce sums the gradients, and the
same update follows everywhere. The first process alone has a Trainer, and so decides, writes and prints; what it does
with its team, the others do too.
"""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, distributed

from charrnn.corpus.batch import Batch
from charrnn.engines.numpy.worker import draw_masks, dropped, portion
from charrnn.engines.processes import of_torchrun
from charrnn.engines.torch.device import Graph, draw_on_device, prepared_device, telling_of_memory
from charrnn.engines.torch.network import Placed, TorchNetwork
from charrnn.engines.torch.processes import add_up, broadcast, join
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.optimizers import OPTIMIZERS, average, decay
from charrnn.nn.parameters import mark_matrices
from charrnn.options import TrainingOptions
from charrnn.tasks.base import Pass, Stream


def by_all(work: Callable[..., Any]) -> Callable[..., Any]:
    """A method that all processes run when the first one does. Raises WorkerError if one has died, OutOfMemoryError."""

    @wraps(work)
    def told(team: TorchTeam, *arguments: Any, **named: Any) -> Any:
        try:
            if team.leads:
                broadcast((work.__name__, arguments, named))
            with telling_of_memory(team.train.device):
                return work(team, *arguments, **named)
        except (WorkerError, OutOfMemoryError):
            team.whole = False  # the others' part of the state is gone: what was saved last stands
            raise

    return told


class TorchTeam:
    """The engine as the trainer knows it (see Team), and what each process does of a step."""

    def __init__(
        self,
        architecture: Architecture,
        train: TrainingOptions,
        dtype: str = "float32",
        processes: int | None = None,
        rank: int = 0,
    ) -> None:
        """The settings must all be chosen. processes: all of torchrun's, if not said; rank: which of them this is."""
        assert train.batch_size
        self.architecture, self.train, self.dtype = architecture, train, dtype
        self.processes = of_torchrun("WORLD_SIZE", 1) if processes is None else processes
        self.leads = self.processes > 1 and rank == 0
        self.rows = portion(train.batch_size, rank, self.processes)
        self.stream: Stream  # of the batches to train on: set it before the first step
        self.placed: int | None = None  # the step whose batch is on the device
        self.whole = True
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        if self.leads:
            join()
            broadcast((self.architecture, self.train, self.dtype))
        self.set_up()
        return self

    def __exit__(self, *_: object) -> None:
        if self.leads:
            if self.whole:
                with contextlib.suppress(WorkerError):
                    broadcast()  # it is over
            distributed.destroy_process_group()

    @by_all
    def set_up(self) -> None:
        """The device, and what lies there."""
        architecture, train = self.architecture, self.train
        self.device = prepared_device(train)
        self.empty = torch.zeros(0, dtype=getattr(torch, self.dtype), device=self.device)  # others are made like it
        total = architecture.parameters
        self.flat = {name: self.empty.new_zeros(total) for name in ("params", "average")}
        self.flat["moments"] = self.empty.new_zeros(OPTIMIZERS[train.optimizer].moments, total)
        self.gradient_and_loss = self.empty.new_zeros(total + 1)  # in one vector, for one all-reduce
        self.grads = self.gradient_and_loss[:-1]
        self.state = self._zero_state()
        self.network = TorchNetwork(architecture, self.flat["params"], self.grads)
        self.averaged = TorchNetwork(architecture, self.flat["average"])
        self.is_matrix = mark_matrices(architecture.specs(), torch.empty_like(self.grads))
        self.draw: Callable[..., list[Any]] = draw_masks
        if self.device.type != "cpu":
            self.draw = partial(draw_on_device, device=self.device)
        self.learn_whole: Callable[..., Tensor] = self._learn_whole
        self.optimize: Callable[..., None] = self._optimize
        if self.device.type == "cuda":
            self.learn_whole = Graph(self._learn_whole, warms_up=True)
            self.optimize = Graph(self._optimize, warms_up=False)

    @property
    def params(self) -> Array:
        """As they are now, in the host's memory."""
        return self.flat["params"].cpu().numpy()  # type: ignore[no-any-return]

    @property
    def average(self) -> Array:
        return self.flat["average"].cpu().numpy()  # type: ignore[no-any-return]

    @by_all
    def tensors(self) -> dict[str, Array]:
        """What a checkpoint must hold besides the average."""
        state = self.empty.new_zeros(self.architecture.state_shape(self.train.batch_size or 0))
        state[:, :, self.rows] = self.state
        there = {"params": self.flat["params"], "moments": self.flat["moments"], "state": self._summed(state)}
        return {name: tensor.cpu().numpy() for name, tensor in there.items()}

    @by_all
    def load(self, **arrays: Array) -> None:
        """Writes over the average and any of `tensors()`."""
        for name, array in arrays.items():
            if name == "state":
                self.state.copy_(torch.tensor(array[:, :, self.rows]))
            else:
                self.flat[name].copy_(torch.tensor(array))

    def gradient(self, step: int) -> tuple[float, float]:
        """The loss of a step's batch (from 0), and the norm of its gradient. Meanwhile the next one is put in place."""
        if step != self.placed:
            self.place(step, self.stream.batch(step))
        self.begin()
        self.placed = step + 1
        self.place(self.placed, self.stream.batch(self.placed))
        loss, square = self.numbers.tolist()
        return loss, math.sqrt(square)

    @by_all
    def place(self, step: int, batch: Batch) -> None:
        """Puts what the next step needs on the device, which may still be at the step before."""
        masks, w_masks = dropped(self.architecture, self.train, step, self.dtype, self.draw)
        self.masks = [] if masks is None else [torch.as_tensor(masks[:, self.rows])]
        self.masks += map(torch.as_tensor, w_masks)
        self.next, self.batch, self.scored = step, self._placed(batch), batch.scored

    @by_all
    def begin(self) -> None:
        """Forward and backward; the loss of the whole batch and the square of its gradient's norm come to `numbers`. A
        GPU may still be at it when this returns."""
        self.step, batch = self.next, self.batch
        if batch.is_whole:
            self.next_state = self.learn_whole(batch.x, batch.targets, batch.goes_on, self.state, *self.masks)
        else:
            self.next_state = self._learn(batch, self.state, self.masks)
        self._summed(self.gradient_and_loss)
        if self.train.clip_value:
            self.grads.clamp_(-self.train.clip_value, self.train.clip_value)
        self.numbers = torch.stack([self.gradient_and_loss[-1], self.grads @ self.grads])

    def _learn_whole(self, x: Tensor, targets: Tensor, goes_on: Tensor, state: Tensor, *masks: Tensor) -> Tensor:
        return self._learn(Placed(x, targets, goes_on), state, masks)

    def _learn(self, batch: Placed, state: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """This process's part of loss and gradient; the state after it. masks: of the outputs, if they have any, and of
        each layer's W_hh."""
        of_outputs, of_weights = (masks[0], masks[1:]) if self.train.dropout else (None, masks)
        self.gradient_and_loss.zero_()
        total, state = self.network.loss(batch, state, of_outputs, of_weights)
        loss = total / self.scored
        loss.backward()
        self.gradient_and_loss[-1] = loss.detach()
        return state

    @by_all
    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step with the gradient times `factor`, and the average after it; moves on to the next
        state."""
        self.optimize(learning_rate, factor, self.step + 1)
        self.state = self.next_state

    def _optimize(self, learning_rate: float, factor: float, number: int) -> None:
        params, moments = self.flat["params"], self.flat["moments"]
        self.grads.mul_(factor)
        if self.train.weight_decay:
            decay(params, learning_rate * self.train.weight_decay, self.is_matrix)
        OPTIMIZERS[self.train.optimizer].update(params, self.grads, moments, number, learning_rate)
        average(self.flat["average"], params, number)

    def validate(self, reading: Pass) -> Array:
        """The mean loss of the averaged parameters over a pass, and behind it the means of the loss's tally."""
        total = np.zeros(self.architecture.sums)
        for step in range(reading.steps):
            total += self.score(step, reading.batch(step))
        return total / reading.predictions

    @by_all
    def score(self, step: int, batch: Batch) -> Array:
        """The sums of the averaged parameters over all streams of a batch of a pass, which step 0 begins."""
        if step == 0:
            self.pass_state = self._zero_state()
        with torch.no_grad():
            sums, self.pass_state = self.averaged.sums(self._placed(batch), self.pass_state)
        return self._summed(sums).cpu().double().numpy()  # type: ignore[no-any-return]

    def _zero_state(self) -> Tensor:
        return self.empty.new_zeros(self.architecture.state_shape(self.rows.stop - self.rows.start))

    def _placed(self, batch: Batch) -> Placed:
        """This process's streams of it, on its device."""
        return Placed.of(batch.streams(self.rows), self.device, self.empty.dtype)

    def _summed(self, tensor: Tensor) -> Tensor:
        """Added up over the processes, in its place."""
        if self.processes > 1:
            add_up(tensor)
        return tensor


def follow() -> None:
    """The life of a process of torchrun other than the first: does what that one does with its team, until it ends."""
    join()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the first one saves, and then says that it is over
    architecture, train, dtype = broadcast()
    team = TorchTeam(architecture, train, dtype, distributed.get_world_size(), distributed.get_rank())
    while (told := broadcast()) is not None:
        work, arguments, named = told
        getattr(team, work)(*arguments, **named)
    distributed.destroy_process_group()
