"""Input symbols of several characters: a step reads the longest known symbol of up to MAX_LENGTH characters that ends
there.

A network that reads `ing` as one symbol does not have to combine three steps, and learns from fewer words what it means.
Taggers have long used such n-grams; for vectors of n-grams see Bojanowski et al. 2017.

N steps of all records, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.nn.arrays import Array
from charrnn.tasks.tag.ngrams import ids_to_keys, keys_to_ids, most_frequent_keys, ngram_keys

MAX_LENGTH = 3  # characters; the code points of so many fit 63 bits
MIN_COUNT = 3  # occurrences of a symbol of several characters
MAX_SYMBOLS = 5000  # of several characters; the most frequent ones are kept


@dataclass(frozen=True, eq=False)
class InputSymbols:
    """What a step can read: a character, by its id, or one of the `longer` symbols, whose ids follow."""

    vocabulary: Vocabulary
    edge: int  # the id assumed before a record
    longer: tuple[str, ...] = ()  # symbols of 2 to MAX_LENGTH characters

    @classmethod
    def from_records(cls, vocabulary: Vocabulary, edge: int, ids: Array, starts: Array) -> InputSymbols:
        """The symbols in some records: the ids (N,) of their characters, and the first step of each record, and N."""
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
        """The ids of some of the longer symbols."""
        ids = {text: len(self.vocabulary) + n for n, text in enumerate(self.longer)}
        return np.array([ids[text] for text in longer], np.int64)

    def levels(self, ids: Array, starts: Array) -> Array:
        """(MAX_LENGTH, N): what each step reads if symbols may have up to 1, 2 ... MAX_LENGTH characters."""
        known, symbols = self._known
        levels = [ids.astype(smallest_uint(len(self) - 1))]
        _, *keys_of_lengths = ngram_keys(ids, starts, len(self.vocabulary), self.edge, MAX_LENGTH)
        for keys in keys_of_lengths:
            place = np.searchsorted(known[:-1], keys)
            levels.append(np.where(known[place] == keys, symbols[place], levels[-1]).astype(levels[0].dtype))
        return np.stack(levels)

    @cached_property
    def _known(self) -> tuple[Array, Array]:
        """The sorted keys of the longer symbols, and their ids. The last key is -1, which no symbol has."""
        size = len(self.vocabulary)
        keys = [ids_to_keys(self.vocabulary.encode(text)[None], size).item() for text in self.longer]
        order = np.argsort(np.array(keys, np.int64))
        return np.append(np.array(keys, np.int64)[order], -1), np.append(order + size, 0)


def _survives_json(text: str) -> bool:
    """Whether JSON returns the text unchanged. It reads two surrogates as one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == text
