"""Strings around a place: which are known, and which stand where, against the plain definition."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.tasks.tag.ngrams import LONGEST, Strings

LETTERS = "\tabc\u00df\U0010ffff"
VOCABULARY = Vocabulary.of_texts([LETTERS])
texts = st.lists(st.text(LETTERS[1:], max_size=12), min_size=1, max_size=8)


def encoded(records, vocabulary=VOCABULARY):
    ids = [vocabulary.encode(text) for text in records]
    return np.concatenate([np.empty(0, np.uint8), *ids]), np.cumsum([0, *map(len, ids)])


def listed(known):
    """The strings that are known, in the order of their features."""
    return [text[n : n + length] for length, text in enumerate(known.texts, 1) for n in range(0, len(text), length)]


def plain(records, length):
    """The string of such a length that ends at each step; tabs stand before a record."""
    return [("\t" * length + text[: n + 1])[-length:] for text in records for n in range(len(text))]


@settings(deadline=None)
@given(texts, texts, st.integers(0, 7))
def test_a_place_has_the_known_strings_that_end_there_or_up_to_their_length_behind(records, others, ahead):
    known = Strings.of(VOCABULARY, 0, ahead, *encoded(records))
    every = [text for length in range(1, LONGEST + 1) for text in plain(records, length)]
    assert sorted(listed(known)) == sorted(set(every))
    features = [(text, j) for text in listed(known) for j in range(min(len(text), ahead) + 1)]
    assert known.size == 1 + len(features)
    found, place = known.found(*encoded(others)), 0
    for text in others:
        steps = place + np.arange(ahead, len(text))  # of places with so many characters behind them
        for n, row in enumerate(found.at(steps).tolist()):
            there = {
                (string, j)
                for length in range(1, LONGEST + 1)
                for j in range(min(length, ahead) + 1)
                for string in [("\t" * length + text[: n + j + 1])[-length:]]
            }
            assert len(row) == known.at_once
            assert Counter(features[i - 1] for i in row if i) == Counter(there & set(features))
        place += len(text)


def test_of_too_many_the_most_frequent_are_known(monkeypatch):
    monkeypatch.setattr(ngrams, "MOST", 4)
    assert listed(Strings.of(VOCABULARY, 0, 2, *encoded(["aab", "aac", "baa"]))) == ["a", "b", "\ta", "aa"]


def test_they_outlive_json_and_are_the_same_where_more_characters_are_known():
    records = ["a\ud83d\ude42b", "bab"]
    vocabulary = Vocabulary.of_texts(["\t", *records])
    known = Strings.of(vocabulary, 0, 2, *encoded(records, vocabulary))
    assert "ba" in listed(known) and "\ud83d" not in "".join(known.texts)  # JSON would read the halves as one
    assert Strings.from_list(vocabulary, 0, 2, json.loads(json.dumps(known.texts))).texts == known.texts
    wider = known.of_more(Vocabulary.of_texts(["\t!", *records]), 0, 2)
    first, again = (its.found(*encoded(["babb"], its.vocabulary)).at(np.arange(2, 4)) for its in (known, wider))
    np.testing.assert_array_equal(again, first)
    assert first.any() and wider.size == known.size


def test_of_many_characters_strings_are_shorter_since_a_key_has_64_bits():
    vocabulary = Vocabulary.of_texts(["\t" + "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))])
    text = "\u4e00\u8c00\u4e01\u8c1f"
    known = Strings.of(vocabulary, 0, 1, *encoded([text], vocabulary))
    assert [len(its) for its in known.texts] == [4, 8, 12, 16]
    assert known.found(*encoded([text], vocabulary)).at(np.array([3])).all()
    few = Strings.of(VOCABULARY, 0, 1, *encoded(["abcabc"]))
    assert few.of_more(vocabulary, 0, 1).texts == few.texts[:4]


@pytest.mark.parametrize("wrong", ["ab", ["ab", "abc"], ["aa"], ["az"], [7], {"a": 1}, ["a", "ab", "", "", "", ""] * 9])
def test_what_is_no_list_of_strings_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        Strings.from_list(VOCABULARY, 0, 2, wrong)
