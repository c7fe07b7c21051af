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
from charrnn.nn.recurrent import LayerWeights, RecurrentLayer
from charrnn.nn.stack import CELLS


class Stepper:
    """Layers and head for B streams, T = 1. The one object of `nn` that holds a state: here nothing is ever undone."""

    def __init__(
        self,
        cell: str,
        weights: Sequence[LayerWeights],
        head_weight: Array,
        head_bias: Array,
        batch_size: int,
        embedding: Array | None = None,
    ) -> None:
        kind = CELLS[cell]
        prepared = [_by_slot(kind, w) for w in weights]
        self.w_x, self.bias = prepared[0][0], prepared[0][2]
        # What the first layer takes from each symbol (V, S H); where numbers are read, there are no symbols.
        self.table = self._projected(self.w_x if embedding is None else embedding @ self.w_x)
        above = [*((w_x, bias) for w_x, _, bias in prepared[1:]), (head_weight.T, head_bias)]
        self.layers = [
            _Layer(kind, w_h, *reader, batch_size) for (_, w_h, _), reader in zip(prepared, above, strict=True)
        ]

    def reset(self, streams: list[int]) -> None:
        """Back to the zero state for these streams."""
        for layer in self.layers if streams else ():
            for array in (*layer.state, layer.recurrent):
                array[streams] = 0

    def step(self, ids: Sequence[int] | Array) -> Array:
        """One symbol for each stream -> the next outputs (B, V), valid until the next call."""
        return self._step(self.table[ids])

    def step_vectors(self, x: Array) -> Array:
        """A vector for each stream (B, D) -> the next outputs (B, V), valid until the next call."""
        return self._step(self._projected(x @ self.w_x))

    def state(self) -> Array:
        """A copy of the stack's state (L, num_states, B, H)."""
        return np.stack([np.stack(layer.state) for layer in self.layers])

    def restore(self, state: Array) -> Array:
        """Goes on from a stack's state (L, num_states, B, H); the outputs (B, V) there."""
        for layer, its_state in zip(self.layers, state, strict=True):
            for array, values in zip(layer.state, its_state, strict=True):
                array[...] = values
            outputs = layer.read_out()
        return outputs

    def select_streams(self, rows: Array) -> None:
        """Stream n goes on from the state of stream rows[n]."""
        for layer in self.layers:
            for array in (*layer.state, layer.recurrent):
                array[...] = array[rows]

    def _step(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.step(x)
        return x

    def _projected(self, products: Array) -> Array:
        """Products with W_ih (N, n H), with the biases and a column for the slots that take no x (N, S H)."""
        projected = np.tile(self.bias, (len(products), 1))
        projected[:, : products.shape[1]] += products
        return projected


class _Layer:
    """One layer, with the weights and the bias (D, M), (M,) of what reads its output above."""

    def __init__(
        self, kind: type[RecurrentLayer], w_h: Array, w_above: Array, bias_above: Array, batch_size: int
    ) -> None:
        hidden, width, above, dtype = len(w_h), len(kind.slots) * len(w_h), w_above.shape[1], w_h.dtype
        self.advance = kind.step
        self.weight = arrays.empty((hidden, w_h.shape[1] + above), dtype)
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
        return self.read_out()

    def read_out(self) -> Array:
        """What the state gives to the layer's own next step, and to the layer above (or as outputs)."""
        np.matmul(self.state[0], self.weight, out=self.products)
        np.add(self.raw, self.bias, out=self.fed)
        return self.output


def _by_slot(kind: type[RecurrentLayer], weights: LayerWeights) -> tuple[Array, Array, Array]:
    """A layer's W_ih (D, n H) and W_hh (H, m H) for the slots that they feed, and all slots' bias (S H,), scaled."""
    w_ih, w_hh, b_ih, b_hh = (w.reshape(kind.num_gates, -1, *w.shape[1:]) for w in weights)
    fed_x = [(slot.x_gate, slot.scale) for slot in kind.slots if slot.x_gate is not None]
    fed_h = [(slot.h_gate, slot.scale) for slot in kind.slots if slot.h_gate is not None]
    w_x = np.concatenate([w_ih[gate].T * scale for gate, scale in fed_x], axis=1)
    w_h = np.concatenate([w_hh[gate].T * scale for gate, scale in fed_h], axis=1)
    bias = np.zeros((len(kind.slots), *b_ih.shape[1:]), b_ih.dtype)
    bias[: len(fed_x)] += [b_ih[gate] * scale for gate, scale in fed_x]
    bias[-len(fed_h) :] += [b_hh[gate] * scale for gate, scale in fed_h]
    return w_x, w_h, bias.ravel()
