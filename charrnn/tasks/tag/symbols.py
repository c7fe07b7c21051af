"""Input symbols of several characters. Each step reads the longest known symbol that ends there.

A network that reads `ing` as one symbol need not combine three steps, so it learns from fewer examples. Embeddings of
n-grams are described by Bojanowski et al. 2017. For `ids` and `starts` see ngrams.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.nn.arrays import Array
from charrnn.tasks.tag.ngrams import KeyTable, ids_to_keys, keys_to_ids, most_frequent_keys, ngram_keys

MAX_LENGTH = 3  # characters; the keys of three characters fit 63 bits with any vocabulary
MIN_COUNT = 3  # occurrences of each symbol of several characters
MAX_SYMBOLS = 5000  # number of symbols of several characters; the most frequent ones are used


@dataclass(frozen=True, eq=False)
class InputSymbols:
    """The symbols that a step can read. The ids of the characters are followed by those of the `longer` symbols."""

    vocabulary: Vocabulary
    edge: int  # the id of the symbols that precede each record
    longer: tuple[str, ...] = ()  # symbols of 2 to MAX_LENGTH characters

    @classmethod
    def from_records(cls, vocabulary: Vocabulary, edge: int, ids: Array, starts: Array) -> InputSymbols:
        """The most frequent symbols of some records."""
        size = len(vocabulary)
        _, *keys = ngram_keys(ids, starts, size, edge, MAX_LENGTH)
        longer = [
            vocabulary.decode(symbol_ids)
            for length, length_keys in enumerate(most_frequent_keys(keys, MIN_COUNT, MAX_SYMBOLS), 2)
            for symbol_ids in keys_to_ids(length_keys, size, length)
        ]
        return cls(vocabulary, edge, tuple(sorted(filter(_survives_json, longer))))

    def __len__(self) -> int:
        return len(self.vocabulary) + len(self.longer)

    def ids_of(self, longer: Iterable[str]) -> Array:
        """The ids of the given symbols, which are all in `self.longer`."""
        ids = {text: len(self.vocabulary) + n for n, text in enumerate(self.longer)}
        return np.array([ids[text] for text in longer], np.int64)

    def levels(self, ids: Array, starts: Array) -> Array:
        """The symbols (MAX_LENGTH, N) that each step reads if symbols have at most 1, 2 ... MAX_LENGTH characters."""
        levels = [ids.astype(smallest_uint(len(self) - 1))]
        _, *keys_of_lengths = ngram_keys(ids, starts, len(self.vocabulary), self.edge, MAX_LENGTH)
        for keys in keys_of_lengths:
            levels.append(self._longer_ids.find(keys, levels[-1]).astype(levels[0].dtype))
        return np.stack(levels)

    @cached_property
    def _longer_ids(self) -> KeyTable:
        """The ids of the `longer` symbols. Keys of different lengths differ, because all digits are positive."""
        size = len(self.vocabulary)
        keys = [ids_to_keys(self.vocabulary.encode(text)[None], size).item() for text in self.longer]
        return KeyTable(np.array(keys, np.int64), size + np.arange(len(keys)))


def _survives_json(text: str) -> bool:
    """Whether JSON preserves the text. It reads two consecutive surrogates as one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == text
