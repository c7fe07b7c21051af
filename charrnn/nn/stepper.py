"""One time step at a time, for sampling: the cells' own equations, with the weights laid out once.

What the first layer takes from a character, one-hot or embedded, is a row of a table. A layer's output h is read twice,
by the layer itself in the next step and by the layer above (or the head) in this one: both products are one, as soon as
h is known, so a step has one product a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn import arrays
from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Weights
from charrnn.nn.stack import CELLS


class Stepper:
    """Layers and head for B streams, T = 1. The one object of `nn` that holds a state: here nothing is ever undone."""

    def __init__(
        self,
        cell: str,
        weights: Sequence[Weights],
        head_weight: Array,
        head_bias: Array,
        batch_size: int,
        embedding: Array | None = None,
    ) -> None:
        kind = CELLS[cell]
        prepared = [_by_slot(kind, w) for w in weights]
        w_x, bias = prepared[0][0], prepared[0][2]
        self.table = np.tile(bias, (len(head_bias) if embedding is None else len(embedding), 1))  # (V, S H)
        self.table[:, : w_x.shape[1]] += w_x if embedding is None else embedding @ w_x
        above = [*((w_x, bias) for w_x, _, bias in prepared[1:]), (head_weight.T, head_bias)]
        self.layers = [
            _Layer(kind, w_h, *reader, batch_size) for (_, w_h, _), reader in zip(prepared, above, strict=True)
        ]

    def reset(self, streams: list[int]) -> None:
        """Back to the zero state for these streams."""
        for layer in self.layers if streams else ():
            for array in (*layer.state, layer.recurrent):
                array[streams] = 0

    def step(self, ids: list[int]) -> Array:
        """One character for each stream -> the next logits (B, V), valid until the next call."""
        x: Array = self.table[ids]
        for layer in self.layers:
            x = layer.step(x)
        return x


class _Layer:
    """One layer, with the weights and the bias (D, M), (M,) of what reads its output above."""

    def __init__(
        self, kind: type[RecurrentLayer], w_h: Array, w_above: Array, bias_above: Array, batch_size: int
    ) -> None:
        hidden, width, above, dtype = len(w_h), len(kind.slots) * len(w_h), w_above.shape[1], w_h.dtype
        self.advance = kind.step
        self.weight = arrays.empty((w_h.shape[1] + above, hidden), dtype).T
        np.concatenate([w_h, w_above], axis=1, out=self.weight)
        # Slots that take nothing from h_prev stand first: they read zeros, which no product overwrites. Those that take
        # no x stand last and read their bias.
        products = arrays.zeros((batch_size, width + above), dtype)
        self.products = products[:, width - w_h.shape[1] :]
        self.recurrent, self.raw = products[:, :width], products[:, width:]
        self.output = arrays.empty((batch_size, len(bias_above)), dtype)
        self.output[...] = bias_above
        self.bias, self.fed = bias_above[:above], self.output[:, :above]
        self.a = arrays.empty((batch_size, width), dtype)
        self.gates = self.a.reshape(batch_size, -1, hidden).swapaxes(0, 1)
        self.state = tuple(arrays.zeros((kind.num_states, batch_size, hidden), dtype))
        self.saved = tuple(arrays.empty((kind.num_saved, batch_size, hidden), dtype))
        self.scratch = arrays.empty((batch_size, hidden), dtype)

    def step(self, x: Array) -> Array:
        """x (B, S H), its biases added -> the same for the layer above, or the logits (B, V)."""
        np.add(x, self.recurrent, out=self.a)
        self.advance(self.gates, self.state, self.state, self.saved, self.scratch)
        np.matmul(self.state[0], self.weight, out=self.products)
        np.add(self.raw, self.bias, out=self.fed)
        return self.output


def _by_slot(kind: type[RecurrentLayer], weights: Weights) -> tuple[Array, Array, Array]:
    """A layer's W_ih (D, n H) and W_hh (H, m H) for the slots that they feed, and all slots' bias (S H,), scaled."""
    w_ih, w_hh, b_ih, b_hh = (w.reshape(kind.gates, -1, *w.shape[1:]) for w in weights)
    fed_x = [(slot.x_gate, slot.scale) for slot in kind.slots if slot.x_gate is not None]
    fed_h = [(slot.h_gate, slot.scale) for slot in kind.slots if slot.h_gate is not None]
    w_x = np.concatenate([w_ih[gate].T * scale for gate, scale in fed_x], axis=1)
    w_h = np.concatenate([w_hh[gate].T * scale for gate, scale in fed_h], axis=1)
    bias = np.zeros((len(kind.slots), *b_ih.shape[1:]), b_ih.dtype)
    bias[: len(fed_x)] += [b_ih[gate] * scale for gate, scale in fed_x]
    bias[-len(fed_h) :] += [b_hh[gate] * scale for gate, scale in fed_h]
    return w_x, w_h, bias.ravel()
