"""Output for terminals and pipes: values, tables, and lines above a progress bar."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from charrnn.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from tqdm import tqdm

UNLIMITED = 10**6  # columns of a pipe
ESCAPED = re.compile(
    "[\x7f-\x9f\u2028\u2029\ud800-\udfff]"
)  # in JSON: control characters, and what UTF-8 cannot encode


def make_console(min_width: int = 0) -> Console:
    """A console that writes to stdout. Lines are wrapped on a terminal only, if they are longer than `min_width`."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)
    console.width = max(console.width, min_width)
    return console


def table_width(table: Table) -> int:
    """The columns that a table needs, so that no cell is wrapped or cut."""
    console = make_console()
    return console.measure(table, options=console.options.update(width=UNLIMITED)).maximum


def print_table(table: Table) -> None:
    """Prints a table on stdout. Cells are wrapped on a terminal that is too narrow, and never in a pipe."""
    make_console().print(table)


def print_stderr(text: str) -> None:
    """Prints lines on stderr. Characters that a terminal would interpret are escaped."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def write_text(text: str) -> None:
    """Writes a text of a model to stdout, at once. The bytes of a byte model are written unchanged."""
    from charrnn.corpus.escapes import to_bytes

    sys.stdout.flush()
    sys.stdout.buffer.write(to_bytes(text))
    sys.stdout.buffer.flush()


def format_value(value: Any) -> str:
    """A value for a table, with characters escaped that a terminal would interpret."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 < abs(value) < 1000 else f"{value:g}"
    return printable(str(value))


def print_json(value: Any) -> None:
    """Prints a JSON value on stdout in one line, as UTF-8. NaN and infinity become null."""
    from charrnn.runs.files import dump_json

    print(ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", dump_json(value, ensure_ascii=False)))


def format_duration(seconds: float) -> str:
    """Minutes and seconds: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if math.isfinite(seconds) else "?"


def prepare_streams() -> None:
    """Makes the standard streams usable, even if some of them are closed.

    A closed standard input is empty. Writing to a closed standard output is an error. Output that cannot be written to
    standard error is discarded. A file that is opened later does not get the file descriptor of a closed stream.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free descriptor, which is `number`
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(LossyFile(io.FileIO(2, "w", closefd=False)), "utf-8")
    elif sys.stderr is sys.__stderr__:
        buffer: Any = sys.__stderr__.buffer
        sys.stderr = io.TextIOWrapper(LossyFile(getattr(buffer, "raw", buffer)), "utf-8")  # `python -u` has no buffer
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")  # Windows has other defaults
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(line_buffering=True, write_through=True)


class LossyFile(io.RawIOBase):
    """A file that ignores write errors, so that training continues if stderr is full or closed."""

    def __init__(self, file: io.RawIOBase) -> None:
        self.file = file

    def write(self, data: Any) -> int | None:
        try:
            return self.file.write(data)
        except OSError:
            return len(data)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.file.isatty()

    def fileno(self) -> int:
        return self.file.fileno()


class Bar:
    """Prints lines on stderr. On a terminal, a progress bar is below them. Errors of the terminal are ignored."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: tqdm[Any] | None = None

    def open(self, total: float | None) -> None:
        """Draws the bar if stderr is a terminal. Without a total, only the text beside the bar is shown."""
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            bar_format = "{desc}" if total is None else "{percentage:3.0f}%|{bar}| {desc}"
            self.bar = tqdm(total=total, bar_format=bar_format, dynamic_ncols=True, leave=False, file=sys.stderr)

    @property
    def is_drawn(self) -> bool:
        return self.bar is not None

    @property
    def position(self) -> float:
        return 0.0 if self.bar is None else float(self.bar.n)

    def move(self, position: float, text: str) -> None:
        """Moves the end of the bar to a position, at most the total, and shows a text beside the bar."""
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.set_description_str(text, refresh=False)
                self.bar.update((position if self.bar.total is None else min(self.bar.total, position)) - self.bar.n)

    def print(self, text: str) -> None:
        """Prints lines above the bar."""
        if self.quiet:
            return
        with contextlib.suppress(OSError, ValueError):
            if self.bar is None:
                print_stderr(text)
            else:
                self.bar.write("\n".join(map(printable, text.split("\n"))), file=sys.stderr)

    def print_wrapped(self, text: str) -> None:
        """Prints a line above the bar. On a terminal, it is wrapped between words and the other lines are indented."""
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else UNLIMITED
        wrapper = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in wrapper.wrap(text):
            self.print(line)

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.close()
