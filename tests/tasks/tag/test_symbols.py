"""Input symbols of several characters, against the plain definition."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.tasks.tag import symbols
from charrnn.tasks.tag.symbols import MAX_LENGTH, MIN_COUNT, InputSymbols

LETTERS = "abc\u00df\U0010ffff"
VOCABULARY = Vocabulary.of_texts(["\t" + LETTERS])
EDGE = 0  # the id of the tab
texts = st.lists(st.text(LETTERS, max_size=12), min_size=1, max_size=8)


def encode(records):
    """The ids of all records, and their starts."""
    ids = [VOCABULARY.encode(text) for text in records]
    return np.concatenate([np.empty(0, np.uint8), *ids]), np.cumsum([0, *map(len, ids)])


def endings(records, length):
    """The last characters before each step. Records are preceded by tabs."""
    return [("\t" * length + text[: n + 1])[-length:] for text in records for n in range(len(text))]


@settings(deadline=None)
@given(texts)
def test_endings_that_occur_often_enough_are_symbols(records):
    longer = InputSymbols.from_records(VOCABULARY, EDGE, *encode(records)).longer
    counts = Counter(text for length in range(2, MAX_LENGTH + 1) for text in endings(records, length))
    assert longer == tuple(sorted(text for text, count in counts.items() if count >= MIN_COUNT))


def test_only_the_most_frequent_symbols_are_used(monkeypatch):
    monkeypatch.setattr(symbols, "MAX_SYMBOLS", 2)
    records = ["ab"] * 5 + ["bc"] * 4 + ["ca"] * 3
    longer = InputSymbols.from_records(VOCABULARY, EDGE, *encode(records)).longer
    assert longer == ("\ta", "ab")


@settings(deadline=None)
@given(texts, st.sets(st.text("\t" + LETTERS, min_size=2, max_size=MAX_LENGTH), max_size=30))
def test_each_step_reads_the_longest_known_symbol_that_ends_there(records, longer):
    input_symbols = InputSymbols(VOCABULARY, EDGE, tuple(sorted(longer)))
    levels = input_symbols.levels(*encode(records))
    names = [*map(chr, VOCABULARY.codes.tolist()), *input_symbols.longer]
    assert len(names) == len(input_symbols)
    assert levels.shape == (MAX_LENGTH, sum(map(len, records)))
    for max_length in range(1, MAX_LENGTH + 1):
        expected = endings(records, 1)
        for length in range(2, max_length + 1):
            pairs = zip(endings(records, length), expected, strict=True)
            expected = [ending if ending in longer else shorter for ending, shorter in pairs]
        assert [names[i] for i in levels[max_length - 1].tolist()] == expected


def test_ids_of_longer_symbols_follow_those_of_the_characters():
    input_symbols = InputSymbols(VOCABULARY, EDGE, ("ab", "abc", "bc"))
    assert input_symbols.ids_of(["bc", "ab"]).tolist() == [len(VOCABULARY) + 2, len(VOCABULARY)]
