"""A text as ids, split into a training, a validation and a test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from charrnn.corpus.reading import MAX_TEXT_IN_MEMORY, display_name, name_files
from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.tasks.language.cache import read_text, recode_to_file
from charrnn.tasks.language.streams import NO_STARTS

SEARCHED = 1 << 20  # ids in which the end of a record is searched at once


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split into parts.

    The parts are vectors of ids, of the smallest unsigned type. A part starts with the start symbol or is empty. The
    parts of a large text are mapped from a file, so they must not be read as a whole. The state is reset at the start
    of each file and of each record.
    """

    vocabulary: Vocabulary
    lines: bool  # whether each line is a separate record
    train: Array
    val: Array
    test: Array
    fingerprint: str  # SHA-256 of text and vocabulary
    notices: tuple[str, ...]
    # Places of the inputs that predict the first symbol of a file, for each part.
    train_starts: Array = field(default_factory=lambda: NO_STARTS)
    val_starts: Array = field(default_factory=lambda: NO_STARTS)
    test_starts: Array = field(default_factory=lambda: NO_STARTS)
    train_start_symbols: int | None = None  # number of start symbols in `train`, if it is known

    def describe(self) -> str:
        train, val, test = (max(0, len(part) - 1) for part in (self.train, self.val, self.test))
        symbols = f"{len(self.vocabulary)} distinct characters"
        return f"corpus: {symbols}, {train:,} to train on, {val:,} to validate, {test:,} to test"

    @property
    def record_end(self) -> int | None:
        """The id after which the state is reset. None if the text has no records."""
        return self.vocabulary.newline if self.lines else self.vocabulary.document_end

    def with_vocabulary_of(self, other: Vocabulary, *, cache: bool = True) -> Corpus:
        """The same corpus with a vocabulary that includes another one. cache: see `load_corpus`."""
        codes = self.vocabulary.codes
        union = self.vocabulary.union(other)
        if len(union) == len(codes):
            return self
        new_ids = np.searchsorted(union.codes, codes).astype(smallest_uint(len(union) - 1))
        train, val, test = (
            recode_to_file(part, new_ids) if cache and part.nbytes > MAX_TEXT_IN_MEMORY else new_ids[part]
            for part in (self.train, self.val, self.test)
        )
        for part in (train, val, test):
            part[:1] = union.start
        start_symbols = self.train_start_symbols
        if start_symbols is not None and union.codes[union.start] != codes[self.vocabulary.start]:
            start_symbols = 1  # the new start symbol occurs only at the start
        return replace(self, vocabulary=union, train=train, val=val, test=test, train_start_symbols=start_symbols)


def load_corpus(paths: Sequence[str], data: DataOptions, *, cache: bool = True) -> Corpus:
    """Reads, joins and splits text files. Raises CorpusError, UsageError and StorageError.

    cache: whether the ids of a large text are in a file, see cache.py, or in memory.
    """
    names = name_files(list(map(display_name, paths)))
    with read_text(paths, data, cache=cache) as text:
        vocabulary = text.vocabulary
        notices = list(text.notices)
        if not text.length:
            raise CorpusError(f"{names}: the corpus is empty")
        if text.length < 2:
            problem = f"{names}: the corpus has one character"
            raise CorpusError(problem, "at least two are needed to predict the next one")
        if data.lines and vocabulary.newline is None:
            raise CorpusError("--lines: the corpus has no line feed")
        if data.separator is not None and vocabulary.document_end is None:
            raise CorpusError(f"--document-separator {data.document_separator!r}: does not occur in {names}")
        record_end = vocabulary.newline if data.lines else vocabulary.document_end
        bounds = [0, *_split_points(text.ids, data, record_end, notices), text.length]
        parts = [text.part(start, stop) for start, stop in pairwise(bounds)]
        starts = [_starts_within(text.starts, start, stop) for start, stop in pairwise(bounds)]
        if data.val_file:
            if text.val_length < 2:
                raise CorpusError(f"{data.val_file}: too few characters to validate on", "at least two are needed")
            parts[1] = text.val_part()
            starts[1] = NO_STARTS
        if bounds[1] < (2 if record_end is None else 1):
            hint = "lower --val-fraction or --test-fraction"
            raise CorpusError(f"{names}: too few characters left to train on", hint)
        start_symbols = text.count_start_symbols(bounds[1])
        train, val, test = parts
        train_starts, val_starts, test_starts = starts
        return Corpus(
            vocabulary,
            data.lines,
            train,
            val,
            test,
            text.fingerprint,
            tuple(notices),
            train_starts,
            val_starts,
            test_starts,
            None if start_symbols is None else start_symbols + 1,
        )


def _starts_within(starts: Array, start: int, stop: int) -> Array:
    """The file starts inside a part of the text, relative to the start of the part.

    The start of the part itself is left out, because the state is zero there.
    """
    within: Array = starts[(starts > start) & (starts < stop)] - start
    return within


def _split_points(ids: Array, data: DataOptions, record_end: int | None, notices: list[str]) -> tuple[int, int]:
    """The start of the validation part, and of the test part. Parts of fewer than two characters stay empty."""
    fractions = {"validate": 0.0 if data.val_file else data.val_fraction, "test": data.test_fraction}
    for purpose, fraction in fractions.items():
        if fraction and int(len(ids) * fraction) < 2:
            notices.append(f"{len(ids)} characters are too few to {purpose} on; all are used to train")
            fractions[purpose] = 0.0
    test_start = len(ids) - int(len(ids) * fractions["test"])
    val_start = test_start - int(len(ids) * fractions["validate"])
    if record_end is not None:
        val_start = _next_record_start(ids, val_start, record_end)
        test_start = _next_record_start(ids, test_start, record_end)
        if fractions["validate"] and val_start == test_start:
            notices.append(f"no whole {'line' if data.lines else 'document'} is left to validate on")
    return val_start, test_start


def _next_record_start(ids: Array, place: int, record_end: int) -> int:
    """The position of the first start of a record at or after `place`."""
    if place == 0:
        return 0
    for start in range(place - 1, len(ids), SEARCHED):
        ends = np.flatnonzero(ids[start : start + SEARCHED] == record_end)
        if len(ends):
            return start + 1 + int(ends[0])
    return len(ids)
