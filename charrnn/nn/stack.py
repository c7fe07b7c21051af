"""A stack of recurrent layers of one kind, with dropout after each layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.gru import GRU
from charrnn.nn.lstm import LSTM
from charrnn.nn.recurrent import LayerWeights, RecurrentLayer
from charrnn.nn.rnn import RNN

CELLS: dict[str, type[RecurrentLayer]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def state_shape(cell: str, num_layers: int, batch_size: int, hidden_size: int) -> tuple[int, int, int, int]:
    """The shape of a stack's state: (L, num_states, B, H)."""
    return num_layers, CELLS[cell].num_states, batch_size, hidden_size


class RecurrentStack:
    """L recurrent layers for B streams and up to T time steps.

    The buffers are allocated once. Between calls the stack holds no network state: `forward` takes a state and writes
    the next one. A stack with training=False has no buffers for dropout.
    """

    def __init__(
        self, cell: str, weights: Sequence[LayerWeights], batch_size: int, seq_length: int, *, training: bool
    ) -> None:
        self.layers = [CELLS[cell](layer_weights, batch_size, seq_length) for layer_weights in weights]
        self.dropout_masks: Array | None = None
        if training:
            self.dropped = [layer.new_buffer(1, seq_length)[0] for layer in self.layers]  # (T, B, H) each

    def set_weights(self, weights: Sequence[LayerWeights]) -> None:
        """Replaces the weights of all layers."""
        for layer, layer_weights in zip(self.layers, weights, strict=True):
            layer.weights = layer_weights

    def forward(
        self,
        x: Array,
        state: Array,
        *,
        dropout_masks: Array | None = None,
        reset_mask: Array | None = None,
        recurrent_masks: Sequence[Array] = (),
    ) -> Array:
        """Runs all layers over T time steps.

        x: (T, B, D), or ids (T, B) for a one-hot input.
        state: (L, num_states, B, H), overwritten with the final state.
        dropout_masks: (L, B, H), masks that multiply the outputs of each layer. They are the same at every step
            (variational dropout, Gal & Ghahramani 2016).
        reset_mask: bool (T, B, 1), True where a step starts from the zero state.
        recurrent_masks: for each layer a mask (G, H) that multiplies W_hh (DropConnect, Wan et al. 2013; Merity et al.
            2018).

        Returns the outputs of the top layer (T, B, H), which are valid until the next call.
        """
        self.dropout_masks = dropout_masks
        y = x
        for n, layer in enumerate(self.layers):
            recurrent_mask = recurrent_masks[n] if recurrent_masks else None
            y = layer.forward(y, state[n], reset_mask=reset_mask, recurrent_mask=recurrent_mask)
            if dropout_masks is not None:
                y = np.multiply(y, dropout_masks[n], out=self.dropped[n][: len(y)])
        return y

    def backward(self, dy: Array, dstate: Array, grads: Sequence[LayerWeights], dx: Array | None = None) -> None:
        """The backward pass of the last call of `forward`.

        dy: (T, B, H), the gradient of the outputs. It is overwritten.
        dstate: (L, num_states, B, H), the gradient of the final state. It becomes the gradient of the initial state.
        grads: the gradients of the weights are written to these arrays.
        dx: (T, B, D). If given, the gradient of the inputs is written to this array.
        """
        for n in reversed(range(len(self.layers))):
            if self.dropout_masks is not None:
                dy *= self.dropout_masks[n]
            # A layer above the first overwrites dy with the gradient of its inputs, after it has read dy.
            self.layers[n].backward(dy, dstate[n], grads[n], dx if n == 0 else dy)
