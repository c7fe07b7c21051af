"""N-grams around a character as the input features of a linear model.

The features of a character are the n-grams of 1 to MAX_LENGTH characters that contain it or start directly after it.
The same n-gram at another position is another feature. For the first `n` in `banana` and MAX_LENGTH 3 the n-grams are

    ending at the character:  n, an, ban
    ending 1 step later:      a, na, ana
    ending 2 steps later:        an, nan
    ending 3 steps later:            ana

Only n-grams that end at most `lookahead` steps later are used, because the network has not read further.

N-grams of one length are compared by keys. The key of an n-gram is the number whose digits are its ids + 1, in the
base V + 1. With V = 3 symbols, the ids (2, 0) have the digits 3 and 1, and the key 3 x 4 + 1 = 13. A key must fit
63 bits, so n-grams are shorter if the vocabulary is large.

The arrays `ids` (N,) hold the ids of all records, concatenated. The arrays `starts` (R + 1,) hold the first step of
each record, followed by N.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.nn.arrays import Array

MAX_LENGTH = 5  # characters
MAX_NGRAMS = 100_000  # the most frequent n-grams are used
SURROGATES = (0xD800, 0xDFFF)  # first and last; JSON reads two consecutive surrogates as one character


def max_key_length(vocabulary_size: int) -> int:
    """The maximum length of an n-gram whose key fits in 63 bits."""
    return 63 // (vocabulary_size + 1).bit_length()


def ngram_keys(ids: Array, starts: Array, vocabulary_size: int, edge: int, max_length: int) -> Iterator[Array]:
    """Yields for the lengths 1, 2 ... the keys (N,) of the n-grams that end at each step.

    Each record is preceded by symbols with the id `edge`. Stops at the first length whose keys do not fit 63 bits.
    """
    base = vocabulary_size + 1
    digits = ids.astype(np.int64) + 1
    step_in_record = np.arange(len(ids)) - np.repeat(starts[:-1], np.diff(starts))
    keys = digits
    yield keys
    for before in range(1, min(max_length, max_key_length(vocabulary_size))):
        earlier_digits = np.where(step_in_record >= before, np.roll(digits, before), edge + 1)
        keys = keys + earlier_digits * base**before
        yield keys


def ids_to_keys(ids: Array, vocabulary_size: int) -> Array:
    """ids (M, length) -> keys (M,)."""
    place_values = (vocabulary_size + 1) ** np.arange(ids.shape[1])[::-1]
    keys: Array = (ids.astype(np.int64) + 1) @ place_values
    return keys


def keys_to_ids(keys: Array, vocabulary_size: int, length: int) -> Array:
    """keys (M,) of n-grams of one length -> ids (M, length)."""
    base = vocabulary_size + 1
    place_values = base ** np.arange(length)[::-1]
    return keys[:, None] // place_values % base - 1


def most_frequent_keys(keys: Sequence[Array], min_count: int, max_number: int) -> list[Array]:
    """Returns the distinct keys of each length that occur at least `min_count` times, in ascending order.

    At most `max_number` keys are returned in total. They are the most frequent ones.
    """
    distinct = [np.unique(length_keys, return_counts=True) for length_keys in keys]
    counts = np.concatenate([length_counts for _, length_counts in distinct])
    is_kept = np.zeros(len(counts), bool)
    is_kept[np.argsort(-counts, kind="stable")[:max_number]] = True
    is_kept &= counts >= min_count
    ends = np.cumsum([len(length_keys) for length_keys, _ in distinct])[:-1]
    kept = np.split(is_kept, ends)
    return [length_keys[length_kept] for (length_keys, _), length_kept in zip(distinct, kept, strict=True)]


class KeyTable:
    """Maps keys of n-grams to numbers."""

    def __init__(self, keys: Array, numbers: Array) -> None:
        order = np.argsort(keys)
        # A search for a key that is larger than all others ends at the appended key -1, which no n-gram has.
        self.keys = np.append(keys[order], -1)
        self.numbers = np.append(numbers[order], 0)

    def find(self, keys: Array, default: Array | int) -> Array:
        """The number of each key; `default` for a key that is not in the table."""
        places = np.searchsorted(self.keys[:-1], keys)
        return np.where(self.keys[places] == keys, self.numbers[places], default)


@dataclass(frozen=True, eq=False)
class NgramFeatures:
    """The known n-grams. An n-gram has a feature for each position that it can have relative to a character."""

    vocabulary: Vocabulary
    edge: int  # the id of the symbols that precede each record
    lookahead: int  # number of steps after a character that the network has read
    texts: tuple[str, ...] = ()  # for each length, the concatenated n-grams of this length

    @classmethod
    def from_records(
        cls, vocabulary: Vocabulary, edge: int, lookahead: int, ids: Array, starts: Array
    ) -> NgramFeatures:
        """The most frequent n-grams of some records."""
        size = len(vocabulary)
        texts = []
        keys = list(ngram_keys(ids, starts, size, edge, MAX_LENGTH))
        for length, length_keys in enumerate(most_frequent_keys(keys, 1, MAX_NGRAMS), 1):
            codes = vocabulary.codes[keys_to_ids(length_keys, size, length)]
            low, high = SURROGATES
            survives_json = ((codes < low) | (codes > high)).all(axis=1)
            texts.append(codes[survives_json].astype("<u4").tobytes().decode("utf-32-le"))
        return cls(vocabulary, edge, lookahead, tuple(texts))

    @classmethod
    def from_list(cls, vocabulary: Vocabulary, edge: int, lookahead: int, texts: Any) -> NgramFeatures:
        """From the metadata of a checkpoint. Raises ValueError if it is damaged."""
        if not isinstance(texts, list) or not texts or len(texts) > max_key_length(len(vocabulary)):
            raise ValueError("invalid n-grams in the checkpoint")
        for length, text in enumerate(texts, 1):
            ngrams = {text[n : n + length] for n in range(0, len(text), length)}
            if len(ngrams) * length != len(text) or not all(character in vocabulary for character in set(text)):
                raise ValueError("invalid n-grams in the checkpoint")
        return cls(vocabulary, edge, lookahead, tuple(texts))

    def with_vocabulary(self, vocabulary: Vocabulary, edge: int, lookahead: int) -> NgramFeatures:
        """The same n-grams with a vocabulary that includes the present one."""
        return NgramFeatures(vocabulary, edge, lookahead, self.texts[: max_key_length(len(vocabulary))])

    @property
    def size(self) -> int:
        """The number of features. Feature 0 means "no known n-gram"."""
        ngram_counts = (len(text) // length for length, text in enumerate(self.texts, 1))
        return 1 + sum(count * self._num_positions(length) for length, count in enumerate(ngram_counts, 1))

    @property
    def per_character(self) -> int:
        """The number of features per character (K)."""
        return len(self._positions[0])

    def locate(self, ids: Array, starts: Array) -> LocatedNgrams:
        """Finds the known n-grams in some records."""
        first_feature = np.zeros((len(ids), len(self.texts)), np.uint32)
        keys_of_lengths = ngram_keys(ids, starts, len(self.vocabulary), self.edge, len(self.texts))
        for column, keys, table in zip(first_feature.T, keys_of_lengths, self._first_features, strict=True):
            column[:] = table.find(keys, 0)
        lengths, offsets = self._positions
        return LocatedNgrams(first_feature, lengths, offsets, self.lookahead)

    def _num_positions(self, length: int) -> int:
        """The number of positions that an n-gram of this length can have relative to a character.

        The n-gram ends at the character or up to min(length, lookahead) steps after it.
        """
        return min(length, self.lookahead) + 1

    @property
    def _positions(self) -> tuple[Array, Array]:
        """Returns two arrays (K,) for the K features of a character.

        They are the index of the n-gram's length in `texts`, and the number of steps from the character to the end of
        the n-gram.
        """
        positions = [
            (length - 1, offset)
            for length in range(1, len(self.texts) + 1)
            for offset in range(self._num_positions(length))
        ]
        lengths, offsets = np.array(positions, np.int64).reshape(-1, 2).T
        return lengths, offsets

    @cached_property
    def _first_features(self) -> list[KeyTable]:
        """A table for each length, which maps the key of an n-gram to its first feature."""
        tables = []
        next_feature = 1
        for length, text in enumerate(self.texts, 1):
            keys = ids_to_keys(self.vocabulary.encode(text).reshape(-1, length), len(self.vocabulary))
            tables.append(KeyTable(keys, next_feature + np.arange(len(keys)) * self._num_positions(length)))
            next_feature += len(keys) * self._num_positions(length)
        return tables


@dataclass(frozen=True, eq=False)
class LocatedNgrams:
    """The known n-grams in some records."""

    first_feature: Array  # (N, lengths), the first feature of the n-gram of each length that ends at a step, 0: unknown
    lengths: Array  # (K,), see NgramFeatures._positions
    offsets: Array  # (K,)
    lookahead: int

    def features(self, steps: Array) -> Array:
        """Returns the features (..., K) of the characters that the network tags at the given steps (...,).

        The character is at step t = step - lookahead. Its feature k belongs to the n-gram that ends at t + offsets[k].
        The features of an n-gram are numbered by offset, so the offset is added to the first feature. Unknown n-grams
        have the feature 0.
        """
        ends = (steps[..., None] - self.lookahead + self.offsets).clip(0)
        first = self.first_feature[ends, self.lengths]
        return np.where(first, first + self.offsets.astype(np.uint32), 0)
