"""Signal handling: a signal makes a command save and stop, or save and continue. A second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn, Protocol

import typer

from charrnn.cli.terminal import print_stderr
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS


class Interruptible(Protocol):
    """Work that can be asked to save."""

    def interrupt(self, signal: int) -> None: ...

    def request_save(self) -> None: ...


def _handled(*signals: signal.Signals) -> list[signal.Signals]:
    """The signals that are not ignored. One that is ignored from the start, as SIGHUP under nohup, stays ignored."""
    return [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]


def postpone_saves() -> None:
    """Makes SAVE_SIGNALS have no effect while there is nothing to save."""
    for number in _handled(*SAVE_SIGNALS):
        signal.signal(number, lambda *_: None)


@contextlib.contextmanager
def interrupting(work: Interruptible) -> Iterator[None]:
    """Interrupts the work at the first of STOP_SIGNALS, and requests a save at each of SAVE_SIGNALS.

    After the first signal, all others are ignored until the process ends, so that the work can be saved. Only a second
    Ctrl-C has its default effect.
    """
    handled = _handled(*STOP_SIGNALS, *SAVE_SIGNALS)

    def stop(number: int, _: object) -> None:
        work.interrupt(number)
        for other in handled:
            if other != signal.SIGINT:
                signal.signal(other, signal.SIG_IGN)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)

    for number in handled:
        signal.signal(number, stop if number in STOP_SIGNALS else lambda *_: work.request_save())
    try:
        yield
    finally:
        for number in _handled(*handled):
            signal.signal(number, signal.SIG_DFL)


def exit_interrupted(number: int, command: str) -> NoReturn:
    """Prints the command that continues the work, and exits with 128 + number, the usual code after a signal."""
    print_stderr(f"interrupted and saved; to continue: {command}")
    raise typer.Exit(128 + number)
