"""Differentiable operations outside the recurrence, as pairs x_forward / x_backward on plain arrays.

N counts rows (time steps x streams), D and H are widths, V is the vocabulary's size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array


class OneHot:
    """The one-hot matrix (N, V) of ids (N,), as far as it is needed: its product with the gradient of what it chose.

    A product with a small matrix (distinct ids, N) for few distinct ids, sums over sorted segments for many.
    """

    def __init__(self, ids: Array, dtype: Any) -> None:
        self.order = np.argsort(ids, kind="stable")
        ordered = ids[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.ids = ordered[self.starts]
        self.matrix: Array | None = None
        if len(self.ids) <= 256:
            self.matrix = np.zeros((len(self.ids), len(ids)), dtype)
            self.matrix[np.searchsorted(self.ids, ids), np.arange(len(ids))] = 1

    def sum_rows(self, rows: Array, out: Array) -> None:
        """out[id] = sum of the rows (N, D) at which that id stood; out (V, D), zero for absent ids."""
        out[...] = 0
        sums = np.add.reduceat(rows[self.order], self.starts, axis=0) if self.matrix is None else self.matrix @ rows
        out[self.ids] = sums


def embedding_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids of any shape -> vectors (*ids.shape, D)."""
    return np.take(weight, ids, axis=0)


def embedding_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Writes the gradient of the rows that `ids` chose to dweight (V, D)."""
    OneHot(ids.ravel(), dy.dtype).sum_rows(dy.reshape(-1, dweight.shape[1]), out=dweight)


def linear_forward(x: Array, weight: Array, bias: Array) -> Array:
    """x (N, D), weight (M, D), bias (M,) -> y (N, M) = x weight^T + bias."""
    y: Array = x @ weight.T
    y += bias
    return y


def linear_backward(dy: Array, x: Array, weight: Array, dweight: Array, dbias: Array, dx: Array) -> None:
    """Writes dx (N, D); adds to dweight (M, D) and dbias (M,)."""
    np.matmul(dy, weight, out=dx)
    dweight += dy.T @ x
    dbias += dy.sum(axis=0)


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], rate: float, dtype: Any) -> Array:
    """Inverted dropout: each element is 0 with probability `rate`, else 1 / (1 - rate) (Srivastava et al. 2014).

    The probability is a multiple of 2^-16: two random bytes an element are drawn four times as fast as a number.
    """
    random = np.frombuffer(rng.bytes(2 * math.prod(shape)), np.uint16).reshape(shape)
    mask: Array = np.multiply(random >= round(rate * 2**16), 1 / (1 - rate), dtype=dtype)
    return mask
