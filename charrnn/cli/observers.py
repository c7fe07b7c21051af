"""Observers of a run, such as the live page. An observer that fails is dropped, and the run continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from charrnn.training.events import Event


class Observer(Protocol):
    """Gets all events of a run."""

    def show(self, event: Event) -> None: ...


class Observers:
    """The observers of a run by name, and a function that prints a line for the user."""

    def __init__(self, observers: dict[str, Observer], print_line: Callable[[str], None]) -> None:
        self.observers = observers
        self.print_line = print_line

    def show(self, event: Event) -> None:
        for name, observer in list(self.observers.items()):
            try:
                observer.show(event)
            except Exception as error:  # of any library; no error of an observer may end a run
                del self.observers[name]
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                self.print_line(f"{name}: {reason}; the run continues without it")
