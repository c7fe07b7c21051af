"""The encoder of an encoder-decoder network: source -> bidirectional stack -> memory and initial decoder state.

S source steps, B streams, E width of the memory, H hidden size and L layers of the decoder.
"""

from __future__ import annotations

import numpy as np

from charrnn.corpus.batch import Source
from charrnn.models.architecture import Architecture
from charrnn.nn import ops
from charrnn.nn.arrays import Array
from charrnn.nn.bidirectional import BidirectionalStack
from charrnn.nn.recurrent import LayerWeights

NamedArrays = dict[str, Array]


def encoder_weights(named: NamedArrays, num_layers: int) -> list[tuple[LayerWeights, LayerWeights]]:
    """The weights of both directions of each layer."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def direction(layer: int, suffix: str) -> LayerWeights:
        return LayerWeights(*(named[f"encoder.{kind}_l{layer}{suffix}"] for kind in kinds))

    return [(direction(layer, ""), direction(layer, "_reverse")) for layer in range(num_layers)]


class Encoder:
    """Encodes the sources of a batch. `backward` is the backward pass of the last call of `forward`."""

    def __init__(self, architecture: Architecture, named: NamedArrays, batch_size: int, source_length: int) -> None:
        self.architecture = architecture
        weights = encoder_weights(named, architecture.num_layers)
        self.stack = BidirectionalStack(architecture.cell, weights, batch_size, source_length)

    def set_parameters(self, named: NamedArrays) -> None:
        """Replaces the parameters."""
        self.stack.set_weights(encoder_weights(named, self.architecture.num_layers))

    def forward(self, named: NamedArrays, source: Source, state: Array, dropout_masks: Array | None = None) -> Array:
        """Returns the memory (S, B, E). Overwrites `state` (L, num_states, B, H) with the decoder's initial state.

        dropout_masks: (L, B, E), masks that multiply the outputs of each layer.
        """
        self.source = source
        embedding = named.get("source_embedding.weight")
        x = source.x if embedding is None else ops.embedding_forward(embedding, source.x)
        memory, final = self.stack.forward(x, source.lengths, dropout_masks)
        self.final = _join_states(final)
        initial = ops.linear_forward(self.final, named["bridge.weight"], named["bridge.bias"])
        layers, num_states, streams, hidden = state.shape
        state[...] = initial.reshape(streams, layers, num_states, hidden).transpose(1, 2, 0, 3)
        return memory

    def backward(self, named: NamedArrays, grads: NamedArrays, dmemory: Array, dstate: Array) -> None:
        """The backward pass of the last call of `forward`. Writes `grads`.

        dmemory: (S, B, E), overwritten. dstate: the gradient of the decoder's initial state.
        """
        streams = dstate.shape[2]
        dinitial = dstate.transpose(2, 0, 1, 3).reshape(streams, -1)
        np.matmul(dinitial.T, self.final, out=grads["bridge.weight"])
        np.sum(dinitial, axis=0, out=grads["bridge.bias"])
        dfinal = _split_states(dinitial @ named["bridge.weight"], self.stack.num_states)
        learns_embedding = "source_embedding.weight" in named
        dx = None
        if learns_embedding:
            width = named["source_embedding.weight"].shape[1]
            dx = np.empty((*self.source.x.shape, width), dmemory.dtype)
        self.stack.backward(dmemory, dfinal, encoder_weights(grads, self.architecture.num_layers), dx)
        if dx is not None:
            ops.embedding_backward(dx, self.source.x, grads["source_embedding.weight"])


def _join_states(final: Array) -> Array:
    """(2, num_states, B, H_e) -> (B, 2 num_states H_e): h forward, c forward, h backward, c backward."""
    return np.ascontiguousarray(final.transpose(2, 0, 1, 3)).reshape(final.shape[2], -1)


def _split_states(joined: Array, num_states: int) -> Array:
    """The inverse of `_join_states`."""
    return np.ascontiguousarray(joined.reshape(len(joined), 2, num_states, -1).transpose(1, 2, 0, 3))
