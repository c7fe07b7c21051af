"""A text in numbers: its parts to train, validate and test on, as ids of one vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from charrnn.corpus.reading import display_name, read_codes
from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions


@dataclass(frozen=True)
class Corpus:
    """A corpus in numbers: each part a vector of ids of the smallest unsigned type. A part may be empty; if they are
    `begun`, any other begins with the start symbol."""

    vocabulary: Vocabulary
    lines: bool  # each line is a record of its own
    train: Array
    val: Array
    test: Array
    fingerprint: str  # SHA-256 of the ids and the vocabulary
    notices: tuple[str, ...]
    begun: bool = False

    def begin(self) -> Corpus:
        """The start symbol before each part: as every text begins, so do these."""
        start = self.vocabulary.start
        train, val, test = (np.insert(p, 0, start) if len(p) else p for p in (self.train, self.val, self.test))
        return replace(self, begun=True, train=train, val=val, test=test)

    def describe(self) -> str:
        """Its size in words, without the start symbols."""
        train, val, test = (max(0, len(part) - self.begun) for part in (self.train, self.val, self.test))
        symbols = f"{len(self.vocabulary)} distinct characters"
        return f"corpus: {symbols}, {train:,} to train on, {val:,} to validate, {test:,} to test"

    @property
    def record_end(self) -> int | None:
        """The id after which the state starts anew, if there is one."""
        return self.vocabulary.newline if self.lines else None


def load_corpus(paths: Sequence[str], config: DataOptions) -> Corpus:
    """Reads, joins and splits the files. Raises CorpusError where a text cannot be used, UsageError for bad options."""
    if config.val_fraction + config.test_fraction >= 1:
        raise UsageError("--val-fraction and --test-fraction leave nothing to train on", "their sum must be below 1")
    notices: list[str] = []
    names = ", ".join(map(display_name, paths))
    chunks = list(read_codes(paths, config, notices))
    train_chunks = len(chunks)
    if config.val_file:
        chunks += read_codes([config.val_file], config, notices)
    vocabulary = Vocabulary.of(chunks, config.bytes)
    ids = _ids(chunks[:train_chunks], vocabulary)
    val_file = _ids(chunks[train_chunks:], vocabulary)
    if not len(ids):
        raise CorpusError(f"{names}: the corpus is empty")
    if len(ids) < 2:
        raise CorpusError(f"{names}: one character is too few", "there must be a next one to learn")
    newline = vocabulary.newline
    if config.lines and newline is None:
        raise CorpusError("--lines: the corpus has no line feed")
    cuts = _cuts(ids, config, newline, notices)
    train, val, test = np.split(ids, cuts)
    if config.val_file:
        if len(val_file) < 2:
            raise CorpusError(f"{config.val_file}: too few characters to validate on", "it takes two at least")
        val = val_file
    if len(train) < (1 if config.lines else 2):
        raise CorpusError(f"{names}: too few characters left to train on", "lower --val-fraction or --test-fraction")
    fingerprint = _fingerprint(ids, val_file, vocabulary)
    return Corpus(vocabulary, config.lines, train, val, test, fingerprint, tuple(notices))


def extend_vocabulary(corpus: Corpus, vocabulary: Vocabulary) -> Corpus:
    """The same corpus in ids of a vocabulary that holds its own symbols and those of `vocabulary`."""
    own, union = corpus.vocabulary.codes, corpus.vocabulary.with_those_of(vocabulary)
    if len(union) == len(own):
        return corpus
    new_ids = np.searchsorted(union.codes, own).astype(smallest_uint(len(union) - 1))
    parts = {name: new_ids[getattr(corpus, name)] for name in ("train", "val", "test")}
    return replace(corpus, vocabulary=union, **parts)


def _ids(chunks: list[Array], vocabulary: Vocabulary) -> Array:
    """Ids of all chunks in one vector; each chunk is let go once it is converted."""
    ids = np.empty(sum(map(len, chunks)), smallest_uint(max(len(vocabulary) - 1, 0)))
    start = 0
    for chunk in chunks:
        ids[start : start + len(chunk)] = vocabulary.codes_to_ids(chunk)
        start += len(chunk)
    return ids


def _cuts(ids: Array, config: DataOptions, newline: int | None, notices: list[str]) -> tuple[int, int]:
    """Where validation and test begin: train first, validation next, test last. A part too small to use is left out."""
    shares = {"validate": 0.0 if config.val_file else config.val_fraction, "test": config.test_fraction}
    for purpose, share in shares.items():
        if share and int(len(ids) * share) < 2:
            notices.append(f"the corpus is too small to {purpose} on: {len(ids)} characters; all are trained on")
            shares[purpose] = 0.0
    test_start = len(ids) - int(len(ids) * shares["test"])
    train_end = test_start - int(len(ids) * shares["validate"])
    if config.lines:
        train_end, test_start = _line_start(ids, train_end, newline), _line_start(ids, test_start, newline)
        if shares["validate"] and train_end == test_start:
            notices.append("no whole line is left to validate on")
    return train_end, test_start


def _line_start(ids: Array, cut: int, newline: int | None) -> int:
    """The first start of a line at or after `cut`."""
    if cut == 0:
        return 0
    ends = np.flatnonzero(ids[cut - 1 :] == newline)
    return cut + int(ends[0]) if len(ends) else len(ids)


def _fingerprint(ids: Array, val_file: Array, vocabulary: Vocabulary) -> str:
    digest = hashlib.sha256(vocabulary.codes.astype("<u4").tobytes())
    for part in (ids, val_file):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
