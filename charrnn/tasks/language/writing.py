"""A sample that ends at a stop text. Its text is released as soon as it cannot be the beginning of a stop text."""

from __future__ import annotations

from collections.abc import Sequence


class StoppableText:
    """A text that is written piece by piece and ends before the first occurrence of a stop text."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.pending = ""  # written, but perhaps the beginning of a stop text
        self.done = False

    def add(self, piece: str) -> str:
        """Appends a piece. Returns the text that certainly belongs to the sample."""
        self.pending += piece
        stop_places = [place for stop in self.stops if (place := self.pending.find(stop)) >= 0]
        if stop_places:
            self.pending = self.pending[: min(stop_places)]
            self.done = True
            return self.finish()
        partial_stops = [n for stop in self.stops for n in range(1, len(stop)) if self.pending.endswith(stop[:n])]
        return self._release(len(self.pending) - max(partial_stops, default=0))

    def finish(self) -> str:
        """Returns the rest of a sample that ends without a stop text."""
        return self._release(len(self.pending))

    def _release(self, size: int) -> str:
        released = self.pending[:size]
        self.pending = self.pending[size:]
        return released
