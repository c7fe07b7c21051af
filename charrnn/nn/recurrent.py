"""A recurrent layer: the loop over T time steps, forward and backward. The cells (rnn.py, lstm.py, gru.py) subclass it.

Only the product h_prev W_hh^T and the gates depend on the previous step, so only they are computed inside the loop. The
products with the inputs and the gradients of the weights are large matrix products over many steps, outside the loop.

Shapes: T time steps, B streams, D input width, H hidden size, G = num_gates x H, S slots.

Slots: The gates are stored in a buffer (S, T, B, H). Each slot holds one gate, and gates that are treated alike have
adjacent slots. A GRU has 3 gates and 4 slots: its candidate is stored in two parts, x W_in^T and h_prev W_hn^T, because
the reset gate multiplies the second part only.

One tanh for all gates: Since sigma(a) = tanh(a / 2) / 2 + 1/2, one call of tanh computes sigmoid gates and candidates
together. The inner 1/2 is the `scale` of a slot. It is multiplied into the weights and biases before the loop.

Chunks: The steps are processed in chunks of about CHUNK_ROWS rows (steps x streams), for example 16 steps of 32
streams. The gates of a chunk fit into the cache, so the loop finds them there after the large products.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from charrnn.nn import arrays
from charrnn.nn.arrays import Array
from charrnn.nn.ops import OneHot

State = tuple[Array, ...]  # num_states arrays (B, H)

CHUNK_ROWS = 512  # rows (steps x streams) of a chunk


class LayerWeights(NamedTuple):
    """The parameters of a layer, or their gradients. Shapes and gate order are those of PyTorch."""

    w_ih: Array  # (G, D)
    w_hh: Array  # (G, H)
    b_ih: Array  # (G,)
    b_hh: Array  # (G,)


class Slot(NamedTuple):
    """The gates whose weights a slot uses, numbered as in PyTorch, and a scale. The pre-activation of the slot is

        scale * (x W_ih[x_gate]^T + b_ih[x_gate] + h_prev W_hh[h_gate]^T + b_hh[h_gate])

    A slot with x_gate None does not read x, and a slot with h_gate None does not read h_prev. In each cell the slots
    that read x come first and the slots that read h_prev come last.
    """

    x_gate: int | None
    h_gate: int | None
    scale: float


def num_blocks(batch_size: int, hidden_size: int) -> int:
    """The number k of column blocks (H, H/k) into which W_hh^T is cut for the product h_prev W_hh^T.

    OpenBLAS has kernels for small products (rows x inner x columns <= 10^6) that do not copy their operands first. They
    are up to twice as fast. Blocks of 64 columns were the fastest for B = 16 to 64 and H = 128 to 1024, then blocks of
    32 and 16. Example: B = 32 and H = 256 give k = 4, since 32 x 256 x 64 = 524,288. The choice depends on the sizes
    only and not on a timing, so that a run always computes the same bits.
    """
    for columns in (64, 32, 16):
        if hidden_size % columns == 0 and batch_size * hidden_size * columns <= 1_000_000:
            return hidden_size // columns
    return 1


class RecurrentLayer:
    """One layer for B streams and up to T steps.

    The buffers are allocated once. Between calls the layer holds no network state: `forward` takes a state and writes
    the next one. `backward` is the backward pass of the last call of `forward`.

    A cell is a subclass. It sets the class variables and defines `step`, `local_derivatives`, `step_backward` and
    `quantities`.
    """

    slots: ClassVar[tuple[Slot, ...]]
    num_gates: ClassVar[int]
    num_states: ClassVar[int] = 1  # arrays in a state: h, or h and c
    num_saved: ClassVar[int] = 0  # arrays that a step saves for the backward pass, in addition to gates and state
    num_scratch: ClassVar[int] = 0  # work arrays of `local_derivatives`
    quantity_names: ClassVar[tuple[str, ...]] = ("h",)  # see `quantities`

    def __init__(self, weights: LayerWeights, batch_size: int, seq_length: int) -> None:
        self.weights = weights
        self.T = seq_length
        self.B = batch_size
        self.H = weights.w_hh.shape[1]
        self.dtype = weights.w_hh.dtype
        self.chunk_steps = min(self.T, -(-CHUNK_ROWS // self.B))
        self.recurrent_slots = slice(sum(slot.h_gate is None for slot in self.slots), None)  # those that read h_prev

        # Holds first the pre-activations, then the gates, and in the backward pass the gradients of the pre-activations
        # (dgates).
        self.gates = self.new_buffer(len(self.slots), self.T)  # (S, T, B, H)
        # states[:, t] is the state before step t, states[:, t + 1] the state after it.
        self.states = self.new_buffer(self.num_states, self.T + 1)  # (num_states, T+1, B, H)
        # The states from which the steps start. Without resets, this is a view of `states`. With resets, it is
        # `reset_states`, a copy in which the reset states are zero.
        self.prev_states: Array = self.states[:, :-1]  # (num_states, T, B, H)
        self.reset_states: Array | None = None  # (num_states, T, B, H), allocated when it is needed
        self.saved = self.new_buffer(self.num_saved, self.T)  # (num_saved, T, B, H)
        self.scratch = self.new_buffer(self.num_scratch, self.chunk_steps)  # (num_scratch, chunk_steps, B, H)
        self.step_scratch = arrays.empty((self.B, self.H), self.dtype)  # (B, H)

        k = num_blocks(self.B, self.H)
        self.masked_w_hh: Array | None = None  # (G, H), allocated when it is needed
        self.w_hh_blocks = arrays.empty((self.num_gates, k, self.H, self.H // k), self.dtype)
        self.product = arrays.empty((self.num_gates, self.B, self.H), self.dtype)  # the product of one step with W_hh
        self.product_blocks = self.product.reshape(self.num_gates, self.B, k, -1).transpose(0, 2, 1, 3)  # a view of it

    def new_buffer(self, number: int, steps: int) -> Array:
        """A buffer (number, steps, B, H)."""
        return arrays.empty((number, steps, self.B, self.H), self.dtype)

    def states_after(self, part: slice) -> Array:
        """The states after the steps of `part` (num_states, steps, B, H)."""
        return self.states[:, part.start + 1 : part.stop + 1]

    # Defined by the cells

    @staticmethod
    def step(gates: Array, prev: State, new: State, saved: Sequence[Array], scratch: Array) -> None:
        """One time step: computes the gates and the new state.

        gates: (S, B, H), the pre-activations, which are overwritten with the gates.
        prev, new: the states before and after the step. They may be the same arrays.
        saved: num_saved arrays (B, H), written for the backward pass.
        scratch: (B, H), a work array.
        """
        raise NotImplementedError

    def local_derivatives(self, part: slice) -> tuple[Array, ...]:
        """Computes everything in the backward pass that does not depend on dh and dc, for all steps of `part` at once.

        The gradient of each pre-activation is dh or dc times a factor, for example da_o = dh (tanh(c) o (1 - o)) in an
        LSTM. Overwrites the gates with these factors. Returns the other arrays that `step_backward` needs, each
        (steps, B, H).
        """
        raise NotImplementedError

    def step_backward(self, dgates: Array, dstate: State, factors: Sequence[Array]) -> None:
        """The backward pass of one time step.

        dgates: (S, B, H), the factors from `local_derivatives`, which become the gradients of the pre-activations.
        dstate: the gradient of the state after the step, which becomes the gradient of the state before it.
        factors: the arrays that `local_derivatives` returned, at this step (B, H).
        """
        raise NotImplementedError

    def quantities(self) -> tuple[Array, ...]:
        """The quantities of the last call of `forward`, in the order of `quantity_names`.

        Each is (T, B, H) and valid until the next call. The names are those of the equations. The first quantity is the
        activity of the units.
        """
        return (self.states[0, 1:],)

    # Forward pass

    def forward(
        self, x: Array, state: Array, *, reset_mask: Array | None = None, recurrent_mask: Array | None = None
    ) -> Array:
        """Runs the layer over T time steps.

        x: (T, B, D), or ids (T, B) for a one-hot input. `backward` reads it again.
        state: (num_states, B, H), overwritten with the final state.
        reset_mask: bool (T, B, 1), True where a step starts from the zero state.
        recurrent_mask: (G, H), a mask that multiplies W_hh (DropConnect).

        Returns the outputs h (T, B, H), which are valid until the next call.
        """
        self.x = x
        self.states[:, 0] = state
        self._set_resets(reset_mask)
        self._set_w_hh(recurrent_mask)
        self._pack_w_hh_forward()
        project = self._one_hot_projection(x) if x.ndim == 2 else self._dense_projection(x)
        for part in self._chunks(len(x)):
            project(part)
            self._recur(part)
        state[...] = self.states[:, len(x)]
        return self.states[0, 1 : len(x) + 1]

    def _chunks(self, steps: int) -> list[slice]:
        return [slice(start, min(start + self.chunk_steps, steps)) for start in range(0, steps, self.chunk_steps)]

    def _set_resets(self, reset_mask: Array | None) -> None:
        """Sets the factors of the states: 0 where a step starts from the zero state, else 1.

        If only the first step resets the state, which is common, `first_carry` multiplies the initial state. The loop
        then runs as fast as without a reset mask. Otherwise the loop multiplies each state by `carry`.
        """
        self.carry: Array | None = None  # bool (T, B, 1)
        self.first_carry: Array | None = None  # bool (B, 1)
        self.prev_states = self.states[:, :-1]
        if reset_mask is None:
            return
        carry = ~reset_mask
        if carry[1:].all():
            self.first_carry = carry[0]
            self.states[:, 0] *= self.first_carry
            return
        self.carry = carry
        if self.reset_states is None:
            self.reset_states = self.new_buffer(self.num_states, self.T)
        self.prev_states = self.reset_states

    def _set_w_hh(self, recurrent_mask: Array | None) -> None:
        """Sets `w_hh`, the recurrent weights of this call: W_hh, multiplied by the mask if there is one."""
        self.recurrent_mask = recurrent_mask
        self.w_hh = self.weights.w_hh
        if recurrent_mask is not None:
            if self.masked_w_hh is None:
                self.masked_w_hh = arrays.empty(self.w_hh.shape, self.dtype)
            self.w_hh = np.multiply(self.w_hh, recurrent_mask, out=self.masked_w_hh)

    def _dense_projection(self, x: Array) -> Callable[[slice], None]:
        """Returns a function that sets gates[:, part] to scale * (x W_ih^T + b_ih + b_hh). x: (T, B, D)."""
        w_ih = self._by_gate(self.weights.w_ih)
        weights = [None if slot.x_gate is None else w_ih[slot.x_gate].T * slot.scale for slot in self.slots]  # (D, H)
        biases = self._scaled_biases()

        def project(part: slice) -> None:
            rows = x[part].reshape(-1, x.shape[2])
            for gate, weight, bias in zip(self.gates[:, part], weights, biases, strict=True):
                out = gate.reshape(-1, self.H)
                if weight is None:
                    out[...] = bias
                else:
                    np.matmul(rows, weight, out=out)
                    out += bias

        return project

    def _one_hot_projection(self, ids: Array) -> Callable[[slice], None]:
        """Like `_dense_projection`, for a one-hot input. ids: (T, B).

        The product of W_ih and a one-hot vector is a column of W_ih. Therefore a table holds the result for each
        distinct id, and the function selects rows of the table.
        """
        w_ih = self._by_gate(self.weights.w_ih)
        distinct, rows = np.unique(ids, return_inverse=True)
        rows = rows.reshape(ids.shape)
        biases = self._scaled_biases()
        tables = [
            None if slot.x_gate is None else w_ih[slot.x_gate].T[distinct] * slot.scale + bias
            for slot, bias in zip(self.slots, biases, strict=True)
        ]

        def project(part: slice) -> None:
            for gate, table, bias in zip(self.gates[:, part], tables, biases, strict=True):
                out = gate.reshape(-1, self.H)
                if table is None:
                    out[...] = bias
                else:
                    np.take(table, rows[part].ravel(), axis=0, out=out, mode="clip")

        return project

    def _scaled_biases(self) -> list[Array]:
        """The bias of each slot (H,): scale * (b_ih + b_hh)."""
        b_ih = self._by_gate(self.weights.b_ih)
        b_hh = self._by_gate(self.weights.b_hh)
        biases = []
        for slot in self.slots:
            bias = np.zeros(self.H, self.dtype)
            if slot.h_gate is not None:
                bias += b_hh[slot.h_gate]
            if slot.x_gate is not None:
                bias += b_ih[slot.x_gate]
            biases.append(bias * slot.scale)
        return biases

    def _recur(self, part: slice) -> None:
        """The loop over the steps of `part`. gates[:, part] already holds the terms with x and the biases."""
        gates = self.gates[:, part].swapaxes(0, 1)  # (steps, S, B, H)
        steps = zip(
            gates,
            gates[:, self.recurrent_slots],
            self.states[:, part].swapaxes(0, 1),
            self.prev_states[:, part].swapaxes(0, 1),
            self.states_after(part).swapaxes(0, 1),
            self.saved[:, part].swapaxes(0, 1),
            itertools.repeat(None) if self.carry is None else self.carry[part],
            strict=False,
        )
        step = self.step
        scratch = self.step_scratch
        for gates_t, recurrent_gates, state, prev, new, saved, carry in steps:
            if carry is not None:
                np.multiply(state, carry, out=prev)
            recurrent_gates += self._recurrent_product(prev[0])
            step(gates_t, prev, new, saved, scratch)

    # Backward pass

    def backward(self, dy: Array, dstate: Array, grads: LayerWeights, dx: Array | None = None) -> None:
        """The backward pass of the last call of `forward`.

        dy: (T, B, H), the gradient of the outputs.
        dstate: (num_states, B, H), the gradient of the final state. It becomes the gradient of the initial state.
        grads: the gradients of the weights are written to these arrays.
        dx: (T, B, D). If given, the gradient of the inputs is written to this array. It may be `dy` itself.
        """
        self._pack_w_hh_backward()
        for part in reversed(self._chunks(len(self.x))):
            self._recur_backward(part, dy[part], dstate)
            if dx is not None:
                self._project_backward(part, dx[part])
        if self.first_carry is not None:
            dstate *= self.first_carry
        self._weight_gradients(grads)

    def _recur_backward(self, part: slice, dy: Array, dstate: Array) -> None:
        """The backward loop over the steps of `part`. Turns gates[:, part] into dgates. dy: (steps, B, H)."""
        factors = self.local_derivatives(part)
        dgates = self.gates[:, part].swapaxes(0, 1)  # (steps, S, B, H)
        carries = itertools.repeat(None) if self.carry is None else self.carry[part][::-1]
        last_to_first = [array[::-1] for array in (dgates, dy, *factors)]
        dstate_arrays = tuple(dstate)  # dh, or dh and dc
        dh = dstate_arrays[0]
        step_backward = self.step_backward
        for carry, dgates_t, dy_t, *factors_t in zip(carries, *last_to_first, strict=False):
            dh += dy_t
            step_backward(dgates_t, dstate_arrays, factors_t)
            if carry is not None:
                dstate *= carry

    def _project_backward(self, part: slice, dx: Array) -> None:
        """Writes dx (steps, B, D) = sum of dgates W_ih over the slots that read x."""
        w_ih = self._by_gate(self.weights.w_ih)
        rows = dx.reshape(-1, dx.shape[2])
        for n, slot in enumerate(self.slots):
            if slot.x_gate is None:
                continue
            dgates = self.gates[n, part].reshape(-1, self.H)
            if n == 0:
                np.matmul(dgates, w_ih[slot.x_gate], out=rows)
            else:
                rows += dgates @ w_ih[slot.x_gate]

    def _weight_gradients(self, grads: LayerWeights) -> None:
        """Writes the gradients of the weights. Each is a sum over all N = T x B rows, so it is one matrix product."""
        x = self.x
        N = x.shape[0] * x.shape[1]
        h_prev = self.prev_states[0, : len(x)].reshape(N, self.H)
        ones = np.ones(N, self.dtype)
        one_hot = OneHot(x.ravel(), self.dtype) if x.ndim == 2 else None
        w_ih, w_hh, b_ih, b_hh = map(self._by_gate, grads)
        for slot, dgates in zip(self.slots, self.gates[:, : len(x)].reshape(-1, N, self.H), strict=True):
            dbias = ones @ dgates
            if slot.h_gate is not None:
                np.matmul(dgates.T, h_prev, out=w_hh[slot.h_gate])
                b_hh[slot.h_gate] = dbias
            if slot.x_gate is not None:
                b_ih[slot.x_gate] = dbias
                if one_hot is None:
                    np.matmul(dgates.T, x.reshape(N, -1), out=w_ih[slot.x_gate])
                else:
                    one_hot.sum_rows(dgates, out=w_ih[slot.x_gate].T)
        if self.recurrent_mask is not None:
            grads.w_hh[...] *= self.recurrent_mask

    # The product with W_hh

    def _by_gate(self, array: Array) -> Array:
        """(G, ...) -> (num_gates, H, ...), a view."""
        return array.reshape(self.num_gates, self.H, *array.shape[1:])

    def _pack_w_hh_forward(self) -> None:
        """Writes scale * W_hh^T of each recurrent slot to `w_hh_blocks`, as column blocks."""
        w_hh = self._by_gate(self.w_hh)
        for blocks, slot in zip(self.w_hh_blocks, self.slots[self.recurrent_slots], strict=True):
            rows = w_hh[slot.h_gate].reshape(len(blocks), -1, self.H)  # the rows of W_hh are the columns of W_hh^T
            np.multiply(rows.transpose(0, 2, 1), slot.scale, out=blocks)

    def _pack_w_hh_backward(self) -> None:
        """Writes W_hh of each recurrent slot to `w_hh_blocks`, as column blocks."""
        w_hh = self._by_gate(self.w_hh)
        for blocks, slot in zip(self.w_hh_blocks, self.slots[self.recurrent_slots], strict=True):
            columns = w_hh[slot.h_gate].reshape(self.H, len(blocks), -1)
            blocks[...] = columns.transpose(1, 0, 2)

    def _recurrent_product(self, h_prev: Array) -> Array:
        """h_prev (B, H) -> scale * h_prev W_hh^T for each recurrent slot (num_gates, B, H)."""
        np.matmul(h_prev, self.w_hh_blocks, out=self.product_blocks)
        return self.product

    def recurrent_product_backward(self, dgates: Array, dh: Array) -> None:
        """Writes dh (B, H) = sum of dgates W_hh over the recurrent slots. dgates: (S, B, H)."""
        np.matmul(dgates[self.recurrent_slots, None], self.w_hh_blocks, out=self.product_blocks)
        np.add.reduce(self.product, axis=0, out=dh)
