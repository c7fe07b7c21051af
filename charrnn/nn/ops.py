"""Differentiable operations outside the recurrence, as pairs x_forward / x_backward on plain arrays.

N counts rows (time steps x streams), D and H are widths, V is the vocabulary's size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array

BLOCK_ROWS = 64  # that OneHot multiplies at once


class OneHot:
    """The one-hot matrix (N, V) of ids (N,), as far as it is needed: its product with the gradient of what it chose.

    Sorted by id, the rows of one id stand together: the matrix is block-diagonal, and each block of rows is multiplied
    with the few ids that it holds.
    """

    def __init__(self, ids: Array, dtype: Any) -> None:
        self.order = np.argsort(ids, kind="stable")
        ordered = ids[self.order]
        starts = np.ones(len(ordered), bool)
        starts[1:] = ordered[1:] != ordered[:-1]
        self.ids = ordered[starts]
        place = np.cumsum(starts) - 1  # of each row's id in self.ids
        self.blocks = []  # which of self.ids, which rows, and which row is of which id
        for start in range(0, len(ids), BLOCK_ROWS):
            part = place[start : start + BLOCK_ROWS]
            its_ids = slice(part[0], part[-1] + 1)
            matrix = np.zeros((its_ids.stop - its_ids.start, len(part)), dtype)
            matrix[part - its_ids.start, np.arange(len(part))] = 1
            self.blocks.append((its_ids, slice(start, start + len(part)), matrix))

    def sum_rows(self, rows: Array, out: Array) -> None:
        """out[id] = sum of the rows (N, D) at which that id stood; out (V, D), zero for absent ids."""
        ordered, sums = rows[self.order], np.zeros((len(self.ids), rows.shape[1]), rows.dtype)
        for ids, part, matrix in self.blocks:
            sums[ids] += matrix @ ordered[part]
        out[...] = 0
        out[self.ids] = sums


def embedding_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids of any shape -> vectors (*ids.shape, D)."""
    return np.take(weight, ids, axis=0)


def embedding_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Writes the gradient of the rows that `ids` chose to dweight (V, D)."""
    OneHot(ids.ravel(), dy.dtype).sum_rows(dy.reshape(-1, dweight.shape[1]), out=dweight)


def embedding_bag_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids (N, K) -> (N, D), the sum of the rows that each chooses. Row 0 stands for none and is zero."""
    y: Array = np.take(weight, ids, axis=0).sum(axis=1)
    return y


def embedding_bag_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Adds the gradient of the rows that ids (N, K) chose to dweight (V, D), none to row 0."""
    places = ids.astype(np.intp)[:, :, None] * dweight.shape[1] + np.arange(dweight.shape[1])  # in the flat weights
    np.add.at(dweight.reshape(-1), places.ravel(), np.broadcast_to(dy[:, None], places.shape).ravel())
    dweight[0] = 0


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

    The probability is a multiple of 2^-16: four elements share a random number of 64 bits.
    """
    size = math.prod(shape)
    random = rng.integers(2**64, size=-(-size // 4), dtype=np.uint64).view(np.uint16)[:size].reshape(shape)
    mask: Array = np.multiply(random >= round(rate * 2**16), 1 / (1 - rate), dtype=dtype)
    return mask
