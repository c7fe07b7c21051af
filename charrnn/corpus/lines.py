"""The lines of text files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charrnn.corpus.reading import TextReader, display_name


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
    """Yields the lines of some files in order, and appends to `notices`. A line never continues in the next file.

    Raises the errors of TextReader.
    """
    reader = TextReader(encoding)
    for path in paths:
        for lines in read_available_lines(path, reader):
            yield from lines
    notices += reader.notices()


def read_available_lines(path: str, reader: TextReader) -> Iterator[list[Line]]:
    """Yields the lines of a file in lists: all lines that can be read without waiting, and at least one."""
    number = 1
    incomplete = ""  # a line whose end has not been read yet
    for text in reader.texts(path):
        *texts, incomplete = (incomplete + text).split("\n")
        if texts:
            yield [Line(text, path, number + n) for n, text in enumerate(texts)]
        number += len(texts)
    if incomplete:
        yield [Line(incomplete, path, number)]
