"""The loss of a text, in nats per character: one whole pass with the state carried through.

A long text is read by several streams side by side. Each first reads the WARMUP characters before its own part, so that
it meets its first character in (all but) the state that a single reader would carry there; a text of under
2 * STREAM_LENGTH characters is read by one. Every prediction counts exactly once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.models.language import LanguageModel

Array = NDArray[Any]

MAX_STREAMS, STREAM_LENGTH, WARMUP, SEQ_LENGTH = 64, 1024, 256, 64


def num_streams(length: int) -> int:
    """How many streams read a text of `length` ids."""
    return max(1, min(MAX_STREAMS, (length - 1) // STREAM_LENGTH))


def text_nats(model: LanguageModel, ids: Array, streams: range, total: int, record_end: int | None = None) -> Array:
    """The nats of the predictions ids[1:], those of `streams` out of `total`, in the order of the text.

    `model` has as many streams as `streams`, and room for SEQ_LENGTH steps. record_end: the id that starts each record
    from the zero state.
    """
    pairs = len(ids) - 1
    length = -(-pairs // total)
    warmup = WARMUP if total > 1 else 0
    starts = np.array(streams) * length
    state = np.zeros(model.state_shape(len(streams)), model.named["head.bias"].dtype)
    nats = np.zeros((length, len(streams)), state.dtype)
    for t in range(-warmup, length, SEQ_LENGTH):
        offsets = np.arange(t, min(t + SEQ_LENGTH, length))
        places = starts + offsets[:, None]
        inside = np.clip(places, 0, pairs - 1)
        x = ids[inside]
        keep = places > 0  # the state is zero until the text begins
        if record_end is not None:
            keep &= x != record_end
        loss = model.nats(x, ids[inside + 1], state, None if keep.all() else keep[:, :, None])
        nats[offsets[offsets >= 0]] = loss[offsets >= 0]
    return nats.T.ravel()[: max(0, pairs - starts[0])]


def bits(nats: float | None) -> float | None:
    """Nats -> bits; nothing stays nothing."""
    return None if nats is None else nats / math.log(2)
