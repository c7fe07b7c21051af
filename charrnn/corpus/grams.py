"""Several characters as one input symbol: what is common is read together with the one or two characters before it.

A network that reads `ing` as one symbol need not put it together from three steps, and learns from fewer words what it
means. They are the n-grams of older taggers; as vectors of their own, see Bojanowski et al. 2017.

N counts steps, of records end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary, smallest_uint
from charrnn.nn.arrays import Array

LONGEST = 3  # characters: of so many code points a number of 64 bits can be made
LEAST = 3  # times that a longer symbol stands in the records
MOST = 5000  # longer symbols: the most frequent
COUNTED = 1 << 22  # steps at most


@dataclass(frozen=True, eq=False)
class Grams:
    """What a step may read: a character by its id, or one of the `longer` symbols, whose ids follow."""

    vocabulary: Vocabulary
    edge: int  # the id that stands before a record
    longer: tuple[str, ...] = ()  # each of 2 to LONGEST known characters

    @classmethod
    def of(cls, vocabulary: Vocabulary, edge: int, ids: Array, starts: Array) -> Grams:
        """Those of some records: the ids (N,) of their characters, and where each begins and the last ends."""
        plain = cls(vocabulary, edge)
        keys, counts = np.unique([key[:COUNTED] for key in plain._keys(ids, starts)], return_counts=True)
        often = np.argsort(-counts, kind="stable")[: min(MOST, int((counts >= LEAST).sum()))]
        return cls(vocabulary, edge, tuple(sorted(filter(_survives_json, map(plain._text, keys[often].tolist())))))

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
        for key in self._keys(ids, starts):
            place = np.searchsorted(keys[:-1], key)
            levels.append(np.where(keys[place] == key, symbols[place], levels[-1]).astype(levels[0].dtype))
        return np.stack(levels)

    @cached_property
    def _known(self) -> tuple[Array, Array]:
        """The keys of the longer symbols in order, and their ids; at the end one that nothing has."""
        base, keys = len(self.vocabulary) + 1, []
        for text in self.longer:
            ids = self.vocabulary.encode(text)[::-1].tolist()
            keys.append(sum((i + 1) * base**place for place, i in enumerate(ids)))
        order = np.argsort(np.array(keys, np.int64))
        return np.append(np.array(keys, np.int64)[order], -1), np.append(order + len(self.vocabulary), 0)

    def _keys(self, ids: Array, starts: Array) -> Iterator[Array]:
        """For 2 to LONGEST characters, the key (N,) of those up to each step: their ids + 1 are the digits of a number,
        the last the lowest."""
        digits, base = ids.astype(np.int64) + 1, len(self.vocabulary) + 1
        inside = np.arange(len(ids)) - np.repeat(starts[:-1], np.diff(starts))
        keys = digits
        for before in range(1, LONGEST):
            keys = keys + np.where(inside >= before, np.roll(digits, before), self.edge + 1) * base**before
            yield keys

    def _text(self, key: int) -> str:
        ids = []
        while key:
            key, digit = divmod(key, len(self.vocabulary) + 1)
            ids.append(digit - 1)
        return self.vocabulary.decode(ids[::-1])


def _survives_json(text: str) -> bool:
    """JSON reads two halves of a surrogate pair as one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == text
