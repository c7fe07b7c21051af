"""The vanilla recurrent network (Elman 1990).

Forward pass:

    h = tanh(x W_ih^T + b_ih + h_prev W_hh^T + b_hh)        (1)

Backward pass, where dgates is the gradient of the argument of tanh:

    dgates  = dh (1 - h^2)                                  (1)
    dh_prev = dgates W_hh                                   (1)

Shapes: x (B, D); h, h_prev, dgates (B, H); W_ih (H, D); W_hh (H, H); b_ih, b_hh (H,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.recurrent import RecurrentLayer, Slot, State


class RNN(RecurrentLayer):
    """A vanilla RNN layer. Its only slot holds the pre-activation, and its state is h."""

    slots = (Slot(x_gate=0, h_gate=0, scale=1.0),)
    num_gates = 1

    @staticmethod
    def step(gates: Array, prev: State, new: State, saved: Sequence[Array], scratch: Array) -> None:
        np.tanh(gates[0], out=new[0])  # (1)

    def local_derivatives(self, part: slice) -> tuple[Array, ...]:
        h = self.states_after(part)[0]
        derivative = self.gates[0, part]
        np.multiply(h, h, out=derivative)
        np.subtract(1, derivative, out=derivative)  # (1): 1 - h^2
        return ()

    def step_backward(self, dgates: Array, dstate: State, factors: Sequence[Array]) -> None:
        (dh,) = dstate
        dgates *= dh  # (1)
        self.recurrent_product_backward(dgates, dh)  # (1)
