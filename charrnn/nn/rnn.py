"""The vanilla recurrent network (Elman 1990).

h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh)                                    (1)
"""

from __future__ import annotations

import itertools

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class RNN(RecurrentLayer):
    """Slots: the pre-activation alone. State: h."""

    slots = (Slot(0, 0, 1.0),)
    gates = 1

    @staticmethod
    def step(a: Array, last: State, new: State, saved: State, scratch: Array) -> None:
        np.tanh(a[0], out=new[0])  # (1)

    def recur_backward(self, part: slice, dy: Array, dstate: Array, keep: Array | None) -> None:
        a, h, (dh,) = self.a[:, part], self.states[0, part.start + 1 : part.stop + 1], dstate
        # tanh' = 1 - h^2 for all steps, before the loop.
        np.multiply(h, h, out=a[0])
        np.subtract(1, a[0], out=a[0])
        keeps = itertools.repeat(None) if keep is None else keep[part][::-1]
        for da, dy_t, keep_t in zip(a.swapaxes(0, 1)[::-1], dy[part][::-1], keeps, strict=False):
            dh += dy_t
            da *= dh  # (1)
            self.back_through_w_hh(da, dh)
            if keep_t is not None:
                dh *= keep_t
