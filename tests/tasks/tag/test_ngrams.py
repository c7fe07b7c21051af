"""N-gram features, against the plain definition."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.tasks.tag import ngrams
from charrnn.tasks.tag.ngrams import MAX_LENGTH, NgramFeatures, ids_to_keys, keys_to_ids, most_frequent_keys, ngram_keys

LETTERS = "\tabc\u00df\U0010ffff"
VOCABULARY = Vocabulary.of_texts([LETTERS])
EDGE = 0  # the id of the tab
texts = st.lists(st.text(LETTERS[1:], max_size=12), min_size=1, max_size=8)


def encode(records, vocabulary=VOCABULARY):
    """The ids of all records, and their starts."""
    ids = [vocabulary.encode(text) for text in records]
    return np.concatenate([np.empty(0, np.uint8), *ids]), np.cumsum([0, *map(len, ids)])


def list_ngrams(features):
    """The known n-grams, in the order of their features."""
    return [text[n : n + length] for length, text in enumerate(features.texts, 1) for n in range(0, len(text), length)]


def ngrams_ending_at_each_step(records, length):
    """Records are preceded by tabs."""
    return [("\t" * length + text[: n + 1])[-length:] for text in records for n in range(len(text))]


def test_the_examples_in_the_module_docstring():
    assert ids_to_keys(np.array([[2, 0]]), 3).tolist() == [13]
    vocabulary = Vocabulary.of_texts(["\tabn"])
    lookahead = 3
    known = NgramFeatures.from_records(vocabulary, EDGE, lookahead, *encode(["banana"], vocabulary))
    names = [(text, j) for text in list_ngrams(known) for j in range(min(len(text), lookahead) + 1)]
    first_n = 2
    located = known.locate(*encode(["banana"], vocabulary))
    features = [names[i - 1] for i in located.features(np.array(first_n + lookahead)).tolist() if i]
    expected = {0: ["n", "an", "ban"], 1: ["a", "na", "ana"], 2: ["an", "nan"], 3: ["ana"]}
    assert sorted(feature for feature in features if len(feature[0]) <= 3) == sorted(
        (text, j) for j, texts in expected.items() for text in texts
    )


@settings(deadline=None)
@given(texts)
def test_keys_identify_the_ngram_that_ends_at_each_step(records):
    ids, starts = encode(records)
    all_keys = list(ngram_keys(ids, starts, len(VOCABULARY), EDGE, MAX_LENGTH))
    assert len(all_keys) == MAX_LENGTH
    for length, keys in enumerate(all_keys, 1):
        ngram_ids = keys_to_ids(keys, len(VOCABULARY), length)
        decoded = [VOCABULARY.decode(row) for row in ngram_ids]
        assert decoded == ngrams_ending_at_each_step(records, length)
        np.testing.assert_array_equal(ids_to_keys(ngram_ids, len(VOCABULARY)), keys)


def test_the_most_frequent_keys_of_all_lengths_are_returned_in_ascending_order():
    keys = [np.array([5, 1, 1, 5, 5]), np.array([9, 9, 7, 7, 8])]
    assert [k.tolist() for k in most_frequent_keys(keys, 2, 99)] == [[1, 5], [7, 9]]
    assert [k.tolist() for k in most_frequent_keys(keys, 1, 3)] == [[1, 5], [7]]
    assert [k.tolist() for k in most_frequent_keys(keys, 3, 99)] == [[5], []]


@settings(deadline=None)
@given(texts, texts, st.integers(0, 7))
def test_the_features_of_a_character_are_the_known_ngrams_around_it_with_their_positions(records, others, lookahead):
    known = NgramFeatures.from_records(VOCABULARY, EDGE, lookahead, *encode(records))
    expected = {text for length in range(1, MAX_LENGTH + 1) for text in ngrams_ending_at_each_step(records, length)}
    assert sorted(list_ngrams(known)) == sorted(expected)
    features = [(text, j) for text in list_ngrams(known) for j in range(min(len(text), lookahead) + 1)]
    assert known.size == 1 + len(features)
    located = known.locate(*encode(others))
    record_start = 0
    for text in others:
        steps = record_start + np.arange(lookahead, len(text))  # the last characters are not followed by enough others
        for n, row in enumerate(located.features(steps).tolist()):
            around = {
                (("\t" * length + text[: n + j + 1])[-length:], j)
                for length in range(1, MAX_LENGTH + 1)
                for j in range(min(length, lookahead) + 1)
            }
            assert len(row) == known.per_character
            assert Counter(features[i - 1] for i in row if i) == Counter(around & set(features))
        record_start += len(text)


def test_only_the_most_frequent_ngrams_are_known(monkeypatch):
    monkeypatch.setattr(ngrams, "MAX_NGRAMS", 4)
    known = NgramFeatures.from_records(VOCABULARY, EDGE, 2, *encode(["aab", "aac", "baa"]))
    assert list_ngrams(known) == ["a", "b", "\ta", "aa"]


def test_ngrams_survive_json_and_have_the_same_features_with_a_larger_vocabulary():
    records = ["a\ud83d\ude42b", "bab"]
    vocabulary = Vocabulary.of_texts(["\t", *records])
    known = NgramFeatures.from_records(vocabulary, EDGE, 2, *encode(records, vocabulary))
    assert "ba" in list_ngrams(known)
    assert "\ud83d" not in "".join(known.texts)  # JSON would join the two surrogates
    restored = NgramFeatures.from_list(vocabulary, EDGE, 2, json.loads(json.dumps(known.texts)))
    assert restored.texts == known.texts
    larger_vocabulary = Vocabulary.of_texts(["\t!", *records])
    larger = known.with_vocabulary(larger_vocabulary, EDGE, 2)
    steps = np.arange(2, 4)
    expected = known.locate(*encode(["babb"], vocabulary)).features(steps)
    np.testing.assert_array_equal(larger.locate(*encode(["babb"], larger_vocabulary)).features(steps), expected)
    assert expected.any() and larger.size == known.size


def test_with_a_large_vocabulary_ngrams_are_shorter_because_keys_have_63_bits():
    vocabulary = Vocabulary.of_texts(["\t" + "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))])
    text = "\u4e00\u8c00\u4e01\u8c1f"
    known = NgramFeatures.from_records(vocabulary, EDGE, 1, *encode([text], vocabulary))
    assert [len(joined) for joined in known.texts] == [4, 8, 12, 16]
    assert known.locate(*encode([text], vocabulary)).features(np.array([3])).all()
    small = NgramFeatures.from_records(VOCABULARY, EDGE, 1, *encode(["abcabc"]))
    assert len(small.texts) == MAX_LENGTH
    assert small.with_vocabulary(vocabulary, EDGE, 1).texts == small.texts[:4]


@pytest.mark.parametrize(
    "damaged", ["ab", [], ["ab", "abc"], ["aa"], ["az"], [7], {"a": 1}, ["a", "ab", "", "", "", ""] * 9]
)
def test_damaged_metadata_are_refused(damaged):
    with pytest.raises((ValueError, TypeError)):
        NgramFeatures.from_list(VOCABULARY, EDGE, 2, damaged)
