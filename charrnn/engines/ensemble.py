"""An ensemble: several trained networks, its members, whose probabilities or predicted numbers are averaged.

The members read the same inputs and have the same outputs. Their cells and sizes may differ. The state of an ensemble
(1, 1, B, N) contains for each stream the N values of the states (L, num_states, B, H) of all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from charrnn.corpus.batch import Batch, Source
from charrnn.engines.base import Backend, DecoderStepper, Stepper
from charrnn.models.architecture import Architecture
from charrnn.models.network import Rows, ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.losses import log_softmax

Member = tuple[Architecture, Array]  # an architecture and its flat parameters


class EnsembleBackend:
    """See engines.base.Backend.

    Each method runs all members. It ignores `flat` and reads only the loss of `architecture`.
    """

    def __init__(self, backend: Backend, members: Sequence[Member]) -> None:
        self.backend = backend
        self.members = members

    def network(
        self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int, source_length: int = 0
    ) -> EnsembleNetwork:
        networks = [self.backend.network(*member, batch_size, seq_length, source_length) for member in self.members]
        return EnsembleNetwork(networks)

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> EnsembleStepper:
        steppers = [self.backend.stepper(*member, streams) for member in self.members]
        return EnsembleStepper(steppers, _mean_function(architecture))

    def decoder(
        self, architecture: Architecture, flat: Array, source: Source, streams_per_source: int
    ) -> EnsembleDecoderStepper:
        steppers = [self.backend.decoder(*member, source, streams_per_source) for member in self.members]
        return EnsembleDecoderStepper(steppers, _mean_function(architecture))


class EnsembleNetwork(ScoringNetwork):
    """Scores batches with all members."""

    def __init__(self, networks: Sequence[ScoringNetwork]) -> None:
        super().__init__(networks[0].architecture)
        self.networks = networks
        self.mean = _mean_function(self.architecture)

    def zero_state(self, streams: int) -> Array:
        return _join([network.zero_state(streams) for network in self.networks])

    def outputs(self, batch: Batch, state: Array) -> Iterator[tuple[Rows, Array]]:
        states = _split(state, [network.zero_state(batch.x.shape[1]) for network in self.networks])
        members = [network.outputs(batch, part) for network, part in zip(self.networks, states, strict=True)]
        # All members yield the same rows, because they have the same number of outputs.
        for parts in zip(*members, strict=True):
            yield parts[0][0], self.mean([outputs for _, outputs in parts])
        state[...] = _join(states)


class EnsembleStepper:
    """See engines.base.Stepper."""

    def __init__(self, steppers: Sequence[Stepper], mean: Callable[[list[Array]], Array]) -> None:
        self.steppers = steppers
        self.mean = mean

    def step(self, ids: Sequence[int] | Array) -> Array:
        return self.mean([stepper.step(ids) for stepper in self.steppers])

    def step_vectors(self, x: Array) -> Array:
        return self.mean([stepper.step_vectors(x) for stepper in self.steppers])

    def reset(self, streams: list[int]) -> None:
        for stepper in self.steppers:
            stepper.reset(streams)

    def state(self) -> Array:
        return _join([stepper.state() for stepper in self.steppers])

    def restore(self, state: Array) -> Array:
        states = _split(state, [stepper.state() for stepper in self.steppers])
        return self.mean([stepper.restore(part) for stepper, part in zip(self.steppers, states, strict=True)])

    def select_streams(self, rows: Array) -> None:
        for stepper in self.steppers:
            stepper.select_streams(rows)


class EnsembleDecoderStepper:
    """See engines.base.DecoderStepper."""

    def __init__(self, steppers: Sequence[DecoderStepper], mean: Callable[[list[Array]], Array]) -> None:
        self.steppers = steppers
        self.mean = mean

    def step(self, ids: Sequence[int] | Array) -> Array:
        return self.mean([stepper.step(ids) for stepper in self.steppers])

    def select_streams(self, rows: Array) -> None:
        for stepper in self.steppers:
            stepper.select_streams(rows)

    @property
    def alignment(self) -> Array | None:
        """The mean attention weights of the members that have attention."""
        alignments = [stepper.alignment for stepper in self.steppers]
        with_attention = [alignment for alignment in alignments if alignment is not None]
        return np.mean(with_attention, axis=0) if with_attention else None


def _mean_function(architecture: Architecture) -> Callable[[list[Array]], Array]:
    """The function that combines the outputs of the members."""
    return _mean_logits if architecture.loss == "softmax" else _mean_numbers


def _mean_logits(outputs: list[Array]) -> Array:
    """The logarithms of the mean probabilities. Their softmax is the mean of the probabilities."""
    total: Array = np.logaddexp.reduce([log_softmax(logits) for logits in outputs])
    total -= np.log(len(outputs))
    return total


def _mean_numbers(outputs: list[Array]) -> Array:
    mean: Array = np.mean(outputs, axis=0)
    return mean


def _join(states: Sequence[Array]) -> Array:
    """States (L, num_states, B, H) of members -> the state (1, 1, B, N) of the ensemble."""
    by_stream = [np.moveaxis(state, 2, 0).reshape(state.shape[2], -1) for state in states]
    return np.concatenate(by_stream, axis=1)[None, None]


def _split(joined: Array, shaped_like: Sequence[Array]) -> list[Array]:
    """The inverse of `_join`."""
    bounds = np.cumsum([0, *(array.size // array.shape[2] for array in shaped_like)]).tolist()
    states = []
    for start, stop, array in zip(bounds[:-1], bounds[1:], shaped_like, strict=True):
        layers, num_states, streams, hidden = array.shape
        part = joined[0, 0, :, start:stop].reshape(streams, layers, num_states, hidden)
        states.append(np.ascontiguousarray(np.moveaxis(part, 0, 2)))
    return states
