"""Precision, recall, F1 and confusions of predicted classes, such as labels or tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array

MAX_LISTED = 10_000  # classes and confusions in the scores; the most frequent ones are listed
NO_ANSWER = -1


def class_scores(names: Sequence[str], expected: Array, answered: Array) -> dict[str, Any]:
    """Scores N predictions. Memory and time grow with N and with the number of names, not with its square.

    names: of all classes. expected (N,): the correct classes, as indices of `names`. answered (N,): the predicted
    classes; NO_ANSWER counts as wrong.

    Returns a dict of
    `accuracy`: the fraction of correct predictions.
    `macro_f1`: the mean F1 of the classes that are expected at least once.
    `classes`: `{name: {"count": ..., "precision": ..., "recall": ..., "f1": ...}}` of the classes that are expected or
    predicted, the most frequent first. `count` is the number of times that the class is expected.
    `confusion`: `[expected, predicted, count]` of all combinations that occur, correct ones included, the most frequent
    first.
    """
    size = len(names)
    right = np.bincount(expected[expected == answered], minlength=size)
    num_expected = np.bincount(expected, minlength=size)
    num_predicted = np.bincount(answered[answered != NO_ANSWER], minlength=size)
    f1 = 2 * right / np.maximum(1, num_expected + num_predicted)
    is_expected = num_expected > 0
    listed = [n for n in np.argsort(-num_expected, kind="stable").tolist() if num_expected[n] or num_predicted[n]]
    is_answer = answered != NO_ANSWER
    keys, counts = np.unique(expected[is_answer] * size + answered[is_answer], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_LISTED]
    return {
        "accuracy": int(right.sum()) / len(expected) if len(expected) else None,
        "macro_f1": float(f1[is_expected].mean()) if is_expected.any() else None,
        "classes": {
            names[n]: {
                "count": int(num_expected[n]),
                "precision": int(right[n]) / int(num_predicted[n]) if num_predicted[n] else None,
                "recall": int(right[n]) / int(num_expected[n]) if num_expected[n] else None,
                "f1": float(f1[n]),
            }
            for n in listed[:MAX_LISTED]
        },
        "confusion": [
            [names[key // size], names[key % size], count]
            for key, count in zip(keys[order].tolist(), counts[order].tolist(), strict=True)
        ],
    }


def extended_names(known: Sequence[str], outputs: Sequence[str]) -> tuple[list[str], Array]:
    """The names of all classes: the known ones, then the others in `outputs`. Also returns the class of each output."""
    ids = {name: n for n, name in enumerate(known)}
    for name in sorted(set(outputs) - ids.keys()):
        ids[name] = len(ids)
    return list(ids), np.array([ids[output] for output in outputs], np.int64)
