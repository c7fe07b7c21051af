"""One time step at a time, for sampling: the cells' own equations, with the weights laid out once.

What the first layer takes from a character, one-hot or embedded, is a row of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.nn.recurrent import RecurrentLayer, Weights
from charrnn.nn.stack import CELLS

Array = NDArray[Any]


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
        vocabulary = np.eye(len(head_bias), dtype=head_bias.dtype) if embedding is None else embedding
        self.layers = [_Layer(CELLS[cell], w, batch_size, None if n else vocabulary) for n, w in enumerate(weights)]
        self.head = _Product(head_weight[None], batch_size)
        self.head_bias = head_bias
        self.logits = np.empty((1, batch_size, len(head_bias)), head_bias.dtype)

    def reset(self, streams: list[int]) -> None:
        """Back to the zero state for these streams."""
        for layer in self.layers if streams else ():
            for array in layer.state:
                array[streams] = 0

    def step(self, ids: list[int]) -> Array:
        """One character for each stream -> the next logits (B, V), valid until the next call."""
        y: Any = ids
        for layer in self.layers:
            y = layer.step(y)
        self.head(y, self.logits)
        self.logits += self.head_bias
        logits: Array = self.logits[0]
        return logits


class _Product:
    """x (B, D) times weights (n, H, D) -> (n, B, H); for one stream a single matrix-vector product."""

    def __init__(self, weights: Array, batch_size: int) -> None:
        self.single = batch_size == 1
        self.weights = weights.reshape(-1, weights.shape[2]) if self.single else weights.transpose(0, 2, 1)
        self.weights = np.ascontiguousarray(self.weights)

    def __call__(self, x: Any, out: Array) -> Array:
        if self.single:
            np.dot(self.weights, x[0], out=out.reshape(-1))
        else:
            np.matmul(x, self.weights, out=out)
        return out


class _Layer:
    """One layer's step. `vocabulary` (V, D) holds every input that the first layer can meet; others take vectors.

    Both products of a step are one, [x, h_prev] x [W_ih, W_hh]^T: a larger product keeps more cores busy. It has blocks
    of zeros where a GRU's slot takes nothing from one of the two.
    """

    def __init__(self, kind: type[RecurrentLayer], weights: Weights, batch_size: int, vocabulary: Array | None) -> None:
        self.advance, slots = kind.step, kind.slots
        hidden, dtype = weights.w_hh.shape[1], weights.w_hh.dtype
        w_ih, w_hh, b_ih, b_hh = (w.reshape(kind.gates, hidden, *w.shape[1:]) for w in weights)
        w_x = np.zeros((len(slots), hidden, w_ih.shape[2]), dtype)
        w_h = np.zeros((len(slots), hidden, hidden), dtype)
        self.bias = np.zeros((len(slots), 1, hidden), dtype)
        for s, slot in enumerate(slots):
            if slot.x_gate is not None:
                w_x[s], self.bias[s] = w_ih[slot.x_gate] * slot.scale, b_ih[slot.x_gate] * slot.scale
            if slot.h_gate is not None:
                w_h[s] = w_hh[slot.h_gate] * slot.scale
                self.bias[s] += b_hh[slot.h_gate] * slot.scale
        self.table: Array | None = None
        if vocabulary is not None:
            self.table = np.ascontiguousarray((vocabulary @ w_x.transpose(0, 2, 1) + self.bias).swapaxes(0, 1))
            w_x = w_x[:, :, :0]
        width = w_x.shape[2]
        self.product = _Product(np.concatenate([w_x, w_h], axis=2), batch_size)
        self.inputs = np.zeros((batch_size, width + hidden), dtype)  # [x, h_prev]
        self.x, h = self.inputs[:, :width], self.inputs[:, width:]
        self.state = (h, *(np.zeros_like(h) for _ in range(kind.num_states - 1)))
        self.saved = tuple(np.zeros_like(h) for _ in range(kind.num_saved))
        self.scratch = np.zeros_like(h)
        self.a = np.empty((len(slots), batch_size, hidden), dtype)

    def step(self, x: Any) -> Array:
        """x: ids if there is a table (V, S, H), else (B, D) -> h (B, H)."""
        if self.table is None:
            self.x[...] = x
            self.product(self.inputs, self.a)
            self.a += self.bias
        else:
            self.product(self.inputs, self.a)
            self.a += self.table[x].swapaxes(0, 1)
        self.advance(self.a, self.state, self.state, self.saved, self.scratch)
        return self.state[0]
