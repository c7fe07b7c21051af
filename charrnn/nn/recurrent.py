"""What the three cells share: a layer unrolled over T time steps, forward and backward.

Everything that does not depend on the previous step is one large product over all T: the projection of the inputs
before the loop, the gradients of the weights after it. Only h_prev x W_hh and the gates stay inside the loop, which
each cell writes out with its own equations (rnn.py, lstm.py, gru.py).

Shapes: T time steps, B streams, D input width, H hidden size, V vocabulary. A cell keeps its pre-activations (later
its gates) in S slots, an array (S, T, B, H) in which each slot of each step is contiguous. Slots, not PyTorch's gates,
because a GRU keeps the two halves of its n gate apart, and so that the gates that are treated alike stand together.

A sigmoid is computed as sigma(a) = tanh(a / 2) / 2 + 1/2, so that one tanh serves all gates; the inner 1/2 is the
slot's `scale`, folded into the weights before the loop.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.nn.ops import OneHot

Array = NDArray[Any]
State = tuple[Array, ...]  # arrays (B, H)

CHUNK = 512


class Weights(NamedTuple):
    """A layer's parameters, or their gradients; G = gates x H. Named and shaped as in PyTorch."""

    w_ih: Array  # (G, D)
    w_hh: Array  # (G, H)
    b_ih: Array  # (G,)
    b_hh: Array  # (G,)


class Slot(NamedTuple):
    """Which of PyTorch's gates feed a slot (None: that half does not), and the factor folded into its weights."""

    x_gate: int | None
    h_gate: int | None
    scale: float


def row_chunks(rows: int) -> list[slice]:
    """Slices of at most CHUNK rows: what is added to a product is then still in the cache."""
    return [slice(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]


def blocks(batch_size: int, hidden_size: int) -> int:
    """Into how many column blocks W_hh is cut for h_prev x W_hh.

    OpenBLAS multiplies without repacking when rows x inner x columns is below 10^6, which is up to 1.8 times as fast;
    about half of that was the best size for B = 16-64, H = 128-512. A rule, not a race: the same bits on every start.
    """
    for k in range(1, hidden_size // 16 + 1):
        if hidden_size % k == 0 and batch_size * hidden_size * (hidden_size // k) <= 600_000:
            return k
    return 1


class RecurrentLayer:
    """A layer's work space for B streams and up to T steps. Between calls it holds no state of the network:
    `forward` takes a state and returns one; `backward` inverts the forward call just before it."""

    slots: ClassVar[tuple[Slot, ...]]
    gates: ClassVar[int]
    num_states: ClassVar[int] = 1  # arrays (B, H) in a state: h, and c for an LSTM
    num_work: ClassVar[int] = 0  # arrays (B, H) that `step` works in

    def __init__(self, weights: Weights, batch_size: int, seq_length: int) -> None:
        self.weights = weights
        self.T, self.B, self.H = seq_length, batch_size, weights.w_hh.shape[1]
        self.dtype = weights.w_hh.dtype
        self.a = self.empty(len(self.slots))  # (S, T, B, H)
        self.h = np.empty((self.T + 1, self.B, self.H), self.dtype)
        self.h_in: Array = self.h[:-1]  # what each step reads: h of the step before, zeroed where a record starts
        k = blocks(self.B, self.H)
        packed = (self.gates, k, self.H, self.H // k)
        self.w_forward, self.w_backward = np.empty(packed, self.dtype), np.empty(packed, self.dtype)
        self.product = np.empty((self.gates, self.B, self.H), self.dtype)  # h_prev x W_hh of one step
        self.product_blocks = self.product.reshape(self.gates, self.B, k, -1).transpose(0, 2, 1, 3)

    def empty(self, *lead: int) -> Array:
        """A buffer (*lead, T, B, H)."""
        return np.empty((*lead, self.T, self.B, self.H), self.dtype)

    @staticmethod
    def step(a: Array, last: State, new: State, work: State) -> None:
        """One time step: pre-activations a (S, B, H), turned into gates, and the last state -> the new state (which may
        be the last one's arrays)."""
        raise NotImplementedError

    def recur(self, steps: int, state: Array, keep: Array | None) -> None:
        """The loop over time. Turns a[:, :steps] into gates and fills h[1:]."""
        raise NotImplementedError

    def recur_backward(self, dy: Array, dstate: Array, da: Array, keep: Array | None) -> None:
        """The loop back. Fills da (S, T, B, H); turns dstate into the gradient of the initial state."""
        raise NotImplementedError

    def final_state(self, steps: int) -> tuple[Array, ...]:
        return (self.h[steps],)

    def forward(self, x: Array, state: Array, keep: Array | None = None) -> Array:
        """x (T, B, D), or ids (T, B) for one-hot input; state (num_states, B, H), overwritten with the final state;
        keep (T, B, 1) is 0 where a step starts from the zero state, else 1. Returns y (T, B, H), valid until the
        next call."""
        steps = len(x)
        self._pack(forward=True)
        self._project(x)
        if keep is not None and self.h_in.base is self.h:
            self.h_in = self.empty()
        elif keep is None:
            self.h_in = self.h[:-1]
        self.h[0] = state[0]
        self.recur(steps, state, keep)
        for target, final in zip(state, self.final_state(steps), strict=True):
            target[...] = final
        return self.h[1 : steps + 1]

    def backward(
        self,
        x: Array,
        dy: Array,
        dstate: Array,
        grads: Weights,
        da: Array,
        keep: Array | None = None,
        dx: Array | None = None,
    ) -> None:
        """dy (T, B, H) and dstate (num_states, B, H) are the gradients of y and of the final state. Writes `grads`;
        turns dstate into the initial state's gradient; writes the inputs' gradient to dx (T, B, D) if it is given.
        da (S, T, B, H) is work space."""
        steps = len(x)
        self._pack(forward=False)
        da = da[:, :steps]
        self.recur_backward(dy, dstate, da, keep)
        rows = steps * self.B
        h_in, ones = self.h_in[:steps].reshape(rows, self.H), np.ones(rows, self.dtype)
        one_hot = OneHot(x.ravel(), self.dtype) if x.ndim == 2 else None
        w_ih, w_hh, b_ih, b_hh = map(self._by_gate, grads)
        for slot, da_slot in zip(self.slots, da, strict=True):
            d = da_slot.reshape(rows, self.H)
            dbias = ones @ d
            if slot.h_gate is not None:
                np.matmul(d.T, h_in, out=w_hh[slot.h_gate])
                b_hh[slot.h_gate] = dbias
            if slot.x_gate is not None:
                b_ih[slot.x_gate] = dbias
                if one_hot is None:
                    np.matmul(d.T, x.reshape(rows, -1), out=w_ih[slot.x_gate])
                else:
                    one_hot.sum_rows(d, out=w_ih[slot.x_gate].T)
        if dx is not None:
            self._project_backward(da, dx.reshape(rows, -1))

    def _by_gate(self, array: Array) -> Array:
        """(G, ...) -> (gates, H, ...), a view."""
        return array.reshape(self.gates, self.H, *array.shape[1:])

    def _project(self, x: Array) -> None:
        """a[slot] = scale x (x W_ih^T + the biases), over all T at once; a row gather for one-hot input."""
        rows = x.shape[0] * self.B
        w_ih, _, b_ih, b_hh = map(self._by_gate, self.weights)
        if x.ndim == 2:
            unique, place = np.unique(x, return_inverse=True)
        for slot, a in zip(self.slots, self.a, strict=True):
            flat = a.reshape(-1, self.H)[:rows]
            bias = np.zeros(self.H, self.dtype)
            if slot.x_gate is not None:
                bias += b_ih[slot.x_gate]
            if slot.h_gate is not None:
                bias += b_hh[slot.h_gate]
            bias *= slot.scale
            if slot.x_gate is None:
                flat[...] = bias
            elif x.ndim == 2:
                table = w_ih[slot.x_gate].T[unique] * slot.scale
                table += bias
                np.take(table, place.ravel(), axis=0, out=flat, mode="clip")
            else:
                inputs, weight = x.reshape(rows, -1), w_ih[slot.x_gate] * slot.scale
                for part in row_chunks(rows):
                    np.matmul(inputs[part], weight.T, out=flat[part])
                    flat[part] += bias

    def _project_backward(self, da: Array, dx: Array) -> None:
        """dx (rows, D) = sum over slots of da[slot] W_ih[gate]."""
        w_ih = self._by_gate(self.weights.w_ih)
        pairs = [(d.reshape(dx.shape[0], -1), slot.x_gate) for d, slot in zip(da, self.slots, strict=True)]
        (first, gate), *others = [(d, gate) for d, gate in pairs if gate is not None]
        product = np.empty((CHUNK, dx.shape[1]), self.dtype)
        for part in row_chunks(len(dx)):
            np.matmul(first[part], w_ih[gate], out=dx[part])
            for d, other in others:
                dx[part] += np.matmul(d[part], w_ih[other], out=product[: part.stop - part.start])

    def _pack(self, *, forward: bool) -> None:
        """Lay W_hh out for the loop: (gates, k, H, H/k), the gates in the order of the slots."""
        w_hh = self._by_gate(self.weights.w_hh)
        k = self.w_forward.shape[1]
        recurrent = [slot for slot in self.slots if slot.h_gate is not None]
        for n, slot in enumerate(recurrent):
            gate = w_hh[slot.h_gate]
            if forward:
                np.multiply(gate.reshape(k, -1, self.H).transpose(0, 2, 1), slot.scale, out=self.w_forward[n])
            else:
                self.w_backward[n] = gate.reshape(self.H, k, -1).transpose(1, 0, 2)

    def times_w_hh(self, h_prev: Array) -> Array:
        """h_prev (B, H) -> scale x h_prev W_hh^T, a slot each (gates, B, H)."""
        np.matmul(h_prev, self.w_forward, out=self.product_blocks)
        return self.product

    def back_through_w_hh(self, da: Array, dh: Array) -> None:
        """dh (B, H) = sum over the recurrent slots of da W_hh; da (gates, B, H)."""
        np.matmul(da[:, None], self.w_backward, out=self.product_blocks)
        np.add.reduce(self.product, axis=0, out=dh)
