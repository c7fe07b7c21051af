"""Longer symbols: which there are, and what a step reads, against the plain definition."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import SIMPLER, Records, Windows, WindowStream
from charrnn.tasks.tag.symbols import LEAST, LONGEST, Grams

VOCABULARY = Vocabulary.of_texts(["\tabc\u00df\U0010ffff"])
texts = st.lists(st.text("abc\u00df\U0010ffff", max_size=12), min_size=1, max_size=8)


def encoded(texts):
    ids = [VOCABULARY.encode(text) for text in texts]
    return np.concatenate([np.empty(0, np.uint8), *ids]), np.cumsum([0, *map(len, ids)])


def endings(texts, length):
    """The last characters up to each step; tabs stand before a text."""
    return [("\t" * length + text[: n + 1])[-length:] for text in texts for n in range(len(text))]


@settings(deadline=None)
@given(texts)
def test_a_symbol_is_longer_where_that_stands_often_enough(records):
    found = Grams.of(VOCABULARY, 0, *encoded(records)).longer
    counts = Counter(text for length in range(2, LONGEST + 1) for text in endings(records, length))
    assert found == tuple(sorted(text for text, count in counts.items() if count >= LEAST))


@settings(deadline=None)
@given(texts, st.sets(st.text("\tabc\u00df\U0010ffff", min_size=2, max_size=LONGEST), max_size=30))
def test_a_step_reads_the_longest_symbol_that_is_known(records, longer):
    grams = Grams(VOCABULARY, 0, tuple(sorted(longer)))
    levels = grams.levels(*encoded(records))
    symbols = [*map(chr, VOCABULARY.codes.tolist()), *grams.longer]
    assert len(symbols) == len(grams) and levels.shape == (LONGEST, sum(map(len, records)))
    for most in range(1, LONGEST + 1):
        read = endings(records, 1)
        for length in range(2, most + 1):
            read = [e if e in longer else s for e, s in zip(endings(records, length), read, strict=True)]
        assert [symbols[i] for i in levels[most - 1].tolist()] == read


def test_training_reads_half_of_the_steps_in_less_detail_the_same_again():
    levels = np.arange(3 * 400).reshape(3, 400)
    starts, plain = np.arange(0, 401, 8), np.zeros(400, int)
    windows = Windows(Records(levels[-1], plain, plain == 0, starts, levels=levels), 40)
    stream, again = WindowStream(windows, 5, seed=1), WindowStream(windows, 5, seed=1)
    read = np.concatenate([stream.batch(step).x for step in range(20)])
    assert (read == np.concatenate([again.batch(step).x for step in range(20)])).all()
    assert sorted(read[:40].ravel() % 400) == sorted(set(read[:40].ravel() % 400))  # each step of the records once
    shares = np.bincount(read.ravel() // 400) / read.size
    np.testing.assert_allclose(shares, [SIMPLER / 2, SIMPLER / 2, 1 - SIMPLER], atol=0.03)
    assert (windows.batch(np.arange(5)).x >= 800).all()  # validation: in full
