"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000).

i_t = sigma(x_t W_ii^T + b_ii + h_{t-1} W_hi^T + b_hi)     input gate
f_t = sigma(x_t W_if^T + b_if + h_{t-1} W_hf^T + b_hf)     forget gate
g_t =  tanh(x_t W_ig^T + b_ig + h_{t-1} W_hg^T + b_hg)     candidate
o_t = sigma(x_t W_io^T + b_io + h_{t-1} W_ho^T + b_ho)     output gate                   (1)
c_t = f_t c_{t-1} + i_t g_t                                                              (2)
h_t = o_t tanh(c_t)                                                                      (3)
"""

from __future__ import annotations

import itertools

import numpy as np

from charrnn.nn.recurrent import Array, RecurrentLayer, Slot, State, Weights


class LSTM(RecurrentLayer):
    """Slots: o, i, f (the sigmoids side by side), g (with i and f: what the cell state's gradient reaches).
    State: h, c."""

    slots = (Slot(3, 3, 0.5), Slot(0, 0, 0.5), Slot(1, 1, 0.5), Slot(2, 2, 1.0))
    gates = 4
    num_states = 2
    num_work = 2

    def __init__(self, weights: Weights, batch_size: int, seq_length: int) -> None:
        super().__init__(weights, batch_size, seq_length)
        self.c = np.empty_like(self.h)  # (T+1, B, H)
        self.c_in: Array = self.c[:-1]
        self.tanh_c = self.empty()
        self.scratch = np.empty((self.B, self.H), self.dtype)

    @staticmethod
    def step(a: Array, last: State, new: State, work: State) -> None:
        (_, c_prev), (h, c), (tanh_c, scratch) = last, new, work
        np.tanh(a, out=a)
        sigmoids = a[:3]
        sigmoids *= 0.5
        sigmoids += 0.5  # (1)
        o, i, f, g = a
        np.multiply(i, g, out=scratch)
        np.multiply(f, c_prev, out=c)
        c += scratch  # (2)
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=h)  # (3)

    def recur(self, steps: int, state: Array, keep: Array | None) -> None:
        if keep is None:
            self.c_in = self.c[:-1]
        elif self.c_in.base is self.c:
            self.c_in = self.empty()
        self.c[0] = state[1]
        gates_of_step = self.a[:, :steps].swapaxes(0, 1)  # (T, 4, B, H)
        inputs = zip(self.h, self.c, self.h_in, self.c_in, strict=False)
        outputs = zip(self.h[1:], self.c[1:], self.tanh_c, strict=True)
        for t, (gates, (h_last, c_last, h_prev, c_prev), (h, c, tanh_c)) in enumerate(
            zip(gates_of_step, inputs, outputs, strict=False)
        ):
            if keep is not None:
                np.multiply(h_last, keep[t], out=h_prev)
                np.multiply(c_last, keep[t], out=c_prev)
            gates += self.times_w_hh(h_prev)
            self.step(gates, (h_prev, c_prev), (h, c), (tanh_c, self.scratch))

    def recur_backward(self, dy: Array, dstate: Array, da: Array, keep: Array | None) -> None:
        steps, (dh, dc) = len(dy), dstate
        o, i, f, g = self.a[:, :steps]
        tanh_c = self.tanh_c[:steps]
        do, di, df, dg = da
        # All factors that do not depend on the gradient, for all steps, before the loop.
        np.subtract(1, self.a[:3, :steps], out=da[:3])
        da[:3] *= self.a[:3, :steps]  # sigma' = s (1 - s)
        do *= tanh_c  # (3), (1)
        di *= g  # (2), (1)
        df *= self.c_in[:steps]  # (2), (1)
        np.multiply(g, g, out=dg)
        np.subtract(1, dg, out=dg)
        dg *= i  # (2), (1)
        np.multiply(tanh_c, tanh_c, out=tanh_c)
        np.subtract(1, tanh_c, out=tanh_c)
        tanh_c *= o
        dc_dh = tanh_c  # (3): o (1 - tanh^2 c), in the place of tanh c
        keeps = itertools.repeat(None) if keep is None else reversed(keep)
        of_step = da.swapaxes(0, 1)[::-1]
        for dy_t, da_t, dc_dh_t, f_t, keep_t in zip(dy[::-1], of_step, dc_dh[::-1], f[::-1], keeps, strict=False):
            dh += dy_t
            da_t[0] *= dh  # do
            np.multiply(dh, dc_dh_t, out=self.scratch)
            dc += self.scratch
            da_t[1:] *= dc  # di, df, dg
            dc *= f_t  # (2)
            self.back_through_w_hh(da_t, dh)
            if keep_t is not None:
                dh *= keep_t
                dc *= keep_t

    def final_state(self, steps: int) -> tuple[Array, ...]:
        return self.h[steps], self.c[steps]
