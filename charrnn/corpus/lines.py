"""Lines of text files, each with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charrnn.corpus.reading import display_name, read_codes
from charrnn.options import DataOptions


class Line(NamedTuple):
    """A line without its end, and where it is: `words.tsv, line 7`."""

    text: str
    path: str
    number: int

    @property
    def place(self) -> str:
        return f"{display_name(self.path)}, line {self.number}"


def read_lines(paths: Sequence[str], config: DataOptions, notices: list[str]) -> Iterator[Line]:
    """The lines of all files in order; LF or CR LF ends a line. Raises what read_codes raises."""
    for path in paths:
        for lines in lines_as_they_come(path, config, notices):
            yield from lines


def lines_as_they_come(path: str, config: DataOptions, notices: list[str]) -> Iterator[list[Line]]:
    """The lines of a file, as many at a time as can be read without waiting."""
    number, held = 0, ""
    for codes in read_codes([path], config, notices):
        *whole, held = (held + codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")).split("\n")
        yield [Line(text.removesuffix("\r"), path, number + n) for n, text in enumerate(whole, 1)]
        number += len(whole)
    if held:
        yield [Line(held.removesuffix("\r"), path, number + 1)]
