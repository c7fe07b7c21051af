"""Weights of one network for another: what both know is taken over, what is new starts afresh."""

from __future__ import annotations

import numpy as np

from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import count, initialise, views


def transfer(
    start: dict[str, Array], architecture: Architecture, seed: int, inputs: Array, outputs: Array | None
) -> dict[str, Array]:
    """The parameters of `architecture`, of the same cells and layers as those of `start`.

    inputs, outputs: the places in it of the (first) symbols that `start` reads, and of those that it chooses from;
    without outputs the head is new.
    """
    specs = architecture.specs()
    flat = np.empty(count(specs), np.float32)
    initialise(specs, flat, seed)
    named = views(specs, flat)
    for name, view in named.items():
        if name.startswith("head."):
            if outputs is not None:
                view[outputs] = start[name]
        elif name == "direct.weight":
            if outputs is not None and len(view) == len(start.get(name, ())):
                view[:, outputs] = start[name]
        elif name == "embedding.weight":
            view[inputs] = start[name][: len(inputs)]
        elif name == "rnn.weight_ih_l0" and not architecture.embedding_size and architecture.input == "ids":
            view[:, inputs] = start[name][:, : len(inputs)]
        elif name in start and start[name].shape == view.shape:
            view[...] = start[name]
    return named
