"""The lines of text files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charrnn.corpus.reading import display_name, read_texts


class Line(NamedTuple):
    """A line of a file, without its line end."""

    text: str
    path: str
    number: int  # from 1

    @property
    def place(self) -> str:
        """The file and the line number for messages, such as `words.tsv, line 7`."""
        return f"{display_name(self.path)}, line {self.number}"


def read_lines(paths: Sequence[str], encoding: str, notices: list[str]) -> Iterator[Line]:
    """Yields the lines of some files in order. A line ends in LF or CR LF. Raises the errors of `read_texts`."""
    for path in paths:
        for lines in read_available_lines(path, encoding, notices):
            yield from lines


def read_available_lines(path: str, encoding: str, notices: list[str]) -> Iterator[list[Line]]:
    """Yields the lines of a file in lists: all lines that can be read without waiting, and at least one."""
    number = 1
    incomplete = ""  # a line whose end has not been read yet
    for text in read_texts([path], encoding, notices):
        *texts, incomplete = (incomplete + text).split("\n")
        if texts:
            yield [Line(text.removesuffix("\r"), path, number + n) for n, text in enumerate(texts)]
        number += len(texts)
    if incomplete:
        yield [Line(incomplete.removesuffix("\r"), path, number)]
