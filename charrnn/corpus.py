"""From files to numbers: reading text, the vocabulary, splits, and batches of parallel streams."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError, UsageError
from charrnn.reading import display_name, read_codes

Array = NDArray[Any]

BATCH_SIZE, SEQ_LENGTH = 32, 64  # what is used where the corpus is large enough


def smallest_uint(largest: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that holds `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The symbols of a corpus, characters or byte values, in code-point order; a symbol's place is its id."""

    codes: Array  # (V,) uint32, ascending: code points, or byte values
    is_bytes: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def _ids(self) -> Array:
        """Code -> id; the largest value where there is none."""
        table = np.full(int(self.codes[-1]) + 2, np.iinfo(np.uint32).max, np.uint32)
        table[self.codes] = np.arange(len(self))
        return table

    @property
    def newline(self) -> int | None:
        """The id of the line feed, if it is known."""
        place = int(np.searchsorted(self.codes, 10))
        return place if place < len(self) and self.codes[place] == 10 else None

    @property
    def start(self) -> int:
        """The id that stands before a text without a prime: the line feed where there is one, else the first symbol."""
        return self.newline or 0

    def codes_to_ids(self, codes: Array, *, skip_unknown: bool = False) -> Array:
        """Codes (N,) -> ids (N,) of the smallest unsigned type. Raises CorpusError naming the first unknown one."""
        ids = self._ids.take(codes, mode="clip")  # beyond the end of the table is unknown, as its last entry
        unknown = ids == np.iinfo(np.uint32).max
        if unknown.any():
            if not skip_unknown:
                position = int(unknown.argmax())
                what = f"{self.describe(int(codes[position]))} at position {position} is not in the vocabulary"
                raise CorpusError(what, "leave such out with --on-unknown skip")
            ids = ids[~unknown]
        return ids.astype(smallest_uint(len(self) - 1))

    def encode(self, text: str, *, skip_unknown: bool = False) -> Array:
        """Text -> ids, through UTF-8 if the symbols are bytes. Raises CorpusError naming an unknown character."""
        if self.is_bytes:
            try:
                codes = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
            except UnicodeEncodeError as error:
                what = f"character {text[error.start]!r} at position {error.start} has no bytes in UTF-8"
                raise CorpusError(what) from None
        else:
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return self.codes_to_ids(codes, skip_unknown=skip_unknown)

    def decode(self, ids: Array | Sequence[int]) -> str:
        """Ids -> text; bytes that are not UTF-8 become U+FFFD."""
        codes = self.codes[np.asarray(ids, np.intp)]
        if self.is_bytes:
            return codes.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(map(chr, codes.tolist()))

    def describe(self, code: int) -> str:
        """A symbol by name, as character 'ß' (U+00DF) or byte 0xff."""
        return f"byte 0x{code:02x}" if self.is_bytes else f"character {chr(code)!r} (U+{code:04X})"


@dataclass(frozen=True)
class Corpus:
    """A corpus in numbers: each part a vector of ids of the smallest unsigned type. A part may be empty."""

    vocabulary: Vocabulary
    train: Array
    val: Array
    test: Array
    fingerprint: str  # SHA-256 of the ids and the vocabulary
    notices: tuple[str, ...]


def load_corpus(paths: Sequence[str], config: TextConfig) -> Corpus:
    """Reads, joins and splits the files. Raises CorpusError where a text cannot be used, UsageError for bad options."""
    if config.val_fraction + config.test_fraction >= 1:
        raise UsageError("--val-fraction and --test-fraction leave nothing to train on", "their sum must be below 1")
    notices: list[str] = []
    names = ", ".join(map(display_name, paths))
    chunks = list(read_codes(paths, config, notices))
    train_chunks = len(chunks)
    if config.val_file:
        chunks += read_codes([config.val_file], config, notices)
    vocabulary = _vocabulary(chunks, config.bytes)
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
    if newline is not None and config.lines:
        # What stands before a record is the newline that ended the one before.
        train, val, test = (np.insert(part, 0, newline) if len(part) else part for part in (train, val, test))
    if len(train) < 2:
        raise CorpusError(f"{names}: too few characters left to train on", "lower --val-fraction or --test-fraction")
    return Corpus(vocabulary, train, val, test, _fingerprint(ids, val_file, vocabulary), tuple(notices))


def extend_vocabulary(corpus: Corpus, vocabulary: Vocabulary) -> Corpus:
    """The same corpus in ids of a vocabulary that holds its own symbols and those of `vocabulary`."""
    own = corpus.vocabulary.codes
    union = Vocabulary(np.union1d(own, vocabulary.codes).astype(np.uint32), corpus.vocabulary.is_bytes)
    new_ids = np.searchsorted(union.codes, own).astype(smallest_uint(len(union) - 1))
    parts = {name: new_ids[getattr(corpus, name)] for name in ("train", "val", "test")}
    return replace(corpus, vocabulary=union, **parts)


def _vocabulary(chunks: Sequence[Array], is_bytes: bool) -> Vocabulary:
    seen = np.zeros(0x110000, bool)
    for chunk in chunks:
        seen[chunk] = True
    return Vocabulary(np.flatnonzero(seen).astype(np.uint32), is_bytes)


def _ids(chunks: list[Array], vocabulary: Vocabulary) -> Array:
    """Ids of all chunks in one vector; each chunk is let go once it is converted."""
    ids = np.empty(sum(map(len, chunks)), smallest_uint(max(len(vocabulary) - 1, 0)))
    start = 0
    for chunk in chunks:
        ids[start : start + len(chunk)] = vocabulary.codes_to_ids(chunk)
        start += len(chunk)
    return ids


def _cuts(ids: Array, config: TextConfig, newline: int | None, notices: list[str]) -> tuple[int, int]:
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


def fit_batch(pairs: int, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
    """(B, T) for a text of `pairs` (character, next character): those given, the others fitted, B T <= pairs.

    Raises UsageError naming the largest that fits if the given ones do not.
    """
    if seq_length is not None and seq_length > pairs:
        largest = max(1, pairs // (batch_size or 1))
        raise UsageError(
            f"--seq-length {seq_length}: longer than the training text", f"the largest that fits is {largest}"
        )
    fitted_t = seq_length or max(1, min(SEQ_LENGTH, pairs // (batch_size or 1)))
    fitted_b = batch_size or max(1, min(BATCH_SIZE, pairs // fitted_t))
    if fitted_b * fitted_t > pairs:
        largest = max(1, pairs // (seq_length or 1))
        what = f"--batch-size {fitted_b}: too few characters to train on for it at a sequence length of {fitted_t}"
        raise UsageError(what, f"the largest that fits is {largest}")
    return fitted_b, fitted_t


class BatchStream:
    """B streams that read one text in parallel, evenly spaced, T characters a step, round and round.

    The batch is a function of the step alone, so the position to save is the step. Each stream runs on where it was,
    so a state carried from step to step is always that of the text before, except where the text begins anew.
    """

    def __init__(self, ids: Array, batch_size: int, seq_length: int, record_end: int | None = None) -> None:
        """record_end: the id after which the state starts from zero (it is the first input of the next record)."""
        self.ids, self.seq_length, self.record_end = ids, seq_length, record_end
        self.pairs = len(ids) - 1
        self.starts = np.arange(batch_size) * self.pairs // batch_size

    def batch(self, step: int) -> tuple[Array, Array, Array | None]:
        """Inputs x and targets y (T, B) of a step, and keep (T, B, 1): False where the state must start from zero, or
        None where it never must."""
        places = (self.starts + step * self.seq_length + np.arange(self.seq_length)[:, None]) % self.pairs
        x, y = self.ids[places], self.ids[places + 1]
        keep = places != 0
        if self.record_end is not None:
            keep &= x != self.record_end
        return x, y, None if keep.all() or (step == 0 and keep[1:].all()) else keep[:, :, None]
