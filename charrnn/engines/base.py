"""The interfaces of an engine: what trains a network, and what computes with a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from charrnn.corpus.batch import BatchPass, BatchStream
from charrnn.models.architecture import Architecture
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.options import ResolvedTraining


class Engine(Protocol):
    """Computes gradients and updates, for one run. Use as a context manager.

    It reads the batches itself, so that it can prepare the next one while a step is computed.
    """

    architecture: Architecture
    train: ResolvedTraining
    stream: BatchStream  # the training batches; set it before the first step
    is_consistent: bool  # whether parameters, moments and state belong to the same step

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def parameters(self) -> Array:
        """The flat parameters after the last step."""

    @property
    def average(self) -> Array:
        """Their running average, flat: what is validated, saved and used."""

    def tensors(self) -> dict[str, Array]:
        """What a resume needs in addition to the average: parameters, moments and state."""

    def load(self, **arrays: Array) -> None:
        """Overwrites the average and any of `tensors()`."""

    def gradient(self, step: int) -> tuple[float, float]:
        """Computes the gradient of the batch of a step (from 0). Returns the loss and the gradient's L2 norm."""

    def update(self, learning_rate: float, factor: float) -> None:
        """Takes an optimizer step with the gradient x `factor`."""

    def validate(self, validation: BatchPass) -> Array:
        """The mean loss of the averaged parameters over a pass, followed by the means of what the loss counts."""

    @property
    def process_ids(self) -> Sequence[int]:
        """The other processes of the engine on this machine."""


class Stepper(Protocol):
    """A trained network that reads one time step at a time, for B streams. It keeps their state."""

    def step(self, ids: Sequence[int] | Array) -> Array:
        """Reads one symbol of each stream. Returns the outputs (B, V), valid until the next call."""

    def step_vectors(self, x: Array) -> Array:
        """Reads one vector of each stream (B, D), as the first layer takes them. Returns the outputs (B, V)."""

    def reset(self, streams: list[int]) -> None:
        """Sets the state of these streams to zero."""

    def state(self) -> Array:
        """A copy of the state (L, num_states, B, H)."""

    def restore(self, state: Array) -> Array:
        """Continues from a state. Returns the outputs (B, V) at it."""

    def select_streams(self, rows: Array) -> None:
        """Stream n continues from the state of stream rows[n]."""


class Backend(Protocol):
    """Computes with trained networks, on one device."""

    def network(self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int) -> ScoringNetwork:
        """A network that scores batches of up to so many streams and time steps."""

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> Stepper: ...
