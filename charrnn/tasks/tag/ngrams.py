"""Strings of some characters: which stand in records, and which stand around a place.

Around the `n` of `banana` stand `n`, `an`, `na`, `ban`, `ana`, `nan` ... and `a`, which begins right behind it.

N counts steps, of records end to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.nn.arrays import Array

LONGEST = 5  # characters
MOST = 100_000  # strings: the most frequent
SURROGATES = 0xD800, 0xDFFF  # code points that JSON may read in pairs, as one character


def longest_key(size: int) -> int:
    """Of how many characters, out of so many different ones, a number of 64 bits can be made."""
    return 63 // (size + 1).bit_length()


def string_keys(ids: Array, starts: Array, size: int, edge: int, longest: int) -> Iterator[Array]:
    """For 1, 2 ... characters the key (N,) of those up to each step: their ids + 1 are the digits of a number, the last
    the lowest. `edge` stands before a record; ids are below `size`. It ends where 64 bits do."""
    digits, base = ids.astype(np.int64) + 1, size + 1
    inside = np.arange(len(ids)) - np.repeat(starts[:-1], np.diff(starts))
    keys = digits
    yield keys
    for before in range(1, min(longest, longest_key(size))):
        keys = keys + np.where(inside >= before, np.roll(digits, before), edge + 1) * base**before
        yield keys


def key_digits(keys: Array, size: int, length: int) -> Array:
    """(M,) keys of strings of such a length -> the ids (M, length) of their characters."""
    return keys[:, None] // (size + 1) ** np.arange(length)[::-1] % (size + 1) - 1


def keys_of(ids: Array, size: int) -> Array:
    """The inverse: ids (M, length) -> keys (M,)."""
    keys: Array = (ids.astype(np.int64) + 1) @ (size + 1) ** np.arange(ids.shape[1])[::-1]
    return keys


def most_frequent(keys: Sequence[Array], least: int, most: int) -> list[Array]:
    """Of the keys of several lengths, those that stand there often enough: ascending, for each length."""
    found = [np.unique(its_keys, return_counts=True) for its_keys in keys]
    counts = np.concatenate([its_counts for _, its_counts in found])
    chosen = np.zeros(len(counts), bool)
    chosen[np.argsort(-counts, kind="stable")[:most]] = True
    chosen &= counts >= least
    ends = np.cumsum([len(its_keys) for its_keys, _ in found])[:-1]
    return [its_keys[its] for (its_keys, _), its in zip(found, np.split(chosen, ends), strict=True)]


@dataclass(frozen=True, eq=False)
class Strings:
    """The strings that are known, each as features of a place: that it ends there, or so many characters behind it."""

    vocabulary: Vocabulary
    edge: int  # the id that stands before a record
    ahead: int  # characters behind the place that are looked at
    texts: tuple[str, ...] = ()  # those of one character, end to end, those of two ...

    @classmethod
    def of(cls, vocabulary: Vocabulary, edge: int, ahead: int, ids: Array, starts: Array) -> Strings:
        """Those of some records: the ids (N,) of their characters, and where each begins and the last ends."""
        size, texts = len(vocabulary), []
        keys = list(string_keys(ids, starts, size, edge, LONGEST))
        for length, its_keys in enumerate(most_frequent(keys, 1, MOST), 1):
            codes = vocabulary.codes[key_digits(its_keys, size, length)]
            single = ((codes < SURROGATES[0]) | (codes > SURROGATES[1])).all(axis=1)
            texts.append(codes[single].astype("<u4").tobytes().decode("utf-32-le"))
        return cls(vocabulary, edge, ahead, tuple(texts))

    @classmethod
    def from_list(cls, vocabulary: Vocabulary, edge: int, ahead: int, texts: Any) -> Strings:
        """As it stands in a checkpoint. Raises ValueError."""
        if not isinstance(texts, list) or len(texts) > longest_key(len(vocabulary)):
            raise ValueError("its strings are none")
        for length, text in enumerate(texts, 1):
            strings = {text[n : n + length] for n in range(0, len(text), length)}
            if len(strings) * length != len(text) or not all(map(vocabulary.knows, set(text))):
                raise ValueError("its strings are none")
        return cls(vocabulary, edge, ahead, tuple(texts))

    def of_more(self, vocabulary: Vocabulary, edge: int, ahead: int) -> Strings:
        """The same strings where more characters are known."""
        return Strings(vocabulary, edge, ahead, self.texts[: longest_key(len(vocabulary))])

    @property
    def size(self) -> int:
        """How many features there are, and one for none."""
        return 1 + sum(len(text) // n * self._places(n) for n, text in enumerate(self.texts, 1)) if self.texts else 0

    @property
    def at_once(self) -> int:
        """How many of them a place can have."""
        return len(self._columns[0])

    def found(self, ids: Array, starts: Array) -> Found:
        """Where they stand in some records."""
        first = np.zeros((len(ids), len(self.texts)), np.uint32)
        every = string_keys(ids, starts, len(self.vocabulary), self.edge, len(self.texts))
        for column, keys, (known, features) in zip(first.T, every, self._known, strict=True):
            place = np.searchsorted(known[:-1], keys)
            column[:] = np.where(known[place] == keys, features[place], 0)
        return Found(first, *self._columns, self.ahead)

    def _places(self, length: int) -> int:
        """How many features such a string has: it ends at the place, or 1 to `length` characters behind it."""
        return min(length, self.ahead) + 1

    @property
    def _columns(self) -> tuple[Array, Array]:
        """What a place can have, (K,) each: strings of which length, from 0, that end how many characters behind it."""
        places = [(n - 1, behind) for n in range(1, len(self.texts) + 1) for behind in range(self._places(n))]
        lengths, behind = np.array(places, np.int64).reshape(-1, 2).T
        return lengths, behind

    @cached_property
    def _known(self) -> list[tuple[Array, Array]]:
        """For each length the keys in order, and the first feature of each; at the end one that nothing has."""
        known, size, next_feature = [], len(self.vocabulary), 1
        for length, text in enumerate(self.texts, 1):
            keys = keys_of(self.vocabulary.encode(text).reshape(-1, length), size)
            order = np.argsort(keys)
            known.append((np.append(keys[order], -1), np.append(next_feature + order * self._places(length), 0)))
            next_feature += len(keys) * self._places(length)
        return known


@dataclass(frozen=True, eq=False)
class Found:
    """Which strings stand where in some records."""

    first: Array  # (N, lengths): the first feature of the string of each length that ends at a step; 0: not known
    lengths: Array  # (K,): for each feature that a place can have which column it comes from
    behind: Array  # (K,): and how many characters behind the place its string ends
    ahead: int

    def at(self, steps: Array) -> Array:
        """What is known of the places `ahead` steps before some steps (...,): features (..., K), 0 for none."""
        first = self.first[(steps[..., None] - self.ahead + self.behind).clip(0), self.lengths]
        return np.where(first, first + self.behind.astype(np.uint32), 0)
