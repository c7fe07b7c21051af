"""What of a text stands word for word in the corpus that a model was trained on.

Windows of w characters are hashed by a polynomial modulo 2^64 (Karp & Rabin 1987): those of a whole stretch of the
corpus at once, as differences of running sums. Hashes only say where to look; what counts is compared itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.tasks.language.corpus import Corpus

PASSAGE = 30  # characters from which on a passage counts for the share
STRETCH = 1 << 16  # characters of the corpus at once: what is computed of them stays in the cache
BASE = 0x9E3779B97F4A7C15  # of the polynomial; odd, so that it has an inverse


@dataclass(frozen=True)
class Copies:
    """What was found, of one text or of several. Numbers count symbols of the vocabulary: characters, or bytes."""

    size: int  # of the text
    copied: int  # of it, in passages of PASSAGE and more
    length: int  # of the longest passage
    text: str  # the longest passage
    offset: int | None  # where it first stands in the training text, from 0; None: nothing stands there
    line: int | None  # the line there, from 1

    @property
    def share(self) -> float | None:
        """Of the text, what is copied in passages of PASSAGE and more; None: the text is empty."""
        return self.copied / self.size if self.size else None

    def to_dict(self) -> dict[str, Any]:
        return {"share": self.share, **{name: getattr(self, name) for name in ("length", "text", "offset", "line")}}


def together(found: Sequence[Copies]) -> Copies:
    """Of several texts."""
    size, copied = sum(each.size for each in found), sum(each.copied for each in found)
    return replace(max(found, key=lambda each: each.length), size=size, copied=copied)


def find_copies(text: str, corpus: Corpus) -> Copies:
    """The passages of `text` that stand in the training part of the corpus."""
    vocabulary, codes = corpus.vocabulary, corpus.vocabulary.codes_of(text)
    known = np.isin(codes, vocabulary.codes)  # not what stands for bytes that are no character
    ids = np.where(known, np.searchsorted(vocabulary.codes, codes), len(vocabulary)).astype(np.uint32)
    trained = corpus.train[int(corpus.begun) :]  # without the start symbol
    search = _Search(ids)
    for start in range(0, len(trained), search.step):
        search.read(trained[start : start + search.step + len(ids)], start)
    if not search.length:
        return Copies(len(ids), 0, 0, "", None, None)
    passage = vocabulary.decode(ids[search.begin : search.begin + search.length])
    line = 1 + int(np.count_nonzero(trained[: search.offset] == vocabulary.newline))
    return Copies(len(ids), search.copied, search.length, passage, search.offset, line)


class _Search:
    """The passages of a text that have been found in a corpus, as far as it was read."""

    def __init__(self, ids: Array) -> None:
        self.ids, self.text = ids, _as_text(ids)
        self.step = max(STRETCH, len(ids))
        size = self.step + len(ids)
        self.powers, self.inverses = _powers(BASE, size), _powers(pow(BASE, -1, 1 << 64), size)
        self.sums = self._sums(ids)
        self.begin = self.length = self.offset = 0  # of the longest passage: in the text, its length, in the corpus
        self.longer = _Sieve(self._windows(self.sums, 1))
        # Of the windows of PASSAGE characters: where those stand that are still to be found, and which are found.
        self.hashes = self._windows(self.sums, PASSAGE)
        self.wanted: dict[str, list[int]] = {}
        for n in range(len(self.hashes)):
            self.wanted.setdefault(self.text[n : n + PASSAGE], []).append(n)
        self.found = np.zeros(len(self.hashes), bool)
        self.passages = _Sieve(self.hashes)

    def read(self, stretch: Array, start: int) -> None:
        """Some of the corpus, which begins at `start`, and as much behind it as a passage can be long."""
        sums = self._sums(stretch)
        while self.length < len(self.ids) and self._lengthen(stretch, start, sums):
            self.longer = _Sieve(self._windows(self.sums, self.length + 1))
        if self.length >= PASSAGE:
            self._collect(stretch, sums)

    def _lengthen(self, stretch: Array, start: int, sums: Array) -> bool:
        """Looks for a passage that is longer than the longest so far."""
        width = self.length + 1
        for place in self.longer.places(self._windows(sums, width)):
            begin = self.text.find(_as_text(stretch[place : place + width]))
            if begin >= 0:
                there = stretch[place : place + len(self.ids) - begin]
                same = self.ids[begin : begin + len(there)] == there
                self.length = len(same) if same.all() else int(same.argmin())
                self.begin, self.offset = begin, start + place
                return True
        return False

    def _collect(self, stretch: Array, sums: Array) -> None:
        """Looks for windows of PASSAGE characters that were not found yet."""
        before = len(self.wanted)
        for place in self.passages.places(self._windows(sums, PASSAGE)):
            self.found[self.wanted.pop(_as_text(stretch[place : place + PASSAGE]), [])] = True
        if len(self.wanted) < before:
            self.passages = _Sieve(self.hashes[~self.found])

    @property
    def copied(self) -> int:
        """Characters that stand in a window that was found."""
        windows = np.zeros(len(self.ids) + 1, int)  # that begin at a character, less those that have ended before it
        windows[: len(self.found)] += self.found
        windows[PASSAGE : PASSAGE + len(self.found)] -= self.found
        return int(np.count_nonzero(np.cumsum(windows)))

    def _sums(self, ids: Array) -> Array:
        """Running sums (n + 1,) of id times BASE^place."""
        sums = np.zeros(len(ids) + 1, np.uint64)
        np.cumsum(ids * self.powers[: len(ids)], out=sums[1:])
        return sums

    def _windows(self, sums: Array, width: int) -> Array:
        """The hashes of all windows, by the places where they begin."""
        hashes: Array = sums[width:] - sums[: max(0, len(sums) - width)]
        hashes *= self.inverses[: len(hashes)]
        return hashes


def _powers(base: int, number: int) -> Array:
    powers = np.full(number, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


class _Sieve:
    """A few hashes, to be found among many: by their first bits, and where those are the same by all."""

    def __init__(self, hashes: Array) -> None:
        self.hashes = np.sort(hashes)
        bits = max(20, len(hashes).bit_length() + 5)  # so that one of 32 others is looked at twice, at most
        self.shift, self.table = np.uint64(64 - bits), np.zeros(1 << bits, bool)
        self.table[self._first_bits(hashes)] = True

    def places(self, hashes: Array) -> list[int]:
        """Where one of the few stands."""
        places = np.flatnonzero(self.table[self._first_bits(hashes)])
        there = hashes[places]
        nearest = self.hashes.searchsorted(there).clip(max=len(self.hashes) - 1)
        found: list[int] = places[self.hashes[nearest] == there].tolist()
        return found

    def _first_bits(self, hashes: Array) -> Array:
        return (hashes >> self.shift).view(np.int64)


def _as_text(ids: Array) -> str:
    """To compare and to find."""
    return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
