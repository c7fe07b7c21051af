"""Attention of a decoder over the outputs of an encoder (Luong, Pham & Manning 2015, general score).

For each stream and each decoder step with the hidden state h, over the encoder's outputs m_1 ... m_S (the memory):

    q   = W_a^T h                                   query             (1)
    e_s = q . m_s                                   score             (2)
    a   = softmax(e)                                attention weights (3)
    c   = sum over s of a_s m_s                     context           (4)
    y   = tanh(W_c [c; h] + b_c)                    output            (5)

No decoder step depends on the attention of another step, so all T steps are computed together after the decoder's loop.

Shapes: B streams, T decoder steps, S encoder steps, H decoder hidden size, E width of the memory; W_a (H, E), W_c
(H, E + H), b_c (H,).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charrnn.nn.arrays import Array

MASKED = -1e9  # the score of a step that is not part of the source


class AttentionWeights(NamedTuple):
    """The parameters of the attention, or their gradients. The shapes are those of PyTorch's nn.Linear."""

    query: Array  # (E, H): W_a^T
    output: Array  # (H, E + H): W_c
    bias: Array  # (H,): b_c


class Attention:
    """The attention of all decoder steps. `backward` is the backward pass of the last call of `forward`."""

    def __init__(self, weights: AttentionWeights) -> None:
        self.weights = weights

    def forward(self, h: Array, memory: Array, is_source: Array) -> Array:
        """Computes the output y of all decoder steps.

        h: (T, B, H). memory: (S, B, E). is_source: bool (S, B), False where a step is padding.

        Returns y (T, B, H), which the caller may overwrite. Sets `alignment` (B, T, S) to the attention weights (3).
        """
        w = self.weights
        self.h = np.ascontiguousarray(h.swapaxes(0, 1))  # (B, T, H)
        self.memory = np.ascontiguousarray(memory.swapaxes(0, 1))  # (B, S, E)
        self.query = _project(self.h, w.query.T)  # (1), (B, T, E)
        scores = np.matmul(self.query, self.memory.swapaxes(1, 2))  # (2), (B, T, S)
        scores += np.where(is_source.T[:, None], 0, MASKED).astype(scores.dtype)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        self.alignment: Array = scores  # (3)
        context = np.matmul(self.alignment, self.memory)  # (4), (B, T, E)
        self.joined = np.concatenate([context, self.h], axis=2)  # (B, T, E + H)
        self.y = _project(self.joined, w.output.T)
        self.y += w.bias
        np.tanh(self.y, out=self.y)  # (5)
        return self.y.swapaxes(0, 1).copy()

    def backward(self, dy: Array, dh: Array, grads: AttentionWeights) -> Array:
        """The backward pass of the last call of `forward`. dy: (T, B, H).

        Writes `grads`, and the gradient of h to dh (T, B, H), which may be `dy` itself. Returns the gradient of the
        memory (S, B, E).
        """
        w = self.weights
        E = self.memory.shape[2]
        dpre = 1 - np.square(self.y)  # (5), (B, T, H)
        dpre *= dy.swapaxes(0, 1)
        flat = dpre.reshape(-1, dpre.shape[2])
        np.matmul(flat.T, self.joined.reshape(len(flat), -1), out=grads.output)
        np.sum(flat, axis=0, out=grads.bias)
        djoined = _project(dpre, w.output)
        dcontext = djoined[:, :, :E]
        dmemory = np.matmul(self.alignment.swapaxes(1, 2), dcontext)  # (4), (B, S, E)
        dalignment = np.matmul(dcontext, self.memory.swapaxes(1, 2))  # (4), (B, T, S)
        dscores = dalignment  # (3): da_s -> a_s (da_s - sum over r of a_r da_r)
        dscores -= (self.alignment * dalignment).sum(axis=2, keepdims=True)
        dscores *= self.alignment
        dquery = np.matmul(dscores, self.memory)  # (2), (B, T, E)
        dmemory += np.matmul(dscores.swapaxes(1, 2), self.query)  # (2)
        flat_query = dquery.reshape(-1, E)
        np.matmul(flat_query.T, self.h.reshape(len(flat_query), -1), out=grads.query)  # (1)
        dh[...] = (djoined[:, :, E:] + _project(dquery, w.query)).swapaxes(0, 1)  # (5), (1)
        return np.ascontiguousarray(dmemory.swapaxes(0, 1))


def _project(x: Array, weight: Array) -> Array:
    """x (B, T, N), weight (N, M) -> (B, T, M). One product of all rows is faster than NumPy's B products of T rows."""
    rows: Array = x.reshape(-1, x.shape[2]) @ weight
    return rows.reshape(*x.shape[:2], -1)
