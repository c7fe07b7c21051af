"""A sample that ends before a stop text."""

from __future__ import annotations

from collections.abc import Sequence


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
