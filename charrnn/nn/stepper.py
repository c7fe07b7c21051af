"""A network that computes one time step at a time, for sampling.

The weights are rearranged once, so that each step needs few operations. The equations are those of the cells. Two
things differ from the stack:

1. The products of the first layer with its input are looked up in a table, with one row for each symbol.
2. The output h of a layer is used twice: in the current step by its reader, which is the layer above or the output head
   (h W_reader^T), and in the next step by the layer itself (h W_hh^T). The two weight matrices are stored side by side,
   so that one matrix product computes both.

B streams, D input width, H hidden size, S slots of a cell (see recurrent.py), V symbols or outputs, M width of the
input of a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.nn import arrays
from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import LayerWeights, RecurrentLayer
from charrnn.nn.stack import CELLS


class Stepper:
    """A recurrent stack and a linear head for B streams.

    Unlike `RecurrentStack`, a stepper keeps the network state between calls. Each step overwrites the state.
    """

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
        by_slot = [_weights_by_slot(kind, layer) for layer in weights]
        self.input_weight = by_slot[0].w_x
        self.input_bias = by_slot[0].bias
        # The input of the first layer for each symbol (V, S H). Not used if the inputs are vectors (`step_vectors`).
        self.table = self._project(self.input_weight if embedding is None else embedding @ self.input_weight)
        readers = [*((layer.w_x, layer.bias) for layer in by_slot[1:]), (head_weight.T, head_bias)]
        self.layers = [
            _StepperLayer(kind, layer.w_h, weight, bias, batch_size)
            for layer, (weight, bias) in zip(by_slot, readers, strict=True)
        ]

    def step(self, ids: Sequence[int] | Array) -> Array:
        """Reads one symbol of each stream. Returns the outputs (B, V), which are valid until the next call."""
        return self._step(self.table[ids])

    def step_vectors(self, x: Array) -> Array:
        """Reads one vector (D,) of each stream, x (B, D). Otherwise like `step`."""
        return self._step(self._project(x @ self.input_weight))

    def state(self) -> Array:
        """A copy of the state (L, num_states, B, H), in the format of `RecurrentStack`."""
        return np.stack([np.stack(layer.state) for layer in self.layers])

    def restore(self, state: Array) -> Array:
        """Sets the state (L, num_states, B, H). Returns the outputs (B, V) of this state, valid until the next call."""
        for layer, layer_state in zip(self.layers, state, strict=True):
            for array, values in zip(layer.state, layer_state, strict=True):
                array[...] = values
            outputs = layer.multiply()
        return outputs

    def reset(self, streams: list[int]) -> None:
        """Sets the state of these streams to zero."""
        if not streams:
            return
        for layer in self.layers:
            for array in (*layer.state, layer.recurrent):
                array[streams] = 0

    def select_streams(self, rows: Array) -> None:
        """Replaces the state of each stream n with the state of stream rows[n]."""
        for layer in self.layers:
            for array in (*layer.state, layer.recurrent):
                array[...] = array[rows]

    def _step(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.step(x)
        return x

    def _project(self, products: Array) -> Array:
        """Products with W_ih for n slots (N, n H) -> the input of all slots (N, S H), with the biases."""
        projected = np.tile(self.input_bias, (len(products), 1))
        projected[:, : products.shape[1]] += products
        return projected


class _StepperLayer:
    """One layer, with the weights of its reader (the layer above or the head).

    `products` (B, S H + M) holds both products with h. Slots that do not read h_prev come first and stay zero. For a
    GRU, whose slots are n, r, z and m:

                       n         r         z         m          reader
                  +---------+---------+---------+---------+---------------+
        products  |    0    |          h W_hh^T           |  h W_reader^T |
                  +---------+---------+---------+---------+---------------+
                  |<------------- recurrent ------------->|reader_product |
                            |<-------------- both_products -------------->|

    The next step adds `recurrent` (B, S H) to its input. The output of the layer is `reader_product` (B, M) plus the
    bias of the reader. If the reader is a GRU layer, M is 3 H, because the slot m does not read x and has a bias only:

                       n         r         z         m
                  +---------+---------+---------+---------+
        output    |    reader_product + bias    |  bias   |
                  +---------+---------+---------+---------+

    If the reader is the head, M is V and every output has both terms.
    """

    def __init__(
        self, kind: type[RecurrentLayer], w_h: Array, reader_weight: Array, reader_bias: Array, batch_size: int
    ) -> None:
        H, recurrent_width = w_h.shape
        slots_width = len(kind.slots) * H
        M = reader_weight.shape[1]
        dtype = w_h.dtype
        self.compute_step = kind.step
        self.state = tuple(arrays.zeros((kind.num_states, batch_size, H), dtype))  # (B, H) each
        self.gates_by_stream = arrays.empty((batch_size, slots_width), dtype)  # (B, S H)
        self.gates = self.gates_by_stream.reshape(batch_size, -1, H).swapaxes(0, 1)  # (S, B, H), a view of it
        self.saved = tuple(
            arrays.empty((kind.num_saved, batch_size, H), dtype)
        )  # (B, H) each; only a backward pass would read them
        self.scratch = arrays.empty((batch_size, H), dtype)  # (B, H)

        self.weight = arrays.empty((H, recurrent_width + M), dtype)
        np.concatenate([w_h, reader_weight], axis=1, out=self.weight)
        products = arrays.zeros((batch_size, slots_width + M), dtype)
        self.recurrent = products[:, :slots_width]
        self.reader_product = products[:, slots_width:]
        self.both_products = products[:, slots_width - recurrent_width :]

        self.bias = reader_bias[:M]
        self.output = arrays.empty((batch_size, len(reader_bias)), dtype)
        self.output[...] = reader_bias
        self.output_product = self.output[:, :M]

    def step(self, x: Array) -> Array:
        """Computes one time step. x: (B, S H), the input of the layer, with the biases.

        Returns the input of the layer above, in the same format, or the outputs of the head (B, V).
        """
        np.add(x, self.recurrent, out=self.gates_by_stream)
        self.compute_step(self.gates, self.state, self.state, self.saved, self.scratch)
        return self.multiply()

    def multiply(self) -> Array:
        """Computes both products with h. Returns the output."""
        np.matmul(self.state[0], self.weight, out=self.both_products)
        np.add(self.reader_product, self.bias, out=self.output_product)
        return self.output


class _SlotWeights(NamedTuple):
    """The weights of a layer in the order of its slots, scaled. n slots read x and m slots read h_prev."""

    w_x: Array  # (D, n H)
    w_h: Array  # (H, m H)
    bias: Array  # (S H,)


def _weights_by_slot(kind: type[RecurrentLayer], weights: LayerWeights) -> _SlotWeights:
    w_ih, w_hh, b_ih, b_hh = (array.reshape(kind.num_gates, -1, *array.shape[1:]) for array in weights)
    x_slots = [(slot.x_gate, slot.scale) for slot in kind.slots if slot.x_gate is not None]
    h_slots = [(slot.h_gate, slot.scale) for slot in kind.slots if slot.h_gate is not None]
    bias = np.zeros((len(kind.slots), b_ih.shape[1]), b_ih.dtype)  # (S, H)
    bias[: len(x_slots)] += [b_ih[gate] * scale for gate, scale in x_slots]
    bias[-len(h_slots) :] += [b_hh[gate] * scale for gate, scale in h_slots]
    return _SlotWeights(
        np.concatenate([w_ih[gate].T * scale for gate, scale in x_slots], axis=1),
        np.concatenate([w_hh[gate].T * scale for gate, scale in h_slots], axis=1),
        bias.ravel(),
    )
