"""Layers of one kind of cell, one above the other, with dropout between them and on the top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.gru import GRU
from charrnn.nn.lstm import LSTM
from charrnn.nn.recurrent import RecurrentLayer, Weights
from charrnn.nn.rnn import RNN

CELLS: dict[str, type[RecurrentLayer]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def state_shape(cell: str, num_layers: int, batch_size: int, hidden_size: int) -> tuple[int, int, int, int]:
    """A stack's state: (L, num_states, B, H)."""
    return num_layers, CELLS[cell].num_states, batch_size, hidden_size


class RecurrentStack:
    """L layers for B streams of up to T steps. State in, state out; the work space is allocated once."""

    def __init__(
        self, cell: str, weights: Sequence[Weights], batch_size: int, seq_length: int, *, training: bool
    ) -> None:
        self.layers = [CELLS[cell](w, batch_size, seq_length) for w in weights]
        self.keep: Array | None = None
        self.goes_on: Array | None = None  # (B, 1), where only the first step may start anew
        self.masks: Array | None = None
        self.w_masks: Sequence[Array | None] = ()
        if training:
            self.dropped = [layer.empty(1, seq_length)[0] for layer in self.layers]

    def use(self, weights: Sequence[Weights]) -> None:
        """Computes with other weights from now on."""
        for layer, its_weights in zip(self.layers, weights, strict=True):
            layer.weights = its_weights

    def forward(
        self,
        x: Array,
        state: Array,
        *,
        masks: Array | None = None,
        keep: Array | None = None,
        w_masks: Sequence[Array] = (),
    ) -> Array:
        """x (T, B, D), or ids (T, B) for one-hot input; state (L, num_states, B, H), overwritten with the final one;
        masks (L, B, H) multiply each layer's outputs at every step (variational dropout, Gal & Ghahramani 2016);
        keep (T, B, 1) is 0 where a step starts from the zero state; w_masks, a (G, H) for each layer, multiply W_hh.
        Returns y (T, B, H), valid until the next call."""
        self.goes_on = None
        if keep is not None and keep[1:].all():  # then there is nothing to ask at the other steps
            state *= keep[0]
            self.goes_on, keep = keep[0], None
        self.masks, self.keep, self.inputs = masks, keep, [x]
        self.w_masks = w_masks or [None] * len(self.layers)
        for n, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            y = layer.forward(self.inputs[-1], layer_state, keep, self.w_masks[n])
            if masks is not None:
                y = np.multiply(y, masks[n], out=self.dropped[n][: len(y)])
            self.inputs.append(y)
        return self.inputs[-1]

    def backward(self, dy: Array, dstate: Array, grads: Sequence[Weights], dx: Array | None = None) -> None:
        """Inverts the forward call just before. dy (T, B, H) is the gradient of y, and is overwritten on the way down;
        dstate (L, num_states, B, H) that of the final state, turned into that of the initial one. Writes `grads`,
        and the inputs' gradient to dx (T, B, D) if it is given."""
        for n in reversed(range(len(self.layers))):
            if self.masks is not None:
                dy *= self.masks[n]
            below = dx if n == 0 else dy
            self.layers[n].backward(self.inputs[n], dy, dstate[n], grads[n], self.keep, below, self.w_masks[n])
        if self.goes_on is not None:
            dstate *= self.goes_on
