"""The decoder of an encoder-decoder network, one time step at a time.

N sources, K streams for each source (hypotheses of a beam search), S source steps, E width of the memory,
H hidden size, V outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.corpus.batch import Source
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.attention import MASKED
from charrnn.nn.parameters import named_views
from charrnn.nn.stepper import Stepper


class SourceStepper:
    """Encodes the sources, then reads one symbol of each of the N K streams at a time.

    See engines.base.DecoderStepper.
    """

    def __init__(self, architecture: Architecture, flat: Array, source: Source, streams_per_source: int) -> None:
        named = named_views(architecture.specs(), flat)
        self.head_weight = named["head.weight"]
        self.head_bias = named["head.bias"]
        self.attends = architecture.attends
        self.K = streams_per_source
        self.alignment: Array | None = None  # (N, K, S), the attention weights of the last step
        num_sources = len(source.lengths)
        network = Network(architecture, flat, num_sources, 1, source_length=len(source.x))
        state = np.zeros(architecture.state_shape(num_sources), flat.dtype)
        memory = network.encode(source, state)
        weights = layer_weights(named, architecture.num_layers)
        embedding = named.get("embedding.weight")
        streams = num_sources * self.K
        reader_weight = self.head_weight
        reader_bias = self.head_bias
        if self.attends:
            # The stepper computes two products with h: the query, and the part of W_c [c; h] + b_c without the context.
            width = architecture.memory_width
            self.context_weight = np.ascontiguousarray(named["combine.weight"][:, :width].T)  # (E, H)
            reader_weight = np.concatenate([named["attention.weight"], named["combine.weight"][:, width:]])
            reader_bias = np.concatenate([np.zeros(width, flat.dtype), named["combine.bias"]])
            self.memory = np.ascontiguousarray(memory.swapaxes(0, 1))  # (N, S, E)
            self.keys = np.ascontiguousarray(memory.transpose(1, 2, 0))  # (N, E, S)
            self.padding = np.where(source.is_step.T[:, None], 0, MASKED).astype(flat.dtype)  # (N, 1, S)
        self.stepper = Stepper(architecture.cell, weights, reader_weight, reader_bias, streams, embedding)
        self.stepper.restore(np.repeat(state, self.K, axis=2))

    def step(self, ids: Sequence[int] | Array) -> Array:
        return self._outputs(self.stepper.step(ids))

    def select_streams(self, rows: Array) -> None:
        """Replaces the state of each stream n with the state of stream rows[n], which has the same source."""
        self.stepper.select_streams(rows)

    def _outputs(self, read: Array) -> Array:
        """The products with h (N K, E + H) -> the outputs (N K, V). Without attention, `read` contains the outputs."""
        if not self.attends:
            return read
        num_sources, _, width = self.memory.shape
        query = read[:, :width].reshape(num_sources, self.K, width)
        scores = np.matmul(query, self.keys)
        scores += self.padding
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        self.alignment = scores
        context = np.matmul(scores, self.memory).reshape(-1, width)
        y = context @ self.context_weight
        y += read[:, width:]
        np.tanh(y, out=y)
        outputs: Array = y @ self.head_weight.T
        outputs += self.head_bias
        return outputs
