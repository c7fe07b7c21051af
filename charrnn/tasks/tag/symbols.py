"""Several characters as one input symbol: what is common is read together with the one or two characters before it.

A network that reads `ing` as one symbol need not put it together from three steps, and learns from fewer words what it
means. They are the n-grams of older taggers; as vectors of their own, see Bojanowski et al. 2017.

N counts steps, of records end to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.nn.arrays import Array
from charrnn.tasks.tag.ngrams import key_digits, keys_of, most_frequent, string_keys

LONGEST = 3  # characters: of so many code points a number of 64 bits can be made
LEAST = 3  # times that a longer symbol stands in the records
MOST = 5000  # longer symbols: the most frequent


@dataclass(frozen=True, eq=False)
class Grams:
    """What a step may read: a character by its id, or one of the `longer` symbols, whose ids follow."""

    vocabulary: Vocabulary
    edge: int  # the id that stands before a record
    longer: tuple[str, ...] = ()  # each of 2 to LONGEST known characters

    @classmethod
    def of(cls, vocabulary: Vocabulary, edge: int, ids: Array, starts: Array) -> Grams:
        """Those of some records: the ids (N,) of their characters, and where each begins and the last ends."""
        _, *keys = string_keys(ids, starts, len(vocabulary), edge, LONGEST)
        longer = [
            vocabulary.decode(its_ids)
            for length, its_keys in enumerate(most_frequent(keys, LEAST, MOST), 2)
            for its_ids in key_digits(its_keys, len(vocabulary), length)
        ]
        return cls(vocabulary, edge, tuple(sorted(filter(_survives_json, longer))))

    def __len__(self) -> int:
        return len(self.vocabulary) + len(self.longer)

    def ids_of(self, longer: Iterable[str]) -> Array:
        """The ids of some of the longer symbols."""
        places = {text: len(self.vocabulary) + n for n, text in enumerate(self.longer)}
        return np.array([places[text] for text in longer], np.int64)

    def levels(self, ids: Array, starts: Array) -> Array:
        """(LONGEST, N): what each step reads where a symbol may have up to 1, 2 ... characters: the longest known."""
        keys, symbols = self._known
        levels = [ids.astype(smallest_uint(len(self) - 1))]
        _, *longer = string_keys(ids, starts, len(self.vocabulary), self.edge, LONGEST)
        for key in longer:
            place = np.searchsorted(keys[:-1], key)
            levels.append(np.where(keys[place] == key, symbols[place], levels[-1]).astype(levels[0].dtype))
        return np.stack(levels)

    @cached_property
    def _known(self) -> tuple[Array, Array]:
        """The keys of the longer symbols in order, and their ids; at the end one that nothing has."""
        keys = [keys_of(self.vocabulary.encode(text)[None], len(self.vocabulary)).item() for text in self.longer]
        order = np.argsort(np.array(keys, np.int64))
        return np.append(np.array(keys, np.int64)[order], -1), np.append(order + len(self.vocabulary), 0)


def _survives_json(text: str) -> bool:
    """JSON reads two halves of a surrogate pair as one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == text
