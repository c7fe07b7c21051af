"""The loss of a text in nats per character.

A long text is divided among several readers, which are the streams of a batch. Every prediction is scored once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from charrnn.engines.base import Backend
from charrnn.models.architecture import Architecture
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.tasks.language.streams import NO_STARTS, TextPass

MAX_READERS = 64
MIN_READER_LENGTH = 1024  # characters per reader; a shorter text has one reader
SEQ_LENGTH = 64  # time steps per batch


class TextScoring(NamedTuple):
    """The batches of a text, and the network that scores them."""

    text_pass: TextPass
    network: ScoringNetwork
    state: Array  # the initial state, zero


def text_metrics(nats: Array) -> dict[str, Any]:
    """Computes the metrics of `charrnn eval` for a text from the nats of its characters."""
    loss = float(nats.mean(dtype=np.float64))
    return {"chars": len(nats), "loss": loss, "bpc": bits(loss), "perplexity": math.exp(min(loss, 700))}


def prepare_scoring(
    backend: Backend,
    architecture: Architecture,
    parameters: Array,
    ids: Array,
    record_end: int | None,
    file_starts: Array = NO_STARTS,
) -> TextScoring:
    """Divides a text among readers. Returns its batches and a network that scores them.

    record_end, file_starts: where the state is reset, see TextStream.
    """
    readers = max(1, min(MAX_READERS, (len(ids) - 1) // MIN_READER_LENGTH))
    network = backend.network(architecture, parameters, readers, SEQ_LENGTH)
    text_pass = TextPass(ids, readers, SEQ_LENGTH, record_end, file_starts)
    return TextScoring(text_pass, network, network.zero_state(readers))


def text_nats(
    backend: Backend,
    architecture: Architecture,
    parameters: Array,
    ids: Array,
    record_end: int | None = None,
    file_starts: Array = NO_STARTS,
) -> Array:
    """The nats of each prediction ids[1:], in the order of the text. record_end, file_starts: see TextStream."""
    text_pass, network, state = prepare_scoring(backend, architecture, parameters, ids, record_end, file_starts)
    nats = np.empty(text_pass.pairs, parameters.dtype)
    for step in range(text_pass.steps):
        losses = network.losses(text_pass.batch(step), state)
        places = text_pass.places(step)
        nats[places[places >= 0]] = losses[places >= 0]
    return nats
