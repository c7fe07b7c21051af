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

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class LSTM(RecurrentLayer):
    """Slots: o, i, f (the sigmoids side by side), g (with i and f: what the cell state's gradient reaches).
    State: h, c."""

    slots = (Slot(3, 3, 0.5), Slot(0, 0, 0.5), Slot(1, 1, 0.5), Slot(2, 2, 1.0))
    gates = 4
    num_states = 2
    num_saved = 1
    num_scratch = 2
    quantity_names = ("tanh(c)", "h", "c", "i", "f", "g", "o")

    @staticmethod
    def step(a: Array, last: State, new: State, saved: State, scratch: Array) -> None:
        (_, c_prev), (h, c), (tanh_c,) = last, new, saved
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

    def quantities(self) -> tuple[Array, ...]:
        (o, i, f, g), (h, c) = self.a, self.states[:, 1:]
        return self.saved[0], h, c, i, f, g, o

    def recur_backward(self, part: slice, dy: Array, dstate: Array, keep: Array | None) -> None:
        (o, i, f, g), c_prev, tanh_c = self.a[:, part], self.states_in[1, part], self.saved[0, part]
        h = self.states[0, part.start + 1 : part.stop + 1]
        written, forget = self.scratch[:, : len(f)]
        # In the place of each gate the factor of its gradient that does not depend on dh and dc, before the loop;
        # sigma' = s (1 - s), tanh' = 1 - t^2.
        forget[...] = f
        np.subtract(1, f, out=f)
        f *= forget
        f *= c_prev  # (2), (1)
        np.multiply(h, tanh_c, out=tanh_c)
        np.subtract(o, tanh_c, out=tanh_c)  # (3): dc / dh = o (1 - tanh^2 c), where o tanh c = h
        np.subtract(1, o, out=o)
        o *= h  # (3), (1): tanh c o (1 - o)
        np.multiply(i, g, out=written)
        g *= written
        np.subtract(i, g, out=g)  # (2), (1): i (1 - g^2)
        np.subtract(1, i, out=i)
        i *= written  # (2), (1): g i (1 - i)
        dh, dc = dstate
        keeps = itertools.repeat(None) if keep is None else keep[part][::-1]
        scratch = self.scratch[0, 0]
        steps = (self.a[:, part].swapaxes(0, 1), dy[part], tanh_c, forget)
        for da, dy_t, dc_dh, f_t, keep_t in zip(*(array[::-1] for array in steps), keeps, strict=False):
            dh += dy_t
            da[0] *= dh  # do
            np.multiply(dh, dc_dh, out=scratch)
            dc += scratch
            da[1:] *= dc  # di, df, dg
            dc *= f_t  # (2)
            self.back_through_w_hh(da, dh)
            if keep_t is not None:
                dstate *= keep_t
