"""Copied passages, compared with an exhaustive search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.analysis import copies
from charrnn.analysis.copies import Copies, find_copies, matching_places, merge_copies, window_hashes
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.tasks.language.corpus import Corpus


def make_corpus(text, is_bytes=False):
    """A corpus whose whole text is the training part."""
    codes = np.frombuffer(text.encode(), np.uint8) if is_bytes else np.array([ord(c) for c in text])
    vocabulary = Vocabulary(np.unique(codes).astype(np.uint32), is_bytes)
    ids = np.insert(vocabulary.codes_to_ids(codes), 0, vocabulary.start)
    return Corpus(vocabulary, False, ids, ids[:0], ids[:0], "", ())


def search_exhaustively(text, corpus, min_length):
    """(share, length, offset, line), from all passages of all lengths."""
    longest = 0
    copied = set()
    for begin in range(len(text)):
        length = 0
        while begin + length < len(text) and text[begin : begin + length + 1] in corpus:
            length += 1
        longest = max(longest, length)
        if length >= min_length:
            copied |= set(range(begin, begin + length))
    share = len(copied) / len(text) if text else None
    if not longest:
        return share, 0, None, None
    passages = (text[begin : begin + longest] for begin in range(len(text) - longest + 1))
    offset = min(corpus.index(passage) for passage in passages if passage in corpus)
    return share, longest, offset, 1 + corpus[:offset].count("\n")


def check(text, corpus, min_length):
    result = find_copies(text, make_corpus(corpus))
    expected = search_exhaustively(text, corpus, min_length)
    assert (result.share, result.length, result.offset, result.line) == expected
    assert len(result.text) == result.length and result.text in text
    if result.length:
        assert corpus[result.offset : result.offset + result.length] == result.text


@st.composite
def texts_with_common_pieces(draw):
    """A text and a corpus over a small alphabet, made of the same pieces. Passages repeat and overlap."""
    alphabet = draw(st.sampled_from(["ab", "ab\n", "aé\n", "a\U0001f600"]))
    pieces = draw(st.lists(st.text(alphabet, max_size=40), min_size=1, max_size=4))
    texts = st.lists(st.sampled_from(pieces) | st.text(alphabet + "z", max_size=3), max_size=6).map("".join)
    return draw(texts), draw(texts.filter(len))


@settings(max_examples=400, deadline=None)
@given(
    texts_with_common_pieces(),
    st.sampled_from([1, 3, 7]),
    st.sampled_from([1, 2, 5, 64]),
    st.sampled_from([copies.BASE, 1, 3]),
)
def test_result_equals_exhaustive_search_for_any_stretch_and_with_colliding_hashes(texts, passage, stretch, base):
    text, corpus = texts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "PASSAGE", passage)
        patch.setattr(copies, "STRETCH", stretch)
        patch.setattr(copies, "BASE", base)  # with base 1 all permutations of a window have the same hash
        check(text, corpus, passage)


def random_text(length, seed, symbols="abcdefgh \n"):
    return "".join(np.random.default_rng(seed).choice(list(symbols), length))


@pytest.mark.parametrize("size", [copies.STRETCH - 40, 3 * copies.STRETCH + 5])
def test_passages_at_the_ends_and_across_stretches_of_a_large_corpus_are_found(size):
    corpus = random_text(size, 1)
    starts = [0, size - 60] + [max(0, n * copies.STRETCH - 30) for n in range(1, size // copies.STRETCH + 1)]
    text = "?".join(corpus[start : start + 20 + 10 * n] for n, start in enumerate(starts))
    check(text, corpus, 30)


@pytest.mark.parametrize("width", [1, 2, 6, 30, 33])
def test_equal_windows_have_equal_hashes_and_different_windows_have_different_hashes(width):
    ids = np.random.default_rng(0).integers(0, 3, 500)
    windows = [tuple(ids[n : n + width]) for n in range(len(ids) - width + 1)]
    hashes = window_hashes(ids, width).tolist()
    assert len(hashes) == len(windows)
    assert len(set(zip(windows, hashes, strict=True))) == len(set(windows)) == len(set(hashes))


def test_there_are_no_hashes_if_the_window_is_longer_than_the_text():
    assert window_hashes(np.arange(3), 4).shape == window_hashes(np.arange(3), 9).shape == (0,)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_matching_places_are_those_of_numpy_isin(data):
    # Some of these hashes differ only in the bits after the first FILTER_BITS.
    hashes = st.lists(st.sampled_from([0, 1, 2, 1 << 12, (1 << 12) + 1, (1 << 32) - 1]), max_size=20)
    some = np.array(data.draw(hashes), np.uint32)
    wanted = np.array(data.draw(hashes), np.uint32)
    assert matching_places(some, wanted) == np.flatnonzero(np.isin(some, wanted)).tolist()


def test_a_text_that_is_all_copied_has_share_1():
    corpus = random_text(500, 2)
    result = find_copies(corpus, make_corpus(corpus))
    assert (result.share, result.length, result.offset, result.line) == (1.0, 500, 0, 1)


def test_the_text_may_be_longer_than_the_corpus():
    corpus = random_text(500, 2)
    result = find_copies("ab" + corpus * 3, make_corpus(corpus))
    assert (result.length, result.offset) == (500, 0)
    assert result.share == pytest.approx(1500 / 1502)


def test_the_share_counts_passages_of_at_least_30_characters():
    corpus = random_text(1000, 3)
    assert find_copies("?" + corpus[100:129] + "?", make_corpus(corpus)).share == 0
    assert find_copies("?" + corpus[100:130] + "?", make_corpus(corpus)).share == 30 / 32


def test_the_start_symbol_is_not_part_of_the_training_text():
    corpus = make_corpus("abc\nabd\n")
    assert corpus.vocabulary.decode(corpus.train) == "\nabc\nabd\n"
    result = find_copies("\nab", corpus)
    assert (result.text, result.offset, result.line) == ("\nab", 3, 1)
    assert find_copies("abc", corpus).offset == 0


def test_lengths_of_a_byte_model_count_bytes_and_undecodable_bytes_match_nothing():
    corpus = make_corpus("naïve\nnaïveté\n", is_bytes=True)
    result = find_copies("naïveté", corpus)
    assert (result.text, result.length, result.offset, result.line) == ("naïveté", 9, 7, 2)
    assert find_copies("na\ufffdvet", corpus).text == "vet"


def test_an_empty_text_and_a_text_of_unknown_characters_have_no_copies():
    assert find_copies("", make_corpus("abc")) == Copies(0, 0, 0, "", None, None)
    assert find_copies("xyz", make_corpus("abc")) == Copies(3, 0, 0, "", None, None)
    assert find_copies("", make_corpus("abc")).share is None


def test_merged_copies_have_the_longest_passage_and_the_share_of_all_characters():
    corpus = random_text(1000, 4)
    texts = ("?" * 60, corpus[100:140], corpus[300:331] + "?" * 69)
    parts = [find_copies(text, make_corpus(corpus)) for text in texts]
    assert [one.share for one in parts] == [0, 1, 0.31]
    merged = merge_copies(parts)
    assert (merged.length, merged.offset) == (40, 100)
    assert merged.to_dict() == parts[1].to_dict() | {"share": 71 / 200}
