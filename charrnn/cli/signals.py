"""Signal handling: the first signal asks a command to save and stop, and a second signal ends it at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn, Protocol

import typer

from charrnn.cli.terminal import print_stderr

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptible(Protocol):
    """Work that can be asked to save and stop."""

    def interrupt(self, signal: int) -> None: ...


@contextlib.contextmanager
def interrupting(work: Interruptible) -> Iterator[None]:
    """Interrupts the work at the first signal. A second signal has its default effect."""
    # A signal that is ignored, as SIGHUP under nohup, stays ignored.
    numbers = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

    def handle(number: int, _: object) -> None:
        work.interrupt(number)
        signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def exit_interrupted(number: int, command: str) -> NoReturn:
    """Prints the command that continues the work, and exits with 128 + number, the usual code after a signal."""
    print_stderr(f"interrupted and saved; to continue: {command}")
    raise typer.Exit(128 + number)
