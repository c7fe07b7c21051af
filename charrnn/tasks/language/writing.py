"""A sample as it is written: its text passes on as soon as no stop text can still begin in it."""

from __future__ import annotations

from collections.abc import Sequence


class Writing:
    """One sample, to end before the first of some texts."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.held, self.done = "", False

    def add(self, text: str) -> str:
        """The next piece -> what is certain to belong to the sample."""
        self.held += text
        found = [place for stop in self.stops if (place := self.held.find(stop)) >= 0]
        if found:
            self.held, self.done = self.held[: min(found)], True
            return self.finish()
        begun = max((n for stop in self.stops for n in range(1, len(stop)) if self.held.endswith(stop[:n])), default=0)
        return self._release(len(self.held) - begun)

    def finish(self) -> str:
        """What is left, where the sample ends without a stop text."""
        return self._release(len(self.held))

    def _release(self, size: int) -> str:
        out, self.held = self.held[:size], self.held[size:]
        return out
