"""Differentiable operations outside the recurrence, as pairs of a forward and a backward function of arrays.

N rows (time steps x streams), D and M widths, K ids in a bag, V symbols.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array

BLOCK_ROWS = 64  # rows that OneHot multiplies at once


class OneHot:
    """A one-hot matrix (N, V) of ids (N,). Its product one_hot^T rows sums all rows that have the same id.

    np.add.at is slow, and a product with the whole one-hot matrix would mostly multiply by zeros. Therefore the rows
    are sorted by id. The matrix of the sorted rows is block-diagonal, so each block of BLOCK_ROWS rows is multiplied by
    a small one-hot matrix of the ids that occur in it. Example with 5 rows, in blocks of 3:

        ids             7  2  7  2  9
        order           1  3  0  2  4       sorts the ids
        sorted ids      2  2  7  7  9
        distinct ids    2  7  9
        first block     rows 2 2 7, distinct ids 2 and 7, matrix [[1, 1, 0],
                                                                  [0, 0, 1]]
        second block    rows 7 9, distinct ids 7 and 9, matrix [[1, 0],
                                                                [0, 1]]

    Id 7 occurs in both blocks. Its sum is the sum of both results.
    """

    def __init__(self, ids: Array, dtype: Any) -> None:
        self.order = np.argsort(ids, kind="stable")
        sorted_ids = ids[self.order]
        is_first = np.ones(len(ids), bool)  # whether a sorted row is the first one of its id
        is_first[1:] = sorted_ids[1:] != sorted_ids[:-1]
        self.distinct_ids = sorted_ids[is_first]
        index = np.cumsum(is_first) - 1  # the index of each sorted row's id among the distinct ids
        self.blocks: list[tuple[slice, slice, Array]] = []  # distinct ids, sorted rows, one-hot matrix
        for start in range(0, len(ids), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(ids)))
            block_ids = slice(index[rows.start], index[rows.stop - 1] + 1)
            matrix = np.arange(block_ids.start, block_ids.stop)[:, None] == index[rows]
            self.blocks.append((block_ids, rows, matrix.astype(dtype)))

    def sum_rows(self, rows: Array, out: Array) -> None:
        """rows (N, D) -> out (V, D), where out[id] is the sum of the rows with this id, or zero."""
        sorted_rows = rows[self.order]
        sums = np.zeros((len(self.distinct_ids), rows.shape[1]), rows.dtype)
        for block_ids, block_rows, matrix in self.blocks:
            sums[block_ids] += matrix @ sorted_rows[block_rows]
        out[...] = 0
        out[self.distinct_ids] = sums


def embedding_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids of any shape -> vectors (*ids.shape, D)."""
    return np.take(weight, ids, axis=0)


def embedding_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Writes dweight (V, D). dy: (*ids.shape, D)."""
    OneHot(ids.ravel(), dy.dtype).sum_rows(dy.reshape(-1, dweight.shape[1]), out=dweight)


def embedding_bag_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids (N, K) -> (N, D), the sum of the K vectors of each row. Id 0 is padding: weight[0] is zero."""
    y: Array = np.take(weight, ids, axis=0).sum(axis=1)
    return y


def embedding_bag_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Adds to dweight (V, D), except to row 0. dy: (N, D), ids: (N, K)."""
    D = dweight.shape[1]
    flat_index = ids.astype(np.intp)[:, :, None] * D + np.arange(D)  # (N, K, D), into the flat dweight
    np.add.at(dweight.reshape(-1), flat_index.ravel(), np.broadcast_to(dy[:, None], flat_index.shape).ravel())
    dweight[0] = 0


def linear_forward(x: Array, weight: Array, bias: Array) -> Array:
    """x (N, D), weight (M, D), bias (M,) -> y (N, M) = x weight^T + bias."""
    y: Array = x @ weight.T
    y += bias
    return y


def linear_backward(dy: Array, x: Array, weight: Array, dweight: Array, dbias: Array, dx: Array) -> None:
    """Writes dx (N, D). Adds to dweight (M, D) and dbias (M,). dy: (N, M)."""
    np.matmul(dy, weight, out=dx)
    dweight += dy.T @ x
    dbias += dy.sum(axis=0)


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], rate: float, dtype: Any) -> Array:
    """Inverted dropout (Srivastava et al. 2014): each element is 0 with probability `rate`, else 1 / (1 - rate).

    The probability is rounded to a multiple of 2^-16, because four elements share each random 64-bit integer.
    """
    size = math.prod(shape)
    random = rng.integers(2**64, size=-(-size // 4), dtype=np.uint64).view(np.uint16)[:size].reshape(shape)
    mask: Array = np.multiply(random >= round(rate * 2**16), 1 / (1 - rate), dtype=dtype)
    return mask
