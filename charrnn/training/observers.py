"""Observers of a run: the live page and the loggers. An observer that fails is dropped, and the run continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from charrnn.training.events import Event


class Observer(Protocol):
    """Gets all events of a run."""

    def show(self, event: Event) -> None: ...


class Observers:
    """The observers of a run by name, and a function that prints a line for the user."""

    def __init__(self, observers: Mapping[str, Observer], print_line: Callable[[str], None]) -> None:
        self.observers = dict(observers)
        self.print_line = print_line

    def show(self, event: Event) -> None:
        for name, observer in list(self.observers.items()):
            try:
                observer.show(event)
            except Exception as error:  # of any library; no error of an observer may end a run
                del self.observers[name]
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                self.print_line(f"{name}: {reason}; the run continues without it")
