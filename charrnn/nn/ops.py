"""Differentiable operations outside the recurrence, as pairs x_forward / x_backward on plain arrays.

N counts rows (time steps x streams), D and H are widths, V is the vocabulary's size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def rows_by_id(ids: Array) -> tuple[Array, Array, Array]:
    """Sort positions by id: (unique ids (U,), order (N,), start of each id's run in `order` (U,))."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return ordered[starts], order, starts


def scatter_add_rows(target: Array, ids: Array, rows: Array) -> None:
    """target[ids[n]] += rows[n] for every n: target (V, D), ids (N,), rows (N, D).

    One product with a one-hot matrix for few distinct ids, sorted segments for many.
    """
    unique, order, starts = rows_by_id(ids)
    if len(unique) <= 256:
        one_hot = np.zeros((len(unique), len(ids)), rows.dtype)
        one_hot[np.searchsorted(unique, ids), np.arange(len(ids))] = 1
        target[unique] += one_hot @ rows
    else:
        target[unique] += np.add.reduceat(rows[order], starts, axis=0)


def embedding_forward(weight: Array, ids: Array) -> Array:
    """weight (V, D), ids of any shape -> vectors (*ids.shape, D)."""
    return np.take(weight, ids, axis=0)


def embedding_backward(dy: Array, ids: Array, dweight: Array) -> None:
    """Adds the gradient of the rows that `ids` chose to dweight (V, D)."""
    scatter_add_rows(dweight, ids.ravel(), dy.reshape(-1, dweight.shape[1]))


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


def softmax_forward(logits: Array) -> Array:
    """Softmax over the last axis, in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits


def cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Logits (N, V), targets (N,) -> nats of each row (N,) and, in the place of the logits, the probabilities."""
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    nats = -logits[rows, targets]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    nats += np.log(total[:, 0])
    logits /= total
    return nats, logits


def cross_entropy_backward(probabilities: Array, targets: Array, scale: float) -> Array:
    """Turns probabilities (N, V) in place into the logits' gradient of scale x sum of nats: scale x (p - one_hot)."""
    probabilities[np.arange(len(targets)), targets] -= 1
    probabilities *= scale
    return probabilities


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], rate: float, dtype: Any) -> Array:
    """Inverted dropout: each element is 0 with probability `rate`, else 1 / (1 - rate) (Srivastava et al. 2014)."""
    kept: Array = rng.random(shape, dtype=np.float32) >= rate
    return np.where(kept, np.asarray(1 / (1 - rate), dtype), np.asarray(0, dtype))
