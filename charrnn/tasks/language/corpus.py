"""A text as ids, split into a training, a validation and a test part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from charrnn.corpus.reading import CodeReader, display_name, make_reader, name_files
from charrnn.corpus.vocabulary import DOCUMENT_END, LINE_FEED, Vocabulary, smallest_uint
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.tasks.language.streams import NO_STARTS


@dataclass(frozen=True)
class Corpus:
    """The parts are vectors of ids, of the smallest unsigned type. A part starts with the start symbol or is empty.

    The state restarts at the start of each file and of each record.
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

    def describe(self) -> str:
        train, val, test = (max(0, len(part) - 1) for part in (self.train, self.val, self.test))
        symbols = f"{len(self.vocabulary)} distinct characters"
        return f"corpus: {symbols}, {train:,} to train on, {val:,} to validate, {test:,} to test"

    @property
    def record_end(self) -> int | None:
        """The id after which the state is reset. None if the text has no records."""
        return self.vocabulary.newline if self.lines else self.vocabulary.document_end

    def with_vocabulary_of(self, other: Vocabulary) -> Corpus:
        """The same corpus with a vocabulary that includes another one."""
        codes = self.vocabulary.codes
        union = self.vocabulary.union(other)
        if len(union) == len(codes):
            return self
        new_ids = np.searchsorted(union.codes, codes).astype(smallest_uint(len(union) - 1))
        train, val, test = (new_ids[part] for part in (self.train, self.val, self.test))
        for part in (train, val, test):
            part[:1] = union.start
        return replace(self, vocabulary=union, train=train, val=val, test=test)


def load_corpus(paths: Sequence[str], data: DataOptions) -> Corpus:
    """Reads, joins and splits text files. Raises CorpusError, UsageError."""
    reader = make_reader(data)
    names = name_files(list(map(display_name, paths)))
    file_end = LINE_FEED if data.separator is None else DOCUMENT_END
    files = _read_files(paths, reader, file_end)
    val_files = _read_files([data.val_file] if data.val_file else [], reader, file_end)
    notices = reader.notices()
    if files.without_end and data.separator is None:
        names_without_end = name_files(list(map(display_name, files.without_end)))
        notices.append(f"{names_without_end}: no line feed at the end; one is added before the next file")
    form = "none" if data.bytes else data.normalize
    vocabulary = Vocabulary.from_chunks([*files.chunks, *val_files.chunks], data.bytes, form, data.separator)
    ids = _join_ids(files.chunks, vocabulary)
    val_file = _join_ids(val_files.chunks, vocabulary)
    if not len(ids):
        raise CorpusError(f"{names}: the corpus is empty")
    if len(ids) < 2:
        raise CorpusError(f"{names}: the corpus has one character", "at least two are needed to predict the next one")
    if data.lines and vocabulary.newline is None:
        raise CorpusError("--lines: the corpus has no line feed")
    if data.separator is not None and vocabulary.document_end is None:
        raise CorpusError(f"--document-separator {data.document_separator!r}: does not occur in {names}")
    record_end = vocabulary.newline if data.lines else vocabulary.document_end
    points = _split_points(ids, data, record_end, notices)
    train, val, test = np.split(ids, points)
    starts = [_starts_within(files.starts, start, stop) for start, stop in pairwise([0, *points, len(ids)])]
    if data.val_file:
        if len(val_file) < 2:
            raise CorpusError(f"{data.val_file}: too few characters to validate on", "at least two are needed")
        val = val_file
        starts[1] = NO_STARTS
    if len(train) < (2 if record_end is None else 1):
        raise CorpusError(f"{names}: too few characters left to train on", "lower --val-fraction or --test-fraction")
    fingerprint = _fingerprint(ids, files.starts, val_file, vocabulary)
    train, val, test = (np.insert(part, 0, vocabulary.start) if len(part) else part for part in (train, val, test))
    return Corpus(vocabulary, data.lines, train, val, test, fingerprint, tuple(notices), *starts)


class Files(NamedTuple):
    """The codes of some files, joined."""

    chunks: list[Array]
    starts: Array  # the places of the first code of each file but the first
    without_end: list[str]  # the files that did not end in `file_end`, so that it was added


def _read_files(paths: Sequence[str], reader: CodeReader, file_end: int) -> Files:
    """Reads and joins files. A file that does not end in `file_end` gets it if another file follows."""
    chunks: list[Array] = []
    starts: list[int] = []
    without_end: list[str] = []
    length = 0
    previous = ""
    for path in paths:
        if length:
            if chunks[-1][-1] != file_end:
                without_end.append(previous)
                chunks.append(np.array([file_end]))
                length += 1
            starts.append(length)
        for chunk in reader.codes(path):
            chunks.append(chunk)
            length += len(chunk)
            previous = path
    return Files(chunks, np.unique(np.array([start for start in starts if start < length], np.int64)), without_end)


def _starts_within(starts: Array, start: int, stop: int) -> Array:
    """The file starts in a part of the text, relative to its start. At the start of the part, the state is zero."""
    within: Array = starts[(starts > start) & (starts < stop)] - start
    return within


def _join_ids(chunks: list[Array], vocabulary: Vocabulary) -> Array:
    """The ids of all chunks of codes as one vector."""
    ids = np.empty(sum(map(len, chunks)), smallest_uint(max(len(vocabulary) - 1, 0)))
    start = 0
    for chunk in chunks:
        ids[start : start + len(chunk)] = vocabulary.codes_to_ids(chunk)
        start += len(chunk)
    return ids


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
    ends = np.flatnonzero(ids[place - 1 :] == record_end)
    return place + int(ends[0]) if len(ends) else len(ids)


def _fingerprint(ids: Array, starts: Array, val_file: Array, vocabulary: Vocabulary) -> str:
    digest = hashlib.sha256(vocabulary.codes.astype("<u4").tobytes())
    for part in (ids, starts, val_file):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
