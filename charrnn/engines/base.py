"""The interfaces of the engines. An `Engine` trains a network; a `Backend` runs trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from charrnn.corpus.batch import Batch, BatchStream, Source
from charrnn.models.architecture import Architecture
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.options import ResolvedTraining


class Engine(Protocol):
    """Computes the gradients and updates of one run. Use it as a context manager.

    The engine reads the batches from `stream` itself, so that it can prepare the next batch while it computes a step.
    """

    architecture: Architecture
    train: ResolvedTraining
    stream: BatchStream  # the training batches; to be set before the first step
    is_consistent: bool  # whether parameters, moments and state belong to the same step

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def parameters(self) -> Array:
        """The flat parameters after the last step."""

    @property
    def average(self) -> Array:
        """The flat running average of the parameters. It is validated and saved, and trained models use it."""

    def tensors(self) -> dict[str, Array]:
        """The arrays that a resumed run needs in addition to the average: parameters, moments and state."""

    def load(self, **arrays: Array) -> None:
        """Overwrites some arrays, by name: `average` and those of `tensors()`."""

    def gradient(self, step: int) -> tuple[float, float]:
        """Computes the gradient of a batch. step: counted from 0. Returns the loss and the L2 norm of the gradient.

        The loss and the norm are 0 for a batch without scored steps.
        """

    def update(self, learning_rate: float, factor: float) -> None:
        """Takes an optimizer step with the gradient, multiplied by `factor`."""

    def score(self, step: int, batch: Batch) -> Array:
        """Scores a batch with the averaged parameters. Returns the sums of `ScoringNetwork.sums`.

        step: the number of the batch in its pass. Step 0 starts from the zero state.
        """

    @property
    def process_ids(self) -> Sequence[int]:
        """The ids of the engine's other processes on this machine."""


class Stepper(Protocol):
    """A trained network that reads B streams, one time step at a time, and keeps their state.

    The outputs are those of the linear head. They are valid until the next call.
    """

    def step(self, ids: Sequence[int] | Array) -> Array:
        """Reads one symbol of each stream. Returns the outputs (B, V)."""

    def step_vectors(self, x: Array) -> Array:
        """Reads one input vector of the first layer for each stream (B, D). Returns the outputs (B, V)."""

    def reset(self, streams: list[int]) -> None:
        """Sets the state of some streams to zero."""

    def state(self) -> Array:
        """A copy of the state, in the form that `restore` reads."""

    def restore(self, state: Array) -> Array:
        """Replaces the state. Returns the outputs (B, V) that belong to it."""

    def select_streams(self, rows: Array) -> None:
        """Replaces the state of each stream n with the state of stream rows[n]."""


class DecoderStepper(Protocol):
    """The decoder of a trained network, one time step at a time, for K streams of each of N sources."""

    def step(self, ids: Sequence[int] | Array) -> Array:
        """Reads one symbol of each stream. Returns the outputs (N K, V), valid until the next call."""

    def select_streams(self, rows: Array) -> None:
        """Replaces the state of each stream n with the state of stream rows[n], which has the same source."""

    @property
    def alignment(self) -> Array | None:
        """The attention weights (N, K, S) of the last step; None without attention."""


class Backend(Protocol):
    """Runs trained networks on one device. flat: the vector of all parameters."""

    def network(
        self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int, source_length: int = 0
    ) -> ScoringNetwork:
        """A network that scores batches of up to `batch_size` streams and `seq_length` time steps.

        source_length: the largest number of source steps.
        """

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> Stepper:
        """A stepper in the zero state."""

    def decoder(
        self, architecture: Architecture, flat: Array, source: Source, streams_per_source: int
    ) -> DecoderStepper:
        """A decoder that has read the sources, but no symbol yet."""
