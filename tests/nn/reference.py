"""A plain reference for the recurrent stack, written from the papers: one step, one gate and one equation at a time."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gate_products(weights, x, h):
    """For each gate in PyTorch's order: its input part x W_i^T + b_i and its hidden part h W_h^T + b_h."""
    size = weights.w_hh.shape[1]
    for start in range(0, len(weights.w_hh), size):
        rows = slice(start, start + size)
        yield x @ weights.w_ih[rows].T + weights.b_ih[rows], h @ weights.w_hh[rows].T + weights.b_hh[rows]


def rnn_step(weights, x, state):
    (h,) = state
    ((input_part, hidden_part),) = gate_products(weights, x, h)
    return (np.tanh(input_part + hidden_part),)


def lstm_step(weights, x, state):
    h, c = state
    i, f, g, o = (input_part + hidden_part for input_part, hidden_part in gate_products(weights, x, h))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(weights, x, state):
    (h,) = state
    r, z, n = gate_products(weights, x, h)
    reset = sigmoid(r[0] + r[1])
    update = sigmoid(z[0] + z[1])
    candidate = np.tanh(n[0] + reset * n[1])
    return ((1 - update) * candidate + update * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def stack(cell, weights, x, state, dropout_masks=None, reset_mask=None):
    """x (T, B, D) or ids (T, B), state (L, num_states, B, H) -> outputs (T, B, H), final state."""
    if x.ndim == 2:
        x = np.eye(weights[0].w_ih.shape[1])[x]
    state = [tuple(layer_state) for layer_state in state]
    outputs = []
    for t in range(len(x)):
        y = x[t]
        for n, layer_weights in enumerate(weights):
            if reset_mask is not None:
                state[n] = tuple(np.where(reset_mask[t], 0, array) for array in state[n])
            state[n] = STEPS[cell](layer_weights, y, state[n])
            y = state[n][0]
            if dropout_masks is not None:
                y = y * dropout_masks[n]
        outputs.append(y)
    return np.stack(outputs), np.array(state)
