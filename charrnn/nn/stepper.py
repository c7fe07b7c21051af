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
    """One layer's step. `vocabulary` (V, D) holds every input that the first layer can meet; others take vectors."""

    def __init__(self, kind: type[RecurrentLayer], weights: Weights, batch_size: int, vocabulary: Array | None) -> None:
        self.advance, hidden, dtype = kind.step, weights.w_hh.shape[1], weights.w_hh.dtype
        w_ih, w_hh, b_ih, b_hh = (w.reshape(kind.gates, hidden, *w.shape[1:]) for w in weights)
        from_x = [(s, slot.x_gate) for s, slot in enumerate(kind.slots) if slot.x_gate is not None]
        from_h = [(s, slot.h_gate) for s, slot in enumerate(kind.slots) if slot.h_gate is not None]
        self.bias = np.zeros((len(kind.slots), 1, hidden), dtype)
        for places, biases in ((from_x, b_ih), (from_h, b_hh)):
            for s, gate in places:
                self.bias[s] += biases[gate] * kind.slots[s].scale
        w_x = np.stack([w_ih[gate] * kind.slots[s].scale for s, gate in from_x])
        w_h = np.stack([w_hh[gate] * kind.slots[s].scale for s, gate in from_h])
        self.a = np.zeros((len(kind.slots), batch_size, hidden), dtype)
        self.a_x, self.a_h = (self.a[places[0][0] : places[-1][0] + 1] for places in (from_x, from_h))
        self.product_x, self.product_h = np.empty_like(self.a_x), np.empty_like(self.a_h)
        self.state = tuple(np.zeros((batch_size, hidden), dtype) for _ in range(kind.num_states))
        self.work = tuple(np.zeros((batch_size, hidden), dtype) for _ in range(kind.num_work))
        self.times_w_h = _Product(w_h, batch_size)
        self.times_w_x, self.table = _Product(w_x, batch_size), None
        if vocabulary is not None:
            table = np.zeros((len(kind.slots), len(vocabulary), hidden), dtype)
            table[[s for s, _ in from_x]] = vocabulary @ w_x.transpose(0, 2, 1)
            self.table = np.ascontiguousarray((table + self.bias).swapaxes(0, 1))  # (V, S, H)
            self.taken = np.empty((batch_size, *self.table.shape[1:]), dtype)
            self.taken_by_slot = self.taken.swapaxes(0, 1)  # (S, B, H)

    def step(self, x: Any) -> Array:
        """x: ids if there is a table, else (B, D) -> h (B, H)."""
        if self.table is not None:
            np.take(self.table, x, axis=0, out=self.taken, mode="clip")
            self.a[...] = self.taken_by_slot
        else:
            self.a[...] = self.bias
            self.a_x += self.times_w_x(x, self.product_x)
        self.a_h += self.times_w_h(self.state[0], self.product_h)
        self.advance(self.a, self.state, self.state, self.work)
        return self.state[0]
