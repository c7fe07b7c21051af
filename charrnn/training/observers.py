"""Observers of a run: the live page and the loggers. An observer that fails is dropped, and the run continues."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Protocol

from charrnn.training.events import Event

MAX_REASON = 160  # characters of an error message that are shown


class Observer(Protocol):
    """Gets all events of a run."""

    def begin(self) -> None:
        """Prepares before the run starts, so that the preparation does not count as training time."""

    def show(self, event: Event) -> None: ...


class Observers:
    """The observers of a run by name, and a function that prints a line for the user."""

    def __init__(self, observers: Mapping[str, Observer], print_line: Callable[[str], None]) -> None:
        self.observers = dict(observers)
        self.print_line = print_line

    def begin(self) -> None:
        for name, observer in list(self.observers.items()):
            self._call(name, observer.begin)

    def show(self, event: Event) -> None:
        for name, observer in list(self.observers.items()):
            self._call(name, observer.show, event)

    def _call(self, name: str, function: Callable[..., None], *arguments: Event) -> None:
        """Calls a method of an observer. If it fails, the observer is dropped, and a line is printed."""
        try:
            function(*arguments)
        except Exception as error:  # of any library; no error of an observer may end a run
            del self.observers[name]
            reason = textwrap.shorten(str(error), MAX_REASON, placeholder=" ...") or type(error).__name__
            self.print_line(f"{name}: {reason}; the run continues without it")
