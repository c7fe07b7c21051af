"""What one process of the second engine does of a training step (see torch_team.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.optim import OPTIMIZERS, average, decay
from charrnn.nn.params import mark_matrices
from charrnn.training.torch_device import Graph, draw_on_device, prepared_device
from charrnn.training.torch_network import Placed, TorchNetwork
from charrnn.training.torch_processes import add_up
from charrnn.training.worker import dropped, portion


class Share:
    """What one process does of a training step: its streams, and all parameters."""

    def __init__(self, architecture: Architecture, train: TrainConfig, dtype: str, rank: int, processes: int) -> None:
        assert train.batch_size and train.seq_length
        self.architecture, self.train = architecture, train
        self.processes, self.rows = processes, portion(train.batch_size, rank, processes)
        self.device = prepared_device(train)
        self.empty = torch.zeros(0, dtype=getattr(torch, dtype), device=self.device)  # what others are made like
        total = architecture.parameters
        self.params, self.average = self.empty.new_zeros(total), self.empty.new_zeros(total)
        self.moments = self.empty.new_zeros(OPTIMIZERS[train.optimizer].moments, total)
        self.gradient_and_loss = self.empty.new_zeros(total + 1)  # in one vector, for one all-reduce
        self.grads = self.gradient_and_loss[:-1]
        self.state = self.zero_state()
        self.network = TorchNetwork(architecture, self.params, self.grads)
        self.averaged = TorchNetwork(architecture, self.average)
        self.is_matrix = mark_matrices(architecture.specs(), torch.empty_like(self.params))
        self.learn_whole: Callable[..., Tensor] = self._learn_whole
        self.optimize: Callable[..., None] = self._optimize
        if self.device.type == "cuda":
            self.learn_whole = Graph(self._learn_whole, warms_up=True)
            self.optimize = Graph(self._optimize, warms_up=False)
        self.drawing: tuple[Any, ...] = (dtype,)  # of masks: on the CPU NumPy's
        if self.device.type != "cpu":
            self.drawing = self.empty.dtype, partial(draw_on_device, device=self.device)

    def zero_state(self) -> Tensor:
        return self.empty.new_zeros(self.architecture.state_shape(self.rows.stop - self.rows.start))

    def load(self, arrays: dict[str, Array]) -> None:
        """Writes over params, average, moments, or the state of all streams."""
        for name, array in arrays.items():
            its = array[:, :, self.rows] if name == "state" else array
            getattr(self, name).copy_(torch.tensor(its))

    def whole_state(self) -> Tensor:
        """The state of all streams."""
        whole = self.empty.new_zeros(self.architecture.state_shape(self.train.batch_size or 0))
        whole[:, :, self.rows] = self.state
        return self._summed(whole)

    def place(self, step: int, batch: Batch) -> None:
        """Puts what the next step needs on the device, which may still be at the step before."""
        masks, w_masks = dropped(self.architecture, self.train, step, *self.drawing)
        self.masks = [] if masks is None else [torch.as_tensor(masks[:, self.rows])]
        self.masks += map(torch.as_tensor, w_masks)
        self.next, self.batch, self.scored = step, self._placed(batch), batch.scored

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
        sums, state = self.network.sums(batch, state, of_outputs, of_weights)
        loss = sums[0] / self.scored
        loss.backward()
        self.gradient_and_loss[-1] = loss.detach()
        return state

    def update(self, learning_rate: float, factor: float) -> None:
        """The optimizer's step, the average after it, and the next state."""
        self.optimize(learning_rate, factor, self.step + 1)
        self.state = self.next_state

    def _optimize(self, learning_rate: float, factor: float, number: int) -> None:
        self.grads.mul_(factor)
        if self.train.weight_decay:
            decay(self.params, learning_rate * self.train.weight_decay, self.is_matrix)
        rule = OPTIMIZERS[self.train.optimizer]
        rule.update(self.params, self.grads, self.moments, number, learning_rate)
        average(self.average, self.params, number)

    def validate(self, step: int, batch: Batch) -> Array:
        """The sums of the averaged parameters over all streams. Step 0 begins a pass."""
        if step == 0:
            self.pass_state = self.zero_state()
        with torch.no_grad():
            sums, self.pass_state = self.averaged.sums(self._placed(batch), self.pass_state)
        return self._summed(sums).cpu().double().numpy()  # type: ignore[no-any-return]

    def _placed(self, batch: Batch) -> Placed:
        """This process's streams of it, on its device."""
        return Placed.of(batch.streams(self.rows), self.device, self.empty.dtype)

    def _summed(self, tensor: Tensor) -> Tensor:
        """Added up over the processes, in its place."""
        if self.processes > 1:
            add_up(tensor)
        return tensor
