"""Signals: the first asks for an end, the second is obeyed at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn, Protocol

import typer

from charrnn.cli.terminal import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptible(Protocol):
    """Work that can save itself and stop."""

    def interrupt(self, signal: int) -> None: ...


@contextlib.contextmanager
def interrupting(work: Interruptible) -> Iterator[None]:
    """Asks the work to end at the first signal; a second one acts as if nothing were here."""
    # A signal that is ignored (nohup, a background job) stays so.
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

    def hear(number: int, _: object) -> None:
        work.interrupt(number)
        signal.signal(number, signal.SIG_DFL)

    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def leave_interrupted(number: int, command: str) -> NoReturn:
    """Says how to go on, and exits as a shell expects of a process that a signal ended."""
    say(f"interrupted and saved; go on with: {command}")
    raise typer.Exit(128 + number)
