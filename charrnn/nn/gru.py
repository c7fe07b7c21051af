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

from charrnn.nn.recurrent import Array, RecurrentLayer, Slot, State, Weights


class GRU(RecurrentLayer):
    """Slots: n, r, z, m; the input feeds the first three, the hidden product the last three. State: h."""

    slots = (Slot(2, None, 1.0), Slot(0, 0, 0.5), Slot(1, 1, 0.5), Slot(None, 2, 1.0))
    gates = 3
    num_work = 1

    def __init__(self, weights: Weights, batch_size: int, seq_length: int) -> None:
        super().__init__(weights, batch_size, seq_length)
        self.scratch = np.empty((self.B, self.H), self.dtype)

    @staticmethod
    def step(a: Array, last: State, new: State, work: State) -> None:
        (h_prev,), (h,), (scratch,) = last, new, work
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

    def recur(self, steps: int, state: Array, keep: Array | None) -> None:
        slots_of_step = self.a[:, :steps].swapaxes(0, 1)  # (T, 4, B, H)
        for t, (slots, h_last, h_prev, h) in enumerate(zip(slots_of_step, self.h, self.h_in, self.h[1:], strict=False)):
            if keep is not None:
                np.multiply(h_last, keep[t], out=h_prev)
            recurrent = slots[1:]
            recurrent += self.times_w_hh(h_prev)  # (2)
            self.step(slots, (h_prev,), (h,), (self.scratch,))

    def recur_backward(self, dy: Array, dstate: Array, da: Array, keep: Array | None) -> None:
        steps, (dh,) = len(dy), dstate
        n, r, z, m = self.a[:, :steps]
        dn, dr, dz, dm = da
        # Every slot's gradient is dh times a factor that does not depend on dh: for all steps, before the loop.
        np.multiply(n, n, out=dn)
        np.subtract(1, dn, out=dn)  # tanh'
        np.subtract(1, z, out=dz)
        dn *= dz  # (4), (3)
        dz *= z  # sigma'
        np.subtract(self.h_in[:steps], n, out=dm)  # work space
        dz *= dm  # (4), (1)
        np.multiply(dn, r, out=dm)  # (3), (2)
        np.subtract(1, r, out=dr)
        dr *= m
        dr *= dm  # (3), (1): dn m r (1 - r)
        keeps = itertools.repeat(None) if keep is None else reversed(keep)
        for dy_t, da_t, z_t, keep_t in zip(dy[::-1], da.swapaxes(0, 1)[::-1], z[::-1], keeps, strict=False):
            dh += dy_t
            da_t *= dh
            np.multiply(dh, z_t, out=self.scratch)
            self.back_through_w_hh(da_t[1:], dh)
            dh += self.scratch  # (4)
            if keep_t is not None:
                dh *= keep_t
