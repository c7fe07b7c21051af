"""The language model as a task: what fits its corpus."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.tasks.language.corpus import Corpus
from charrnn.tasks.language.task import LanguageTask


def fit(pairs, batch_size, seq_length):
    ids = np.zeros(pairs + 1, np.uint8)
    corpus = Corpus(Vocabulary(np.array([97], np.uint32)), False, ids, ids[:0], ids[:0], "", ())
    return LanguageTask(corpus).fit_batch(batch_size, seq_length)


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3000), st.none() | st.integers(1, 300), st.none() | st.integers(1, 300))
@example(pairs=50, batch_size=4, seq_length=100)
def test_a_batch_fits_or_the_named_largest_does(pairs, batch_size, seq_length):
    try:
        fitted = fit(pairs, batch_size, seq_length)
    except UsageError as error:
        option, largest = re.match(r"--(\S+) .*largest that fits is (\d+)", str(error)).groups()
        sizes = {"batch-size": batch_size, "seq-length": seq_length}
        if any(size and size > pairs for name, size in sizes.items() if name != option):
            sizes = {option: sizes[option]}  # the other one alone is too large: no value of this one fits beside it
        smaller, larger = (sizes | {option: int(largest) + more} for more in (0, 1))
        fit(pairs, smaller.get("batch-size"), smaller.get("seq-length"))
        if len(sizes) == 2:
            with pytest.raises(UsageError):
                fit(pairs, larger["batch-size"], larger["seq-length"])
        return
    assert fitted[0] * fitted[1] <= pairs
    assert all(asked in (None, size) for asked, size in zip((batch_size, seq_length), fitted, strict=True))
