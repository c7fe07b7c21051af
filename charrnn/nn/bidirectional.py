"""A bidirectional recurrent stack (Schuster & Paliwal 1997) over sequences of different lengths: an encoder.

Each layer consists of two recurrent layers. One reads the sequences forward, the other one reads them backward. Their
outputs are concatenated and form the input of the next layer. Names, shapes and results are those of PyTorch's
nn.LSTM(bidirectional=True) on packed sequences.

The sequences are aligned at their ends: a sequence of length n fills the last n of S steps. Example with S = 4:

    step           0  1  2  3
    length 4       a  b  c  d        read backward:  d  c  b  a
    length 2       -  -  e  f                        -  -  f  e

Therefore both directions of all sequences end at the last step, which yields the final states. A reset mask at the
first step of each sequence clears the state that results from the padding. A single index array reverses the sequences
and also restores their original order.

Shapes: S steps, B streams, D input width, H hidden size of one direction, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn import arrays
from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import LayerWeights
from charrnn.nn.stack import CELLS


class BidirectionalStack:
    """L bidirectional layers for B streams and up to S steps. The buffers are allocated once."""

    def __init__(
        self, cell: str, weights: Sequence[tuple[LayerWeights, LayerWeights]], batch_size: int, seq_length: int
    ) -> None:
        """weights: for each layer, the weights of the forward direction and those of the backward direction."""
        kind = CELLS[cell]
        self.layers = [tuple(kind(w, batch_size, seq_length) for w in pair) for pair in weights]
        self.hidden_size = weights[0][0].w_hh.shape[1]
        self.dtype = weights[0][0].w_hh.dtype
        self.num_states = kind.num_states
        self.batch_size = batch_size
        shape = (seq_length, batch_size, 2 * self.hidden_size)
        self.outputs = [arrays.empty(shape, self.dtype) for _ in weights]  # of each layer

    def set_weights(self, weights: Sequence[tuple[LayerWeights, LayerWeights]]) -> None:
        """Replaces the weights of all layers."""
        for pair, pair_weights in zip(self.layers, weights, strict=True):
            for layer, layer_weights in zip(pair, pair_weights, strict=True):
                layer.weights = layer_weights

    def forward(self, x: Array, lengths: Array, dropout_masks: Array | None = None) -> tuple[Array, Array]:
        """Runs all layers, starting from the zero state.

        x: (S, B, D) aligned at the ends, or ids (S, B) for a one-hot input. lengths: (B,), 0 for an empty stream.
        dropout_masks: (L, B, 2 H), masks that multiply the outputs of each layer.

        Returns the outputs (S, B, 2 H), and the final states of the top layer (2, num_states, B, H): first that of the
        forward direction, then that of the backward direction.
        """
        steps = len(x)
        self.dropout_masks = dropout_masks
        self.reverse = reverse_index(lengths, steps)
        first_step = steps - np.maximum(lengths, 1)  # an empty stream reads one step of padding
        reset_mask = (np.arange(steps)[:, None] == first_step)[:, :, None]
        final = np.zeros((2, self.num_states, self.batch_size, self.hidden_size), self.dtype)
        y = x
        for n, (forward, backward) in enumerate(self.layers):
            final.fill(0)
            out = self.outputs[n][:steps]
            out[:, :, : self.hidden_size] = forward.forward(y, final[0], reset_mask=reset_mask)
            reversed_y = backward.forward(self._turn(y), final[1], reset_mask=reset_mask)
            out[:, :, self.hidden_size :] = self._turn(reversed_y)
            if dropout_masks is not None:
                out *= dropout_masks[n]
            y = out
        return y, final

    def backward(
        self,
        dy: Array,
        dfinal: Array,
        grads: Sequence[tuple[LayerWeights, LayerWeights]],
        dx: Array | None = None,
    ) -> None:
        """The backward pass of the last call of `forward`.

        dy: (S, B, 2 H), the gradient of the outputs; it is overwritten. dfinal: (2, num_states, B, H), the gradient of
        the final states of the top layer. grads: the gradients of the weights are written to these arrays. dx: (S, B,
        D). If given, the gradient of the inputs is written to this array.
        """
        hidden = self.hidden_size
        dstates = dfinal.copy()
        for n in reversed(range(len(self.layers))):
            forward, backward = self.layers[n]
            if self.dropout_masks is not None:
                dy = dy * self.dropout_masks[n]
            width = forward.x.shape[2] if forward.x.ndim == 3 else 0
            needs_input = n > 0 or dx is not None
            dinput = np.empty((*dy.shape[:2], width), self.dtype) if needs_input else None
            dreversed = np.empty_like(dinput) if dinput is not None else None
            forward.backward(np.ascontiguousarray(dy[:, :, :hidden]), dstates[0], grads[n][0], dinput)
            backward.backward(self._turn(dy[:, :, hidden:]), dstates[1], grads[n][1], dreversed)
            if dinput is not None and dreversed is not None:
                dinput += self._turn(dreversed)
                dy = dinput
            dstates = np.zeros_like(dfinal)  # the final states of lower layers are not used
        if dx is not None:
            dx[...] = dy

    def _turn(self, x: Array) -> Array:
        """Reverses the order of the steps of each sequence. x: (S, B, ...)."""
        return x[self.reverse, np.arange(x.shape[1])]


def reverse_index(lengths: Array, steps: int) -> Array:
    """The step of the original sequences for each step of the reversed sequences (S, B). Padding is not moved.

    For S = 4 and lengths 4 and 2 it is [[3, 0], [2, 1], [1, 3], [0, 2]].
    """
    step = np.arange(steps)[:, None]
    start = steps - lengths
    return np.where(step >= start, start + steps - 1 - step, step)
