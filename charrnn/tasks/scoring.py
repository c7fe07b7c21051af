"""What a network makes of whole records, many at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records, WindowPass, Windows
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, NewNetwork
from charrnn.nn.arrays import Array

BATCH_STEPS = 1 << 15  # steps at once, in windows as long as the longest record
MAX_STREAMS = 128


def scored_outputs(
    architecture: Architecture, flat: Array, records: Records, new_network: NewNetwork = Network
) -> Array:
    """The outputs (S, V) of all scored steps, in the order of the records."""
    place = np.cumsum(records.weights) - 1
    outputs = np.empty((int(records.weights.sum()), architecture.output_size), flat.dtype)
    for network, state, batch, places in _batches(architecture, flat, records, new_network):
        for rows, _, its_outputs in network.outputs(batch, state):
            outputs[place[places.ravel()[rows]]] = its_outputs
    return outputs


def mean_loss(architecture: Architecture, flat: Array, records: Records, new_network: NewNetwork = Network) -> float:
    """Of all scored steps."""
    batches = _batches(architecture, flat, records, new_network)
    total = sum(network.sums(batch, state)[0] for network, state, batch, _ in batches)
    return float(total) / max(1, int(records.weights.sum()))


def _batches(
    architecture: Architecture, flat: Array, records: Records, new_network: NewNetwork
) -> Iterator[tuple[Network, Array, Batch, Array]]:
    """A network, a zero state, a batch, and which step of the records stands where in it (T, B)."""
    windows = Windows(records, max(1, int(records.lengths.max(initial=0))))
    streams = max(1, min(MAX_STREAMS, BATCH_STEPS // windows.seq_length, windows.number))
    reading = WindowPass(windows, streams)
    network = new_network(architecture, flat, streams, windows.seq_length)
    for step in range(reading.steps):
        state = np.zeros(architecture.state_shape(streams), flat.dtype)
        yield network, state, reading.batch(step), reading.places(step)
