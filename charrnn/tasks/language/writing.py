"""Limits of a sample: stop texts, and a guard against repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from charrnn.nn.arrays import Array


class StoppableText:
    """A text that is written in pieces and ends before the stop text that is complete first.

    The end of the text is withheld while it could be the beginning of a stop text.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.pending = ""  # withheld text
        self.done = False

    def add(self, piece: str) -> str:
        """Appends a piece. Returns the text that is now certain to belong to the sample."""
        self.pending += piece
        found = [(place + len(stop), place) for stop in self.stops if (place := self.pending.find(stop)) >= 0]
        if found:
            _, place = min(found)  # the stop text that is complete first, whatever the pieces
            self.pending = self.pending[:place]
            self.done = True
            return self.finish()
        partial_stops = [n for stop in self.stops for n in range(1, len(stop)) if self.pending.endswith(stop[:n])]
        return self._release(len(self.pending) - max(partial_stops, default=0))

    def finish(self) -> str:
        """Ends the text. Returns the withheld text."""
        return self._release(len(self.pending))

    def _release(self, size: int) -> str:
        released = self.pending[:size]
        self.pending = self.pending[size:]
        return released


class NgramGuard:
    """Finds the symbols with which a text would repeat n symbols in a row that it already contains.

    This is the option no_repeat_ngram_size of fairseq and of Hugging Face Transformers.
    """

    def __init__(self, n: int, ids: Iterable[int]) -> None:
        """n: at least 2. ids: the start of the text."""
        self.n = n
        self.last: tuple[int, ...] = ()  # up to n - 1 symbols at the end of the text
        self.followers: dict[tuple[int, ...], set[int]] = {}  # the symbols that have followed n - 1 symbols
        for i in ids:
            self.add(i)

    def add(self, i: int) -> None:
        """Appends a symbol to the text."""
        if len(self.last) == self.n - 1:
            self.followers.setdefault(self.last, set()).add(i)
        self.last = (*self.last, i)[1 - self.n :]

    def repeating(self) -> list[int]:
        """The symbols that must not follow."""
        return sorted(self.followers.get(self.last, ()))


def excluded_symbols(guards: Sequence[NgramGuard], size: int) -> Array | None:
    """The symbols (B, V) that the guards of B texts exclude, or None. V = size. If a guard excludes all symbols, it is
    ignored."""
    repeating = [guard.repeating() for guard in guards]
    if not any(repeating):
        return None
    excluded = np.zeros((len(guards), size), bool)
    for row, ids in zip(excluded, repeating, strict=True):
        row[ids] = len(ids) < size
    return excluded
