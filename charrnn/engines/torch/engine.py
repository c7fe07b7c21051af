"""The PyTorch engine, for one device or, under torchrun, for several.

Each process has a copy of all parameters and computes the gradient of some of the batch's streams. One all-reduce adds
the gradients, and all processes take the same optimizer step. Only the first process has a Trainer. When the Trainer
calls a method of the first process's engine, the other processes call the same method of their own engines.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, Self

import torch
from torch import Tensor, distributed

from charrnn.corpus.batch import Batch, BatchStream
from charrnn.engines.masks import DrawMasks, draw_masks, draw_step_masks
from charrnn.engines.processes import partition, torchrun_variable
from charrnn.engines.torch.device import Graph, draw_masks_on_device, prepare_device, raising_out_of_memory
from charrnn.engines.torch.network import TorchNetwork
from charrnn.engines.torch.packing import DeviceBatch
from charrnn.engines.torch.processes import all_reduce, broadcast, join_group
from charrnn.errors import OutOfMemoryError, WorkerError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.optimizers import OPTIMIZERS, decay_weights, update_average
from charrnn.nn.parameters import matrix_mask
from charrnn.options import ResolvedTraining
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS


def in_all_processes(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a method of TorchEngine: if the first process calls it, all processes call it.

    The method raises WorkerError if another process has died, and OutOfMemoryError if the memory is too small.
    """

    @wraps(method)
    def run(engine: TorchEngine, *arguments: Any, **named: Any) -> Any:
        try:
            if engine.leads:
                broadcast((method.__name__, arguments, named))
            with raising_out_of_memory(engine.train.device):
                return method(engine, *arguments, **named)
        except (WorkerError, OutOfMemoryError):
            engine.is_consistent = False  # the states of the other processes' streams are lost
            raise

    return run


class TorchEngine:
    """See engines.base.Engine."""

    stream: BatchStream
    process_ids: Sequence[int] = ()

    def __init__(
        self,
        architecture: Architecture,
        train: ResolvedTraining,
        dtype: str = "float32",
        processes: int | None = None,
        rank: int = 0,
    ) -> None:
        """processes: the number of processes (default: all of torchrun). rank: the number of this process."""
        self.architecture = architecture
        self.train = train
        self.dtype = dtype
        self.processes = torchrun_variable("WORLD_SIZE", 1) if processes is None else processes
        self.leads = self.processes > 1 and rank == 0
        self.rows = partition(train.batch_size, rank, self.processes)
        self.prepared_step = -1  # the step whose batch is on the device
        self.is_consistent = True

    def __enter__(self) -> Self:
        if self.leads:
            join_group()
            broadcast((self.architecture, self.train, self.dtype))
        self.set_up()
        return self

    def __exit__(self, *_: object) -> None:
        if self.leads:
            if self.is_consistent:
                with contextlib.suppress(WorkerError):
                    broadcast(None)  # ends the other processes
            distributed.destroy_process_group()

    @in_all_processes
    def set_up(self) -> None:
        """Prepares the device and allocates all tensors."""
        architecture = self.architecture
        self.device = prepare_device(self.train)
        # All tensors get their type and device from this one.
        self.empty = torch.zeros(0, dtype=getattr(torch, self.dtype), device=self.device)
        total = architecture.num_parameters
        self.flat = {name: self.empty.new_zeros(total) for name in ("parameters", "average")}
        self.flat["moments"] = self.empty.new_zeros(OPTIMIZERS[self.train.optimizer].num_moments, total)
        self.gradient_and_loss = self.empty.new_zeros(total + 1)  # in one vector, so that one all-reduce is enough
        self.grads = self.gradient_and_loss[:-1]
        self.state = self._zero_state()
        self.network = TorchNetwork(architecture, self.flat["parameters"], self.grads)
        self.averaged_network = TorchNetwork(architecture, self.flat["average"])
        self.is_matrix = matrix_mask(architecture.specs(), torch.empty_like(self.grads))
        self.draw: DrawMasks = draw_masks
        if self.device.type != "cpu":
            self.draw = partial(draw_masks_on_device, device=self.device)
        self.plain_gradient: Callable[..., Tensor] = self._plain_gradient
        self.optimizer_step: Callable[..., None] = self._optimizer_step
        if self.device.type == "cuda":
            self.plain_gradient = Graph(self._plain_gradient, warm_up=True)
            self.optimizer_step = Graph(self._optimizer_step, warm_up=False)

    @property
    def parameters(self) -> Array:
        return self.flat["parameters"].cpu().numpy()  # type: ignore[no-any-return]

    @property
    def average(self) -> Array:
        return self.flat["average"].cpu().numpy()  # type: ignore[no-any-return]

    @in_all_processes
    def tensors(self) -> dict[str, Array]:
        state = self.empty.new_zeros(self.architecture.state_shape(self.train.batch_size))
        state[:, :, self.rows] = self.state
        tensors = {
            "parameters": self.flat["parameters"],
            "moments": self.flat["moments"],
            "state": self._sum_over_processes(state),
        }
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    @in_all_processes
    def load(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if name == "state":
                self.state.copy_(torch.tensor(array[:, :, self.rows]))
            else:
                self.flat[name].copy_(torch.tensor(array))

    def gradient(self, step: int) -> tuple[float, float]:
        """See Engine. While a GPU computes the gradient, the batch of the next step is prepared."""
        if step != self.prepared_step:
            self.prepare(step, self.stream.batch(step))
        self.start_gradient()
        self.prepare(step + 1, self.stream.batch(step + 1))
        loss, squared_norm = self.loss_and_squared_norm.tolist()
        return loss, math.sqrt(squared_norm)

    @in_all_processes
    def prepare(self, step: int, batch: Batch) -> None:
        """Copies the batch and the masks of a step to the device. A GPU may still be computing the previous step."""
        masks = draw_step_masks(self.architecture, self.train, step, self.dtype, self.draw)
        self.masks = [] if masks.outputs is None else [torch.as_tensor(masks.outputs[:, self.rows])]
        self.masks += map(torch.as_tensor, masks.recurrent)
        self.batch = self._to_device(batch)
        self.num_scored = max(1, batch.num_scored)  # a batch without scored steps has loss 0
        self.prepared_step = step

    @in_all_processes
    def start_gradient(self) -> None:
        """Starts the forward and backward pass of the prepared batch. A GPU may not have finished when this returns.

        Sets `loss_and_squared_norm`: the loss of the whole batch, and the squared norm of its gradient.
        """
        self.step = self.prepared_step
        batch = self.batch
        if batch.is_plain:
            self.next_state = self.plain_gradient(batch.x, batch.targets, batch.carry, self.state, *self.masks)
        else:
            self.next_state = self._gradient(batch, self.state, self.masks)
        self._sum_over_processes(self.gradient_and_loss)
        if self.train.clip_value:
            self.grads.clamp_(-self.train.clip_value, self.train.clip_value)
        self.loss_and_squared_norm = torch.stack([self.gradient_and_loss[-1], self.grads @ self.grads])

    def _plain_gradient(self, x: Tensor, targets: Tensor, carry: Tensor, state: Tensor, *masks: Tensor) -> Tensor:
        return self._gradient(DeviceBatch(x, targets, carry), state, masks)

    def _gradient(self, batch: DeviceBatch, state: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """Writes this process's part of the gradient and of the loss. Returns the final state.

        masks: the mask of the layers' outputs, if there is dropout, followed by the masks of W_hh.
        """
        outputs_mask, recurrent_masks = (masks[0], masks[1:]) if self.train.dropout else (None, masks)
        self.gradient_and_loss.zero_()
        total, state = self.network.loss(batch, state, outputs_mask, recurrent_masks)
        loss = total / self.num_scored
        loss.backward()
        self.gradient_and_loss[-1] = loss.detach()
        return state

    @in_all_processes
    def update(self, learning_rate: float, factor: float) -> None:
        self.optimizer_step(learning_rate, factor, self.step + 1)
        self.state = self.next_state

    def _optimizer_step(self, learning_rate: float, factor: float, number: int) -> None:
        parameters = self.flat["parameters"]
        self.grads.mul_(factor)
        if self.train.weight_decay:
            decay_weights(parameters, learning_rate * self.train.weight_decay, self.is_matrix)
        optimizer = OPTIMIZERS[self.train.optimizer]
        optimizer.update(parameters, self.grads, self.flat["moments"], number, learning_rate)
        update_average(self.flat["average"], parameters, number)

    @in_all_processes
    def score(self, step: int, batch: Batch) -> Array:
        if step == 0:
            self.pass_state = self._zero_state()
        with torch.no_grad():
            sums, self.pass_state = self.averaged_network.sums(self._to_device(batch), self.pass_state)
        return self._sum_over_processes(sums).cpu().double().numpy()  # type: ignore[no-any-return]

    def _zero_state(self) -> Tensor:
        return self.empty.new_zeros(self.architecture.state_shape(self.rows.stop - self.rows.start))

    def _to_device(self, batch: Batch) -> DeviceBatch:
        """This process's streams of the batch, on its device."""
        return DeviceBatch.from_batch(batch.select_streams(self.rows), self.device, self.empty.dtype)

    def _sum_over_processes(self, tensor: Tensor) -> Tensor:
        """Replaces the tensor by its sum over all processes, and returns it."""
        if self.processes > 1:
            all_reduce(tensor)
        return tensor


def follow() -> None:
    """Runs a process of torchrun other than the first. It calls each method that the first process calls."""
    join_group()
    for number in (*STOP_SIGNALS, *SAVE_SIGNALS):
        signal.signal(number, signal.SIG_IGN)  # the first process saves the run and then ends the others
    architecture, train, dtype = broadcast()
    engine = TorchEngine(architecture, train, dtype, distributed.get_world_size(), distributed.get_rank())
    while (call := broadcast()) is not None:
        method, arguments, named = call
        getattr(engine, method)(*arguments, **named)
    distributed.destroy_process_group()
