"""What is shown on a terminal and in a pipe: tables, values, lines above a bar."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def make_console() -> Any:
    """Rich's console on stdout."""
    from rich.console import Console

    # A pipe or a file has no edge to wrap at.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 250)


def show_value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 < abs(value) < 1000 else f"{value:g}"
    return str(value)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if math.isfinite(seconds) else "?"


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
                print(text, file=sys.stderr, flush=True)
            else:
                self.bar.write(text, file=sys.stderr)

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
