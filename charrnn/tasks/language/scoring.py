"""The loss of a text, in nats per character: one whole pass with the state carried through.

A long text is read by several readers side by side, a short one by one; every prediction counts exactly once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, NewNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.tasks.language.streams import TextPass

MAX_READERS, READER_LENGTH, SEQ_LENGTH = 64, 1024, 64


def text_metrics(nats: Array) -> dict[str, Any]:
    """What `charrnn eval` says of a text, from the nats of its characters."""
    loss = float(nats.mean(dtype=np.float64))
    return {"chars": len(nats), "loss": loss, "bpc": bits(loss), "perplexity": math.exp(min(loss, 700))}


def reading_of(
    architecture: Architecture, flat: Array, ids: Array, record_end: int | None, new_network: NewNetwork = Network
) -> tuple[TextPass, Network, Array]:
    """What reads a text from its start to its end: the batches, a network for them, the state before the first."""
    readers = max(1, min(MAX_READERS, (len(ids) - 1) // READER_LENGTH))
    network = new_network(architecture, flat, readers, SEQ_LENGTH)
    state = np.zeros(architecture.state_shape(readers), flat.dtype)
    return TextPass(ids, readers, SEQ_LENGTH, record_end), network, state


def text_nats(
    architecture: Architecture,
    flat: Array,
    ids: Array,
    record_end: int | None = None,
    new_network: NewNetwork = Network,
) -> Array:
    """The nats of each prediction ids[1:], in the order of the text.

    flat: the parameters; record_end: the id after which the state starts from zero.
    """
    reading, network, state = reading_of(architecture, flat, ids, record_end, new_network)
    nats = np.empty(reading.pairs, flat.dtype)
    for step in range(reading.steps):
        losses, places = network.losses(reading.batch(step), state), reading.places(step)
        nats[places[places >= 0]] = losses[places >= 0]
    return nats
