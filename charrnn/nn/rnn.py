"""The vanilla recurrent network (Elman 1990).

h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh)                                    (1)
"""

from __future__ import annotations

import itertools

import numpy as np

from charrnn.nn.recurrent import Array, RecurrentLayer, Slot, State


class RNN(RecurrentLayer):
    """Slots: the pre-activation alone. State: h."""

    slots = (Slot(0, 0, 1.0),)
    gates = 1

    @staticmethod
    def step(a: Array, last: State, new: State, work: State) -> None:
        np.tanh(a[0], out=new[0])  # (1)

    def recur(self, steps: int, state: Array, keep: Array | None) -> None:
        for t, (a, h_last, h_prev, h) in enumerate(
            zip(self.a[:, :steps].swapaxes(0, 1), self.h, self.h_in, self.h[1:], strict=False)
        ):
            if keep is not None:
                np.multiply(h_last, keep[t], out=h_prev)
            a += self.times_w_hh(h_prev)
            self.step(a, (h_prev,), (h,), ())

    def recur_backward(self, dy: Array, dstate: Array, da: Array, keep: Array | None) -> None:
        steps, (dh,) = len(dy), dstate
        h = self.h[1 : steps + 1]
        # tanh' = 1 - h^2 for all steps, before the loop.
        np.multiply(h, h, out=da[0])
        np.subtract(1, da[0], out=da[0])
        keeps = itertools.repeat(None) if keep is None else reversed(keep)
        for dy_t, da_t, keep_t in zip(dy[::-1], da.swapaxes(0, 1)[::-1], keeps, strict=False):
            dh += dy_t
            da_t *= dh  # (1)
            self.back_through_w_hh(da_t, dh)
            if keep_t is not None:
                dh *= keep_t
