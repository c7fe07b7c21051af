"""Gated recurrent unit (Cho et al. 2014), its reset gate applied after the hidden product, as PyTorch and cuDNN do.

r_t = sigma(x_t W_ir^T + b_ir + h_{t-1} W_hr^T + b_hr)     reset gate
z_t = sigma(x_t W_iz^T + b_iz + h_{t-1} W_hz^T + b_hz)     update gate                   (1)
m_t = h_{t-1} W_hn^T + b_hn                                                              (2)
n_t = tanh(x_t W_in^T + b_in + r_t m_t)                    candidate                     (3)
h_t = (1 - z_t) n_t + z_t h_{t-1}                                                        (4)
"""

from __future__ import annotations

import itertools

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class GRU(RecurrentLayer):
    """Slots: n, r, z, m; the input feeds the first three, the hidden product the last three. State: h."""

    slots = (Slot(2, None, 1.0), Slot(0, 0, 0.5), Slot(1, 1, 0.5), Slot(None, 2, 1.0))
    gates = 3
    num_scratch = 3
    quantity_names = ("h", "r", "z", "n")

    @staticmethod
    def step(a: Array, last: State, new: State, saved: State, scratch: Array) -> None:
        (h_prev,), (h,) = last, new
        sigmoids = a[1:3]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5  # (1)
        n, r, z, m = a
        np.multiply(r, m, out=scratch)
        n += scratch
        np.tanh(n, out=n)  # (3)
        np.subtract(h_prev, n, out=h)
        h *= z
        h += n  # (4)

    def quantities(self) -> tuple[Array, ...]:
        n, r, z, _ = self.a
        return self.states[0, 1:], r, z, n

    def recur_backward(self, part: slice, dy: Array, dstate: Array, keep: Array | None) -> None:
        (n, r, z, m), h_prev = self.a[:, part], self.states_in[0, part]
        update, inverse, difference = self.scratch[:, : len(n)]
        # Every slot's gradient is dh times a factor that does not depend on dh: in its place, before the loop.
        update[...] = z
        np.subtract(1, z, out=inverse)
        np.subtract(h_prev, n, out=difference)
        z *= inverse  # sigma' = z (1 - z)
        z *= difference  # (4), (1)
        np.multiply(n, n, out=n)
        np.subtract(1, n, out=n)
        n *= inverse  # (4), (3)
        np.subtract(1, r, out=inverse)
        inverse *= m
        np.multiply(n, r, out=m)  # (3), (2)
        np.multiply(inverse, m, out=r)  # (3), (1): dn m r (1 - r)
        (dh,) = dstate
        keeps = itertools.repeat(None) if keep is None else keep[part][::-1]
        scratch = self.scratch[1, 0]
        steps = (self.a[:, part].swapaxes(0, 1), dy[part], update)
        for da, dy_t, z_t, keep_t in zip(*(array[::-1] for array in steps), keeps, strict=False):
            dh += dy_t
            da *= dh
            np.multiply(dh, z_t, out=scratch)
            self.back_through_w_hh(da[1:], dh)
            dh += scratch  # (4)
            if keep_t is not None:
                dh *= keep_t
