"""Transfer of parameters from one network to another (`--init-from`)."""

from __future__ import annotations

from itertools import count

import numpy as np

from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.seeding import Purpose, random_generator


def initial_parameters(architecture: Architecture, seed: int) -> Array:
    """The flat vector of a new network's parameters."""
    specs = architecture.specs()
    flat = np.empty(count_parameters(specs), np.float32)
    initialise(specs, flat, (random_generator(seed, Purpose.PARAMETERS, n) for n in count()))
    return flat


def transfer_parameters(
    source: dict[str, Array], architecture: Architecture, seed: int, inputs: Array, outputs: Array | None
) -> Array:
    """The flat parameters of `architecture`, copied from a source network as far as possible, otherwise initialised.

    source: named parameters of a network with the same cells and layers.
    inputs: for each input symbol of the source its id in `architecture`. Further symbols of the source are not copied.
    outputs: for each class of the source its index in `architecture`. If None, the heads are not copied.
    """
    flat = initial_parameters(architecture, seed)
    for name, view in named_views(architecture.specs(), flat).items():
        if name.startswith("head."):
            if outputs is not None:
                view[outputs] = source[name]
        elif name == "ngrams.weight":
            if outputs is not None and len(view) == len(source.get(name, ())):
                view[:, outputs] = source[name]
        elif name == "embedding.weight":
            view[inputs] = source[name][: len(inputs)]
        elif name == "rnn.weight_ih_l0" and architecture.reads_one_hot:
            view[:, inputs] = source[name][:, : len(inputs)]
        elif name in source and source[name].shape == view.shape:
            view[...] = source[name]
    return flat
