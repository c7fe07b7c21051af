"""What is shown on a terminal and in a pipe: tables, values, lines above a bar."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from charrnn.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm


def make_console() -> Any:
    """Rich's console on stdout."""
    from rich.console import Console

    # A pipe or a file has no edge to wrap at.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 250)


def say(text: str) -> None:
    """A line on stderr. What files and names hold reaches no terminal as it is: see `printable`."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def show_value(value: Any) -> str:
    """A value in a table, safe to print."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 < abs(value) < 1000 else f"{value:g}"
    return printable(str(value))


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if math.isfinite(seconds) else "?"


def mend_streams() -> None:
    """Standard streams that can be used: one that was closed must not give its place to a file that is opened later.

    Closed standard input is empty; to closed standard output nothing can be written, which is an error where there is
    something to write; on standard error what cannot be written is dropped.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = io.TextIOWrapper(_Forgiving(2, "w", closefd=False), write_through=True, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


class _Forgiving(io.FileIO):
    """A file into which what cannot be written is dropped: a full or closed stderr ends no training."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class Bar:
    """Lines on stderr and, if that is a terminal, a bar below them. A terminal that has gone away stops nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: tqdm[Any] | None = None

    def open(self, total: float) -> None:
        """Draws the bar, on a terminal."""
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            shape = "{percentage:3.0f}%|{bar}| {desc}"
            self.bar = tqdm(total=total, bar_format=shape, dynamic_ncols=True, leave=False, file=sys.stderr)

    @property
    def drawn(self) -> bool:
        return self.bar is not None

    def move(self, place: float, text: str) -> None:
        """Moves the bar on to `place`, with a text behind it."""
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.set_description_str(text, refresh=False)
                self.bar.update(min(self.bar.total, place) - self.bar.n)

    def line(self, text: str) -> None:
        """A line above the bar."""
        if self.quiet:
            return
        with contextlib.suppress(OSError, ValueError):
            if self.bar is None:
                say(text)
            else:
                self.bar.write("\n".join(map(printable, text.split("\n"))), file=sys.stderr)

    def words(self, text: str) -> None:
        """A line of words: on a terminal broken between them, the rest indented."""
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 10**6
        shape = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in shape.wrap(text):
            self.line(line)

    def close(self) -> None:
        """Takes the bar away: what it said last is no longer true."""
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.close()
