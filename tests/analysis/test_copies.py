"""What of a text stands in a corpus: against a search by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.analysis import copies
from charrnn.analysis.copies import find_copies, together
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.tasks.language.corpus import Corpus


def corpus_of(text, is_bytes=False):
    """A corpus of which all is trained on."""
    codes = np.frombuffer(text.encode(), np.uint8) if is_bytes else np.array([ord(c) for c in text])
    vocabulary = Vocabulary.of([codes], is_bytes)
    ids = vocabulary.codes_to_ids(codes)
    return Corpus(vocabulary, False, ids, ids[:0], ids[:0], "", ())


def by_hand(text, corpus, passage):
    """(share, length, offset, line), from all passages of all lengths."""
    longest, copied = 0, set()
    for begin in range(len(text)):
        length = 0
        while begin + length < len(text) and text[begin : begin + length + 1] in corpus:
            length += 1
        longest = max(longest, length)
        if length >= passage:
            copied |= set(range(begin, begin + length))
    share = len(copied) / len(text) if text else None
    if not longest:
        return share, 0, None, None
    passages = (text[begin : begin + longest] for begin in range(len(text) - longest + 1))
    offset = min(corpus.index(passage) for passage in passages if passage in corpus)
    return share, longest, offset, 1 + corpus[:offset].count("\n")


def check(text, corpus, found, passage):
    assert (found.share, found.length, found.offset, found.line) == by_hand(text, corpus, passage)
    assert len(found.text) == found.length and found.text in text
    if found.length:
        assert corpus[found.offset : found.offset + found.length] == found.text


@st.composite
def texts(draw):
    """A text and a corpus with pieces in common, of few symbols: passages repeat and overlap."""
    alphabet = draw(st.sampled_from(["ab", "ab\n", "aé\n", "a\U0001f600"]))
    pieces = draw(st.lists(st.text(alphabet, max_size=40), min_size=1, max_size=4))
    some = st.lists(st.sampled_from(pieces) | st.text(alphabet + "z", max_size=3), max_size=6).map("".join)
    return draw(some), draw(some.filter(len))


@settings(max_examples=400, deadline=None)
@given(
    texts(),
    st.sampled_from([1, 3, 7]),
    st.sampled_from([1, 2, 5, 64]),
    st.sampled_from([copies.BASE, 1, 3]),
)
def test_it_finds_what_a_search_by_hand_finds(both, passage, stretch, base):
    """However the corpus is cut, and with hashes of which many are the same."""
    text, corpus = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "PASSAGE", passage)
        patch.setattr(copies, "STRETCH", stretch)
        patch.setattr(copies, "BASE", base)
        check(text, corpus, find_copies(text, corpus_of(corpus)), passage)


def random_text(length, seed, symbols="abcdefgh \n"):
    return "".join(np.random.default_rng(seed).choice(list(symbols), length))


@pytest.mark.parametrize("size", [copies.STRETCH - 40, 3 * copies.STRETCH + 5])
def test_passages_at_and_over_the_cuts_of_a_large_corpus(size):
    corpus = random_text(size, 1)
    places = [0, size - 60] + [max(0, n * copies.STRETCH - 30) for n in range(1, size // copies.STRETCH + 1)]
    text = "?".join(corpus[place : place + 20 + 10 * n] for n, place in enumerate(places))
    check(text, corpus, find_copies(text, corpus_of(corpus)), 30)


def test_a_text_that_is_all_copied_and_one_longer_than_the_corpus():
    corpus = random_text(500, 2)
    found = find_copies(corpus, corpus_of(corpus))
    assert (found.share, found.length, found.offset, found.line) == (1.0, 500, 0, 1)
    found = find_copies("ab" + corpus * 3, corpus_of(corpus))
    assert (found.length, found.offset) == (500, 0) and found.share == pytest.approx(1500 / 1502)


def test_29_characters_are_no_passage_and_30_are():
    corpus = random_text(1000, 3)
    assert find_copies("?" + corpus[100:129] + "?", corpus_of(corpus)).share == 0
    assert find_copies("?" + corpus[100:130] + "?", corpus_of(corpus)).share == 30 / 32


def test_the_start_symbol_is_no_part_of_the_corpus():
    found = find_copies("\nab", corpus_of("abc\nabd\n").begin())
    assert (found.text, found.offset, found.line) == ("\nab", 3, 1)
    assert find_copies("abc", corpus_of("abc\nabd\n").begin()).offset == 0


def test_bytes_are_counted_and_what_was_no_character_stands_nowhere():
    corpus = corpus_of("naïve\nnaïveté\n", is_bytes=True)
    found = find_copies("naïveté", corpus)
    assert (found.text, found.length, found.offset, found.line) == ("naïveté", 9, 7, 2)
    assert find_copies("na\ufffdvet", corpus).text == "vet"


def test_an_empty_text_and_one_with_nothing_in_common():
    assert find_copies("", corpus_of("abc")) == copies.Copies(0, 0, 0, "", None, None)
    assert find_copies("xyz", corpus_of("abc")) == copies.Copies(3, 0, 0, "", None, None)


def test_of_several_texts_the_longest_passage_and_the_share_of_all_characters():
    corpus = random_text(1000, 4)
    found = [find_copies(text, corpus_of(corpus)) for text in ("?" * 60, corpus[100:140], corpus[300:331] + "?" * 69)]
    assert [each.share for each in found] == [0, 1, 0.31]
    both = together(found)
    assert (both.length, both.offset) == (40, 100)
    assert both.to_dict() == found[1].to_dict() | {"share": 71 / 200}
    assert find_copies("", corpus_of("abc")).share is None
