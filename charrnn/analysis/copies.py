"""Passages of a text that occur word for word in the training text of a model.

The training text is searched in stretches, which bounds the memory. In each stretch the hashes of all windows of one
width are compared with those of the text (Karp & Rabin 1987). Equal hashes only select candidates, whose symbols are
then compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.corpus.escapes import readable
from charrnn.nn.arrays import Array
from charrnn.tasks.language.corpus import Corpus

PASSAGE = 30  # the shortest passage that counts as copied
STRETCH = 1 << 16  # symbols of the training text that are searched together; their hashes fit into the cache
BASE = 0x9E3779B1  # of the hash polynomial
FILTER_BITS = 20  # leading bits of a hash that select the places where the whole hash is compared


@dataclass(frozen=True)
class Copies:
    """The copied passages of one text or of several. Lengths count symbols of the vocabulary: characters or bytes."""

    text_length: int
    copied_length: int  # symbols in copied passages of at least PASSAGE symbols
    length: int  # of the longest passage
    text: str  # the longest passage
    offset: int | None  # of its first occurrence in the training text, from 0; None if nothing is copied
    line: int | None  # of its first occurrence in the training text, from 1

    @property
    def share(self) -> float | None:
        """The copied fraction of the text; None for an empty text."""
        return self.copied_length / self.text_length if self.text_length else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "share": self.share,
            "length": self.length,
            "text": self.text,
            "offset": self.offset,
            "line": self.line,
        }


def merge_copies(copies: Sequence[Copies]) -> Copies:
    """Merges the copies of several texts: adds their lengths and keeps the longest passage."""
    return replace(
        max(copies, key=lambda one: one.length),
        text_length=sum(one.text_length for one in copies),
        copied_length=sum(one.copied_length for one in copies),
    )


def find_copies(text: str, corpus: Corpus) -> Copies:
    """The passages of `text` that occur in the training part of the corpus."""
    vocabulary = corpus.vocabulary
    codes = vocabulary.codes_of(text)
    is_known = np.isin(codes, vocabulary.codes)
    unknown_id = len(vocabulary)  # occurs nowhere in the corpus
    ids = np.where(is_known, np.searchsorted(vocabulary.codes, codes), unknown_id)
    training_ids = corpus.train[1:]  # without the start symbol
    begin, length, offset = _find_longest_passage(ids, training_ids)
    if not length:
        return Copies(len(ids), 0, 0, "", None, None)
    return Copies(
        text_length=len(ids),
        copied_length=_count_copied(ids, training_ids) if length >= PASSAGE else 0,
        length=length,
        text=readable(vocabulary.decode(ids[begin : begin + length])),
        offset=offset,
        line=1
        + sum(
            int(np.count_nonzero(stretch == vocabulary.newline))
            for _, stretch in _stretches(training_ids[:offset], overlap=0)
        ),
    )


def _find_longest_passage(ids: Array, training_ids: Array) -> tuple[int, int, int]:
    """The longest passage: its start in the text, its length, and its offset in the training text.

    The length is 0 if there is no such passage.
    """
    begin = length = offset = 0
    for start, stretch in _stretches(training_ids, overlap=len(ids)):
        while length < len(ids) and (longer := _find_passage(ids, stretch, length + 1)):
            begin, length, place = longer
            offset = start + place
    return begin, length, offset


def _find_passage(ids: Array, stretch: Array, min_length: int) -> tuple[int, int, int] | None:
    """(begin in the text, length, place in the stretch) of the first passage of at least `min_length` symbols."""
    text = _to_string(ids)
    for place in matching_places(window_hashes(stretch, min_length), window_hashes(ids, min_length)):
        begin = text.find(_to_string(stretch[place : place + min_length]))
        if begin >= 0:
            continuation = stretch[place : place + len(ids) - begin]
            is_equal = ids[begin : begin + len(continuation)] == continuation
            return begin, len(is_equal) if is_equal.all() else int(is_equal.argmin()), place
    return None


def _count_copied(ids: Array, training_ids: Array) -> int:
    """The number of symbols in windows of PASSAGE symbols that occur in the training text."""
    text = _to_string(ids)
    hashes = window_hashes(ids, PASSAGE)
    is_copied = np.zeros(len(hashes), bool)
    remaining: dict[str, list[int]] = {}  # windows that have not been seen in the training text -> their places
    for place in range(len(hashes)):
        remaining.setdefault(text[place : place + PASSAGE], []).append(place)
    for _, stretch in _stretches(training_ids, overlap=PASSAGE - 1):
        for place in matching_places(window_hashes(stretch, PASSAGE), hashes[~is_copied]):
            is_copied[remaining.pop(_to_string(stretch[place : place + PASSAGE]), [])] = True
    return int(np.count_nonzero(np.convolve(is_copied, np.ones(PASSAGE))))


def _stretches(training_ids: Array, overlap: int) -> Iterator[tuple[int, Array]]:
    """Yields (start, symbols) of each stretch. The symbols include the first `overlap` ones of the next stretch."""
    step = max(STRETCH, overlap)
    for start in range(0, len(training_ids), step):
        yield start, training_ids[start : start + step + overlap]


def window_hashes(ids: Array, width: int) -> Array:
    """Hashes (N - width + 1,) of all windows of ids (N,), modulo 2^32.

    The hash of a window is computed from the hashes of two windows of half its width. If the width is not a power of
    two, the two windows of the last step overlap. Width 6, for the symbols abcdef and the base B:

        ab = a B + b,  abcd = ab B^2 + cd,  abcdef = abcd B^4 + cdef
    """
    hashes = ids.astype(np.uint32)
    hashed_width = 1
    while hashed_width < width:
        shift = min(hashed_width, width - hashed_width)
        factor = np.uint32(pow(BASE, hashed_width, 1 << 32))
        hashes = hashes[: max(0, len(hashes) - shift)] * factor + hashes[shift:]
        hashed_width += shift
    return hashes


def matching_places(hashes: Array, wanted: Array) -> list[int]:
    """The places of those hashes that are also in `wanted`. This takes a tenth of the time of np.isin."""
    shift = 32 - FILTER_BITS
    table = np.zeros(1 << FILTER_BITS, bool)
    table[wanted >> shift] = True
    places = np.flatnonzero(table.take(hashes >> shift))
    candidates = hashes[places]
    wanted = np.sort(wanted)
    nearest = wanted.searchsorted(candidates).clip(max=len(wanted) - 1)
    matches: list[int] = places[wanted[nearest] == candidates].tolist()
    return matches


def _to_string(ids: Array) -> str:
    """Converts ids to a string of one character for each id. A string can be searched and used as a key."""
    return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
