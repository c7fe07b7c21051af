"""Plain references for the recurrent stack, the bidirectional stack and the attention, written from the papers.

They compute one step, one gate and one equation at a time. Central differences are the reference for gradients.
"""

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


def bidirectional_stack(cell, weights, x, dropout_masks=None):
    """One sequence without padding: x (S, D) or ids (S,), weights of both directions of each layer.

    Returns the outputs (S, 2 H), and the final states of the top layer (2, num_states, H).
    """
    if x.ndim == 1:
        x = np.eye(weights[0][0].w_ih.shape[1])[x]
    hidden_size = weights[0][0].w_hh.shape[1]
    num_states = 2 if cell == "lstm" else 1
    for n, (forward, backward) in enumerate(weights):
        start = np.zeros((1, num_states, 1, hidden_size))
        forward_y, forward_state = stack(cell, [forward], x[:, None], start)
        backward_y, backward_state = stack(cell, [backward], x[::-1, None], start)
        x = np.concatenate([forward_y[:, 0], backward_y[::-1, 0]], axis=1)
        if dropout_masks is not None:
            x = x * dropout_masks[n]
    return x, np.concatenate([forward_state, backward_state])[:, :, 0]


def attention(weights, h, memory):
    """One stream without padding: h (T, H), memory (S, E) -> outputs (T, H), attention weights (T, S)."""
    outputs = []
    alignment = []
    for h_t in h:
        query = weights.query @ h_t
        scores = np.array([query @ m_s for m_s in memory])
        a = np.exp(scores) / np.exp(scores).sum()
        context = sum(a_s * m_s for a_s, m_s in zip(a, memory, strict=True))
        outputs.append(np.tanh(weights.output @ np.concatenate([context, h_t]) + weights.bias))
        alignment.append(a)
    return np.array(outputs), np.array(alignment)


def numeric_gradient(loss, array, epsilon=1e-5):
    """The gradient of loss() with respect to an array that it reads, by central differences."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + epsilon
        above = loss()
        array[index] = value - epsilon
        below = loss()
        array[index] = value
        gradient[index] = (above - below) / (2 * epsilon)
    return gradient
