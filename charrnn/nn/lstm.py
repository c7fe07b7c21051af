"""Long short-term memory (Hochreiter & Schmidhuber 1997), with the forget gate of Gers, Schmidhuber & Cummins (2000).

Forward pass, where sigma is the logistic function and products of gates are elementwise:

    i = sigma(x W_ii^T + b_ii + h_prev W_hi^T + b_hi)       input gate       (1)
    f = sigma(x W_if^T + b_if + h_prev W_hf^T + b_hf)       forget gate      (2)
    g =  tanh(x W_ig^T + b_ig + h_prev W_hg^T + b_hg)       candidate        (3)
    o = sigma(x W_io^T + b_io + h_prev W_ho^T + b_ho)       output gate      (4)
    c = f c_prev + i g                                      cell state       (5)
    h = o tanh(c)                                           hidden state     (6)

Backward pass, where dgates = (da_o, da_i, da_f, da_g) are the gradients of the pre-activations, that is, of the
arguments of sigma and tanh in (1) to (4):

    da_o    = dh tanh(c) o (1 - o)                                           (6), (4)
    dc     += dh o (1 - tanh(c)^2)                                           (6)
    da_i    = dc g i (1 - i)                                                 (5), (1)
    da_f    = dc c_prev f (1 - f)                                            (5), (2)
    da_g    = dc i (1 - g^2)                                                 (5), (3)
    dc_prev = dc f                                                           (5)
    dh_prev = da_i W_hi + da_f W_hf + da_g W_hg + da_o W_ho                  (1) to (4)

Shapes: x (B, D); gates, c, h (B, H); W_i* (H, D); W_h* (H, H); biases (H,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class LSTM(RecurrentLayer):
    """An LSTM layer. Its slots hold o, i, f and g, and its state is (h, c).

    In this order, the gates with a sigmoid (o, i, f) are adjacent, and so are the gates whose gradients are multiples
    of dc (i, f, g).
    """

    slots = (
        Slot(x_gate=3, h_gate=3, scale=0.5),  # o
        Slot(x_gate=0, h_gate=0, scale=0.5),  # i
        Slot(x_gate=1, h_gate=1, scale=0.5),  # f
        Slot(x_gate=2, h_gate=2, scale=1.0),  # g
    )
    num_gates = 4
    num_states = 2
    num_saved = 1  # tanh(c)
    num_scratch = 2
    quantity_names = ("tanh(c)", "h", "c", "i", "f", "g", "o")

    @staticmethod
    def step(gates: Array, prev: State, new: State, saved: Sequence[Array], scratch: Array) -> None:
        c_prev = prev[1]
        h, c = new
        tanh_c = saved[0]

        np.tanh(gates, out=gates)
        sigmoids = gates[:3]
        sigmoids *= 0.5
        sigmoids += 0.5
        o, i, f, g = gates  # (1) to (4)

        np.multiply(i, g, out=scratch)
        np.multiply(f, c_prev, out=c)
        c += scratch  # (5)

        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=h)  # (6)

    def quantities(self) -> tuple[Array, ...]:
        o, i, f, g = self.gates
        h, c = self.states[:, 1:]
        return self.saved[0], h, c, i, f, g, o

    def local_derivatives(self, part: slice) -> tuple[Array, ...]:
        o, i, f, g = self.gates[:, part]  # (steps, B, H) each
        c_prev = self.prev_states[1, part]
        tanh_c = self.saved[0, part]
        h = self.states_after(part)[0]
        f_copy, ig = self.scratch[:, : len(f)]

        f_copy[...] = f
        np.subtract(1, f, out=f)
        f *= f_copy
        f *= c_prev  # (5), (2): da_f = dc c_prev f (1 - f)

        dc_dh = np.multiply(h, tanh_c, out=tanh_c)
        np.subtract(o, dc_dh, out=dc_dh)  # (6): o (1 - tanh(c)^2) = o - h tanh(c)

        np.subtract(1, o, out=o)
        o *= h  # (6), (4): tanh(c) o (1 - o) = h (1 - o)

        np.multiply(i, g, out=ig)
        g *= ig
        np.subtract(i, g, out=g)  # (5), (3): i (1 - g^2) = i - g (i g)

        np.subtract(1, i, out=i)
        i *= ig  # (5), (1): g i (1 - i)
        return dc_dh, f_copy

    def step_backward(self, dgates: Array, dstate: State, factors: Sequence[Array]) -> None:
        dh, dc = dstate
        dc_dh, f = factors

        dgates[0] *= dh  # da_o: (6), (4)
        np.multiply(dh, dc_dh, out=self.step_scratch)
        dc += self.step_scratch  # (6)

        dgates[1:] *= dc  # da_i, da_f, da_g: (5), (1) to (3)
        dc *= f  # (5)
        self.recurrent_product_backward(dgates, dh)  # (1) to (4)
