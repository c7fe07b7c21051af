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

import itertools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from charrnn.nn import arrays
from charrnn.nn.arrays import Array
from charrnn.nn.ops import OneHot

State = tuple[Array, ...]  # arrays (B, H)

CHUNK_ROWS = 512  # T B of the steps that are projected, run through and undone together, while they are in the cache


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


def blocks(batch_size: int, hidden_size: int) -> int:
    """Into how many column blocks W_hh is cut for h_prev x W_hh.

    OpenBLAS multiplies without repacking when rows x inner x columns is at most 10^6, up to twice as fast; blocks of 64
    columns, then 32 and 16, were best for B = 16-64, H = 128-1024. A rule, not a race: the same bits on every start.
    """
    for columns in (64, 32, 16):
        if hidden_size % columns == 0 and batch_size * hidden_size * columns <= 1_000_000:
            return hidden_size // columns
    return 1


class RecurrentLayer:
    """A layer's work space for B streams and up to T steps. Between calls it holds no state of the network:
    `forward` takes a state and returns one; `backward` inverts the forward call just before it."""

    slots: ClassVar[tuple[Slot, ...]]
    gates: ClassVar[int]
    num_states: ClassVar[int] = 1  # arrays (B, H) in a state: h, and c for an LSTM
    num_saved: ClassVar[int] = 0  # arrays (B, H) that `step` leaves for the way back, besides the gates and the state
    num_scratch: ClassVar[int] = 0  # slots of work space for the way back
    quantity_names: ClassVar[tuple[str, ...]] = ("h",)  # as in the equations; first a unit's activity

    def __init__(self, weights: Weights, batch_size: int, seq_length: int) -> None:
        self.weights, self.w_hh = weights, weights.w_hh  # the second is what of the first is left after DropConnect
        self.masked_w_hh: Array | None = None
        self.T, self.B, self.H = seq_length, batch_size, weights.w_hh.shape[1]
        self.dtype = weights.w_hh.dtype
        self.a = self.empty(len(self.slots), self.T)  # pre-activations, then gates, on the way back their gradients
        self.states = self.empty(self.num_states, self.T + 1)  # before and after each step
        self.states_in: Array = self.states[:, :-1]  # what each step starts from: zero where a record starts
        self.saved = self.empty(self.num_saved, self.T)
        self.chunk = min(self.T, -(-CHUNK_ROWS // self.B))  # steps
        self.scratch = self.empty(max(1, self.num_scratch), self.chunk)
        self.recurrent = [n for n, slot in enumerate(self.slots) if slot.h_gate is not None]
        k = blocks(self.B, self.H)
        packed = (self.gates, k, self.H, self.H // k)
        self.w_forward, self.w_backward = arrays.empty(packed, self.dtype), arrays.empty(packed, self.dtype)
        self.product = arrays.empty((self.gates, self.B, self.H), self.dtype)  # h_prev x W_hh of one step
        self.product_blocks = self.product.reshape(self.gates, self.B, k, -1).transpose(0, 2, 1, 3)

    def empty(self, number: int, steps: int) -> Array:
        """A buffer (number, steps, B, H)."""
        return arrays.empty((number, steps, self.B, self.H), self.dtype)

    @staticmethod
    def step(a: Array, last: State, new: State, saved: State, scratch: Array) -> None:
        """One time step: pre-activations a (S, B, H), turned into gates, and the last state -> the new state (which may
        be the last one's arrays). scratch (B, H)."""
        raise NotImplementedError

    def recur_backward(self, part: slice, dy: Array, dstate: Array, keep: Array | None) -> None:
        """The steps of `part` back. Turns a[:, part] into the pre-activations' gradients, and dstate, the gradient of
        the state after these steps, into that of the state before them."""
        raise NotImplementedError

    def quantities(self) -> tuple[Array, ...]:
        """Those of `quantity_names` as the last forward call left them: each (T, B, H), valid until the next call."""
        return (self.states[0, 1:],)

    def chunks(self, steps: int) -> list[slice]:
        return [slice(start, min(start + self.chunk, steps)) for start in range(0, steps, self.chunk)]

    def forward(self, x: Array, state: Array, keep: Array | None = None, w_mask: Array | None = None) -> Array:
        """x (T, B, D), or ids (T, B) for one-hot input; state (num_states, B, H), overwritten with the final state;
        keep (T, B, 1) is 0 where a step starts from the zero state, else 1; w_mask (G, H) multiplies W_hh (DropConnect:
        Wan et al. 2013, Merity et al. 2018). Returns y (T, B, H), valid until the next call."""
        steps = len(x)
        self.w_hh = self.weights.w_hh if w_mask is None else self._masked(w_mask)
        self._pack(forward=True)
        if keep is None:
            self.states_in = self.states[:, :-1]
        elif np.may_share_memory(self.states_in, self.states):
            self.states_in = self.empty(self.num_states, self.T)
        self.states[:, 0] = state
        project = self._projection(x)
        for part in self.chunks(steps):
            project(part)
            self._recur(part, keep)
        state[...] = self.states[:, steps]
        return self.states[0, 1 : steps + 1]

    def _recur(self, part: slice, keep: Array | None) -> None:
        """The loop over the steps of `part`. Turns a[:, part] into gates and fills the states after them."""
        after = slice(part.start + 1, part.stop + 1)
        steps = [
            array.swapaxes(0, 1)
            for array in (
                self.a[:, part],
                self.a[self.recurrent[0] :, part],
                self.states[:, part],
                self.states_in[:, part],
                self.states[:, after],
                self.saved[:, part],
            )
        ]
        keeps = itertools.repeat(None) if keep is None else keep[part]
        scratch, step = self.scratch[0, 0], self.step
        for a, recurrent, last, start, new, saved, keep_t in zip(*steps, keeps, strict=False):
            if keep_t is not None:
                np.multiply(last, keep_t, out=start)
            recurrent += self.times_w_hh(start[0])
            step(a, start, new, saved, scratch)

    def backward(
        self,
        x: Array,
        dy: Array,
        dstate: Array,
        grads: Weights,
        keep: Array | None = None,
        dx: Array | None = None,
        w_mask: Array | None = None,
    ) -> None:
        """dy (T, B, H) and dstate (num_states, B, H) are the gradients of y and of the final state. Writes `grads`;
        turns dstate into the initial state's gradient; writes the inputs' gradient to dx (T, B, D) if it is given,
        which may be dy."""
        steps = len(x)
        self._pack(forward=False)
        for part in reversed(self.chunks(steps)):
            self.recur_backward(part, dy, dstate, keep)
            if dx is not None:
                self._project_backward(part, dx)
        rows = steps * self.B
        h_in, ones = self.states_in[0, :steps].reshape(rows, self.H), np.ones(rows, self.dtype)
        one_hot = OneHot(x.ravel(), self.dtype) if x.ndim == 2 else None
        w_ih, w_hh, b_ih, b_hh = map(self._by_gate, grads)
        for slot, da in zip(self.slots, self.a[:, :steps], strict=True):
            d = da.reshape(rows, self.H)
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

        if w_mask is not None:
            grads.w_hh[...] *= w_mask

    def _masked(self, w_mask: Array) -> Array:
        """W_hh x w_mask, in a buffer that is made once."""
        if self.masked_w_hh is None:
            self.masked_w_hh = arrays.empty(w_mask.shape, self.dtype)
        return np.multiply(self.weights.w_hh, w_mask, out=self.masked_w_hh)

    def _by_gate(self, array: Array) -> Array:
        """(G, ...) -> (gates, H, ...), a view."""
        return array.reshape(self.gates, self.H, *array.shape[1:])

    def _projection(self, x: Array) -> Callable[[slice], None]:
        """What fills a[slot, part] = scale x (x W_ih^T + the biases), for all steps of a part at once; for one-hot
        input a gather of rows."""
        w_ih, _, b_ih, b_hh = map(self._by_gate, self.weights)
        if one_hot := x.ndim == 2:
            unique, place = np.unique(x, return_inverse=True)
            place = place.reshape(x.shape)
        prepared = []
        for slot in self.slots:
            bias = np.zeros(self.H, self.dtype)
            weight = None
            if slot.h_gate is not None:
                bias += b_hh[slot.h_gate]
            if slot.x_gate is not None:
                bias += b_ih[slot.x_gate]
                columns = w_ih[slot.x_gate].T
                weight = (columns[unique] if one_hot else columns) * slot.scale
            bias *= slot.scale
            prepared.append((weight + bias if one_hot and weight is not None else weight, bias))

        def project(part: slice) -> None:
            for a, (weight, bias) in zip(self.a[:, part], prepared, strict=True):
                flat = a.reshape(-1, self.H)
                if weight is None:
                    flat[...] = bias
                elif one_hot:
                    np.take(weight, place[part].ravel(), axis=0, out=flat, mode="clip")
                else:
                    np.matmul(x[part].reshape(len(flat), -1), weight, out=flat)
                    flat += bias

        return project

    def _project_backward(self, part: slice, dx: Array) -> None:
        """dx[part] (steps, B, D) = sum over the slots of da W_ih."""
        w_ih = self._by_gate(self.weights.w_ih)
        rows = dx[part].reshape(-1, dx.shape[2])
        terms = [(da.reshape(len(rows), -1), slot.x_gate) for da, slot in zip(self.a[:, part], self.slots, strict=True)]
        (first, gate), *others = [(da, gate) for da, gate in terms if gate is not None]
        np.matmul(first, w_ih[gate], out=rows)
        for da, gate in others:
            rows += da @ w_ih[gate]

    def _pack(self, *, forward: bool) -> None:
        """Lay W_hh out for the loop: (gates, k, H, H/k), the gates in the order of the slots."""
        w_hh = self._by_gate(self.w_hh)
        k = self.w_forward.shape[1]
        for n, slot in enumerate(self.slots[m] for m in self.recurrent):
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
