"""Scores of predicted classes, compared with a direct computation."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.tasks import class_scores as module
from charrnn.tasks.class_scores import NO_ANSWER, class_scores, extended_names


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(NO_ANSWER, 3)), min_size=1, max_size=30))
def test_the_scores_agree_with_counts_by_hand(rows):
    names = "abcde"
    expected, answered = np.array(rows).T
    scores = class_scores(names, expected, answered)
    right = sum(true == best for true, best in rows)
    assert scores["accuracy"] == pytest.approx(right / len(rows))
    pairs = Counter((names[true], names[best]) for true, best in rows if best != NO_ANSWER)
    assert {(true, best): count for true, best, count in scores["confusion"]} == pairs
    counts = [count for *_, count in scores["confusion"]]
    assert counts == sorted(counts, reverse=True)
    f1s = []
    for n, name in enumerate(names):
        true = sum(row[0] == n for row in rows)
        predicted = sum(row[1] == n for row in rows)
        assert (name in scores["classes"]) == (true + predicted > 0)
        if true + predicted:
            values = scores["classes"][name]
            assert values["count"] == true
            assert values["precision"] == (pairs[name, name] / predicted if predicted else None)
            assert values["recall"] == (pairs[name, name] / true if true else None)
            assert values["f1"] == pytest.approx(2 * pairs[name, name] / (true + predicted))
        if true:
            f1s.append(values["f1"])
    assert scores["macro_f1"] == pytest.approx(np.mean(f1s))


def test_the_scores_of_many_classes_have_a_limited_size(monkeypatch):
    monkeypatch.setattr(module, "MAX_LISTED", 3)
    number = 100_000  # a matrix of their confusions would need 80 GB
    expected = np.append(np.arange(number), [7, 7])
    answered = np.append(np.arange(number), [7, 8])
    scores = class_scores(range(number), expected, answered)
    assert list(scores["classes"]) == [7, 0, 1]
    assert scores["confusion"] == [[7, 7, 2], [0, 0, 1], [1, 1, 1]]


def test_no_predictions_have_no_scores():
    nothing = np.empty(0, np.int64)
    assert class_scores("ab", nothing, nothing) == {
        "accuracy": None,
        "macro_f1": None,
        "classes": {},
        "confusion": [],
    }


def test_names_that_are_not_known_follow_the_known_ones():
    names, ids = extended_names(("y", "x"), ["x", "q", "y", "b", "q"])
    assert names == ["y", "x", "b", "q"]
    assert [names[n] for n in ids] == ["x", "q", "y", "b", "q"]
