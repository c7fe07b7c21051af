"""Differences between Linux, macOS and Windows. No other module depends on the operating system."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any


def _existing_signals(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# Signals after which a command saves its work and ends. A terminal sends SIGHUP when it is closed, a scheduler SIGUSR1
# before a time limit, Linux SIGXCPU at a limit on processor time, and Windows SIGBREAK on Ctrl-Break.
STOP_SIGNALS = _existing_signals("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU", "SIGBREAK")
SAVE_SIGNALS = _existing_signals("SIGUSR2")  # after these, a command saves its work and continues


def start_process(command: Sequence[str], environment: dict[str, str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Starts a process with unbuffered pipes for its standard input and output.

    Ctrl-C on the terminal does not reach it, and all signals above are blocked until it calls `handle_signals`.
    Therefore a signal to a whole group of processes cannot end it before its parent has saved.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, env=environment, creationflags=flags, **pipes)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, *SAVE_SIGNALS))  # a child inherits the mask
    try:
        return subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=fds, **pipes)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def handle_signals(stop: Callable[[int], None], save: Callable[[], None]) -> None:
    """Sets the signal handlers of a process that `start_process` has started. Blocked signals arrive now."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda received, _: stop(received))
    for number in SAVE_SIGNALS:
        signal.signal(number, lambda *_: save())
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, *SAVE_SIGNALS))
