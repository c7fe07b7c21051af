"""One time step at a time, for sampling: the cells' own equations with the weights laid out once.

Each layer's two products are one, [x, h_prev] x [W_ih, W_hh]^T; a one-hot input is a row of a table.
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
    """A stack of layers for B streams, T = 1. The only object of `nn` that holds its state, since nothing is undone."""

    def __init__(self, cell: str, weights: Sequence[Weights], batch_size: int, embedding: Array | None = None) -> None:
        kind = CELLS[cell]
        self.layers = [_Layer(kind, w, batch_size, one_hot=n == 0 and embedding is None) for n, w in enumerate(weights)]
        self.embedding = embedding

    def reset(self, which: Array) -> None:
        """Back to the zero state for the streams where which (B,) is True."""
        if which.any():
            for layer in self.layers:
                for array in layer.state:
                    array[which] = 0

    def step(self, ids: Array) -> Array:
        """Ids (B,), one character for each stream -> the top layer's outputs (B, H), valid until the next call."""
        x = ids if self.embedding is None else self.embedding[ids]
        for layer in self.layers:
            x = layer.step(x)
        return x


class _Layer:
    def __init__(self, kind: type[RecurrentLayer], weights: Weights, batch_size: int, *, one_hot: bool) -> None:
        self.advance, slots = kind.step, kind.slots
        hidden, width = weights.w_hh.shape[1], weights.w_ih.shape[1]
        w_ih, w_hh, b_ih, b_hh = (w.reshape(kind.gates, hidden, *w.shape[1:]) for w in weights)
        dtype = weights.w_hh.dtype
        joined = np.zeros((len(slots), hidden, width + hidden), dtype)
        bias = np.zeros((len(slots), hidden), dtype)
        for s, slot in enumerate(slots):
            if slot.x_gate is not None:
                joined[s, :, :width] = w_ih[slot.x_gate] * slot.scale
                bias[s] += b_ih[slot.x_gate] * slot.scale
            if slot.h_gate is not None:
                joined[s, :, width:] = w_hh[slot.h_gate] * slot.scale
                bias[s] += b_hh[slot.h_gate] * slot.scale
        self.table = None
        if one_hot:
            self.table = np.ascontiguousarray((joined[:, :, :width] + bias[:, :, None]).transpose(2, 0, 1))  # (V, S, H)
            joined, width = joined[:, :, width:], 0
        self.bias = bias[:, None]
        self.a = np.empty((len(slots), batch_size, hidden), dtype)
        self.inputs = np.zeros((batch_size, width + hidden), dtype)  # [x, h_prev]
        self.x = self.inputs[:, :width]
        h = self.inputs[:, width:]
        self.state = (h, *(np.zeros_like(h) for _ in range(kind.num_states - 1)))
        self.work = tuple(np.zeros_like(h) for _ in range(kind.num_work))
        self.single = batch_size == 1
        if self.single:
            self.matrix = np.ascontiguousarray(joined.reshape(-1, joined.shape[2]))  # (S H, D + H)
            self.vector, self.flat_a = self.inputs[0], self.a.reshape(-1)
        else:
            self.matrix = np.ascontiguousarray(joined.transpose(0, 2, 1))  # (S, D + H, H)

    def step(self, x: Array) -> Array:
        if self.table is None:
            self.x[...] = x
        if self.single:
            np.dot(self.matrix, self.vector, out=self.flat_a)
        else:
            np.matmul(self.inputs, self.matrix, out=self.a)
        a = self.a
        a += self.bias if self.table is None else self.table[x].swapaxes(0, 1)
        self.advance(a, self.state, self.state, self.work)
        return self.state[0]
