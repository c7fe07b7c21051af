"""Plain references: one gate, one step, one equation at a time, written from the papers and slow on purpose."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gates_of(weights, x, h):
    """The input half and the hidden half of each of PyTorch's gates."""
    size = weights.w_hh.shape[1]
    for start in range(0, len(weights.w_hh), size):
        rows = slice(start, start + size)
        yield x @ weights.w_ih[rows].T + weights.b_ih[rows], h @ weights.w_hh[rows].T + weights.b_hh[rows]


def rnn_step(weights, x, state):
    ((a, b),) = gates_of(weights, x, state[0])
    return (np.tanh(a + b),)


def lstm_step(weights, x, state):
    h, c = state
    i, f, g, o = (a + b for a, b in gates_of(weights, x, h))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(weights, x, state):
    (h,) = state
    r, z, n = gates_of(weights, x, h)
    reset, update = sigmoid(sum(r)), sigmoid(sum(z))
    candidate = np.tanh(n[0] + reset * n[1])
    return ((1 - update) * candidate + update * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def stack(cell, weights, x, state, masks=None, keep=None):
    """x (T, B, D) or ids (T, B), state (L, num_states, B, H) -> y (T, B, H), final state."""
    if x.ndim == 2:
        x = np.eye(weights[0].w_ih.shape[1])[x]
    state = [tuple(layer) for layer in state]
    outputs = []
    for t in range(len(x)):
        y = x[t]
        for n, layer in enumerate(weights):
            previous = state[n] if keep is None else tuple(s * keep[t] for s in state[n])
            state[n] = STEPS[cell](layer, y, previous)
            y = state[n][0] if masks is None else state[n][0] * masks[n]
        outputs.append(y)
    return np.stack(outputs), np.array(state)
