"""Runs trained networks with NumPy."""

from __future__ import annotations

from charrnn.corpus.batch import Source
from charrnn.models.architecture import Architecture
from charrnn.models.decoder import SourceStepper
from charrnn.models.network import Network, new_stepper
from charrnn.nn.arrays import Array
from charrnn.nn.stepper import Stepper


class NumpyBackend:
    """See engines.base.Backend."""

    def network(
        self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int, source_length: int = 0
    ) -> Network:
        return Network(architecture, flat, batch_size, seq_length, source_length=source_length)

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> Stepper:
        return new_stepper(architecture, flat, streams)

    def decoder(
        self, architecture: Architecture, flat: Array, source: Source, streams_per_source: int
    ) -> SourceStepper:
        return SourceStepper(architecture, flat, source, streams_per_source)
