"""Gated recurrent unit (Cho et al. 2014). As in PyTorch and cuDNN, the reset gate multiplies the product with W_hn.

Forward pass, where sigma is the logistic function and products of gates are elementwise:

    r = sigma(x W_ir^T + b_ir + h_prev W_hr^T + b_hr)       reset gate                        (1)
    z = sigma(x W_iz^T + b_iz + h_prev W_hz^T + b_hz)       update gate                       (2)
    m = h_prev W_hn^T + b_hn                                hidden part of the candidate      (3)
    n = tanh(x W_in^T + b_in + r m)                         candidate                         (4)
    h = (1 - z) n + z h_prev                                hidden state                      (5)

Backward pass, where dgates = (da_n, da_r, da_z, dm) are the gradients of the arguments of tanh and sigma and of m:

    da_n    = dh (1 - z) (1 - n^2)                                                            (5), (4)
    da_z    = dh (h_prev - n) z (1 - z)                                                       (5), (2)
    da_r    = da_n m r (1 - r)                                                                (4), (1)
    dm      = da_n r                                                                          (4)
    dh_prev = dh z + da_r W_hr + da_z W_hz + dm W_hn                                          (5), (1) to (3)

Shapes: x (B, D); gates, m, h (B, H); W_i* (H, D); W_h* (H, H); biases (H,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class GRU(RecurrentLayer):
    """A GRU layer. Its slots hold n, r, z and m, and its state is h.

    In this order, the slots that read x (n, r, z) are adjacent, and so are the slots that read h_prev (r, z, m).
    """

    slots = (
        Slot(x_gate=2, h_gate=None, scale=1.0),  # n
        Slot(x_gate=0, h_gate=0, scale=0.5),  # r
        Slot(x_gate=1, h_gate=1, scale=0.5),  # z
        Slot(x_gate=None, h_gate=2, scale=1.0),  # m
    )
    num_gates = 3
    num_scratch = 3
    quantity_names = ("h", "r", "z", "n")

    @staticmethod
    def step(gates: Array, prev: State, new: State, saved: Sequence[Array], scratch: Array) -> None:
        h_prev = prev[0]
        h = new[0]

        sigmoids = gates[1:3]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5
        n, r, z, m = gates  # (1) to (3)

        np.multiply(r, m, out=scratch)
        n += scratch
        np.tanh(n, out=n)  # (4)

        np.subtract(h_prev, n, out=h)
        h *= z
        h += n  # (5): (h_prev - n) z + n

    def quantities(self) -> tuple[Array, ...]:
        n, r, z, _ = self.gates
        return self.states[0, 1:], r, z, n

    def local_derivatives(self, part: slice) -> tuple[Array, ...]:
        n, r, z, m = self.gates[:, part]  # (steps, B, H) each
        h_prev = self.prev_states[0, part]
        z_copy, complement, difference = self.scratch[:, : len(n)]

        z_copy[...] = z
        np.subtract(1, z, out=complement)
        np.subtract(h_prev, n, out=difference)
        z *= complement
        z *= difference  # (5), (2): (h_prev - n) z (1 - z)

        np.multiply(n, n, out=n)
        np.subtract(1, n, out=n)
        n *= complement  # (5), (4): (1 - z) (1 - n^2) = da_n / dh

        np.subtract(1, r, out=complement)
        complement *= m
        np.multiply(n, r, out=m)  # (4): (da_n / dh) r = dm / dh
        np.multiply(complement, m, out=r)  # (4), (1): (da_n / dh) m r (1 - r)
        return (z_copy,)

    def step_backward(self, dgates: Array, dstate: State, factors: Sequence[Array]) -> None:
        (dh,) = dstate
        (z,) = factors

        dgates *= dh
        np.multiply(dh, z, out=self.step_scratch)  # (5)
        self.recurrent_product_backward(dgates, dh)  # (1) to (3)
        dh += self.step_scratch
