"""Reads files of records: a text, and usually an output, in each line.

The first line of a file determines its format:

- `text<TAB>output`, or more columns if `columns` selects two of them
- CSV, if the name of the file ends in `.csv`; a quoted cell may contain line feeds
- `__label__OUTPUT TEXT`, as fastText reads it
- `text  output` with two or more blanks between them, as in CMUdict; lines that begin with `;;;` are comments

Blank lines at the end are ignored.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from charrnn.corpus.lines import Line, read_available_lines
from charrnn.corpus.reading import TextReader, display_name
from charrnn.errors import CorpusError, UsageError, format_count
from charrnn.options import DataOptions

LABEL_PREFIX = "__label__"
COMMENT = ";;;"
BLANKS = re.compile(r" {2,}")
# Two of these words as the first record are probably a header.
HEADER_WORDS = frozenset({"category", "class", "comment", "input", "label", "message", "output", "path", "review"})
HEADER_WORDS |= {"sentence", "sentiment", "source", "spelling", "tag", "tags", "target", "text", "topic", "word"}


@dataclass(frozen=True)
class RecordFormat:
    """How the columns of a file are read."""

    columns: tuple[str, ...] | None = None  # names or numbers (from 1) of the text and the output, or of the text alone
    header: bool = False  # whether the first line of each file contains the names of the columns

    @classmethod
    def from_options(cls, columns: str | None, header: bool) -> RecordFormat:
        """Reads the options --columns and --header. Names of columns imply a header. Raises UsageError."""
        if columns is None:
            return cls(None, header)
        names = tuple(name.strip() for name in columns.split(","))
        if not 1 <= len(names) <= 2 or not all(names) or "0" in names:
            hint = "give the columns of the text and of the output: by number, as in 3,1, or by name"
            raise UsageError(f"--columns {columns}: not one or two columns", hint)
        return cls(names, header or not all(map(_is_number, names)))


class TextRecord(NamedTuple):
    """A record of a file."""

    text: str
    output: str  # empty if the file contains inputs only
    line: Line  # in which the record begins
    start: int | None  # of the text in this line; None if the text is a cell of a CSV file

    @property
    def place(self) -> str:
        """The file and the line number for messages."""
        return self.line.place

    def place_of(self, position: int) -> str:
        """The place of a character of the text for messages."""
        if self.start is None:
            return f"{self.place}, character {position + 1} of the text"
        return f"{self.place}, column {self.start + position + 1}"

    def check_known(self, unknown: Sequence[tuple[int, str]]) -> None:
        """Raises CorpusError if a symbol is unknown. unknown: positions and descriptions of unknown symbols."""
        if unknown:
            position, symbol = unknown[0]
            problem = f"{self.place_of(position)}: {symbol} is not in the vocabulary"
            raise CorpusError(problem, "skip it with --on-unknown skip")


def read_records(paths: Sequence[str], data: DataOptions, notices: list[str]) -> Iterator[TextRecord]:
    """Yields the records of some files in order.

    Appends to `notices` how a file is read if it is not `text<TAB>output`, and whether its first line looks like a
    header. Raises CorpusError for a line that is not a record.
    """
    record_format = RecordFormat.from_options(data.columns, data.header)
    if record_format.columns is not None and len(record_format.columns) != 2:
        problem = f"--columns {record_format.columns[0]}: one column"
        raise UsageError(problem, "two are needed: that of the text and that of the output")
    reader = TextReader(data.encoding)
    for path in paths:
        parser = RecordParser(path, notices, record_format)
        for lines in read_available_lines(path, reader):
            yield from parser.parse(lines)
        parser.finish()
    notices += reader.notices()


class RecordParser:
    """Parses the lines of one file."""

    def __init__(
        self, path: str, notices: list[str], record_format: RecordFormat, *, needs_output: bool = True
    ) -> None:
        """needs_output: whether each record must have an output. Otherwise the first line determines whether the
        records have outputs, and blank lines are inputs."""
        self.name = display_name(path)
        self.notices = notices
        self.header = record_format.header
        self.columns = record_format.columns
        self.needs_output = needs_output
        self.is_csv = path.removesuffix(".gz").endswith(".csv")
        self.kind = ""  # csv, tabs, label, blanks or text; the first line determines it
        self._places: list[int] | None = None  # of the columns, from 0
        self._unclosed: list[Line] = []  # the lines of a CSV row with a quoted cell that has not ended yet
        self._blank: Line | None = None  # a blank line; an error if another line follows

    def parse(self, lines: Sequence[Line]) -> Iterator[TextRecord]:
        """Yields the records of the next lines. Raises CorpusError."""
        for line in lines:
            if self.needs_output and not self._unclosed:
                if not line.text.strip():
                    self._blank = self._blank or line
                    continue
                if self._blank is not None:
                    raise CorpusError(f"{self._blank.place}: a blank line", "only the last lines may be blank")
                if line.text.startswith(COMMENT) and self.columns is None and self.kind in ("", "blanks"):
                    continue
            is_first = not self.kind
            if is_first:
                self.kind = self._find_kind(line.text)
            if self.kind == "csv":
                joined = self._join_cells(line)
                if joined is None:
                    continue
                line = joined
            if is_first and self.header:
                self._read_header(line)
                continue
            record = self._parse(line)
            if is_first:
                self._check_first(record)
            yield record

    def _join_cells(self, line: Line) -> Line | None:
        """The row of a CSV file that ends in this line, or None if a quoted cell continues in the next line."""
        is_inside = bool(self._unclosed)
        self._unclosed.append(line)
        if is_inside == (line.text.count('"') % 2 == 0):
            return None
        row = self._unclosed[0]._replace(text="\n".join(each.text for each in self._unclosed))
        self._unclosed = []
        return row

    def finish(self) -> None:
        """Raises CorpusError if the file ends inside a quoted cell."""
        if self._unclosed:
            raise CorpusError(f"{self._unclosed[0].place}: a quoted cell that does not end")

    def _find_kind(self, text: str) -> str:
        if self.is_csv:
            self.notices.append(f"{self.name}: read as CSV")
            return "csv"
        if self.columns is None and text.startswith(LABEL_PREFIX):
            self.notices.append(f"{self.name}: read as lines of fastText, {LABEL_PREFIX}OUTPUT TEXT")
            return "label"
        if self.columns is not None or "\t" in text:
            return "tabs"
        if not self.needs_output:
            return "text"
        if BLANKS.search(text):
            self.notices.append(f"{self.name}: text and output are separated by two blanks")
            return "blanks"
        return "tabs"

    def _parse(self, line: Line) -> TextRecord:
        match self.kind:
            case "text":
                if "\t" in line.text:
                    raise CorpusError(f"{line.place}: a tab, but the first line has none")
                return TextRecord(line.text, "", line, 0)
            case "label":
                return self._parse_label(line)
            case "blanks":
                text, *rest = BLANKS.split(line.text, 1)
                return TextRecord(text, self._check_output(rest[0] if rest else None, line, "two blanks"), line, 0)
        cells = self._cells(line)
        places = self._places
        if places is None:
            places = self._find_places(cells, line)
        if len(cells) <= max(places):
            if self.columns is None and self.kind == "tabs":
                raise CorpusError(f"{line.place}: no tab between text and output")
            raise CorpusError(f"{line.place}: no column {max(places) + 1}", f"the number of columns is {len(cells)}")
        start = None if self.kind == "csv" else sum(len(cell) + 1 for cell in cells[: places[0]])
        output = ""
        if len(places) == 2:
            output = self._check_output(cells[places[1]], line, "the tab" if self.columns is None else "")
        return TextRecord(cells[places[0]], output, line, start)

    def _cells(self, line: Line) -> list[str]:
        if self.kind == "csv":
            try:
                return next(csv.reader([line.text], strict=True), [""])
            except csv.Error as error:
                raise CorpusError(f"{line.place}: {error}") from None
        return line.text.split("\t")

    def _find_places(self, cells: list[str], line: Line) -> list[int]:
        """The places of the columns if no header was read: the given numbers, or the first two, or the only one.

        Raises CorpusError if no columns are given and there are more than two.
        """
        if self.columns is not None:
            self._places = [int(name) - 1 for name in self.columns]
            return self._places
        if len(cells) > 2:
            problem = "more than one tab" if self.kind == "tabs" else format_count(len(cells), "column")
            raise CorpusError(f"{line.place}: {problem}", "choose the columns of text and output with --columns 1,2")
        if not self.needs_output and self.kind == "csv" and len(cells) == 1:
            return [0]
        return [0, 1]

    def _read_header(self, line: Line) -> None:
        names = [name.strip() for name in self._cells(line)]
        if self.columns is None:
            return
        places = []
        for name in self.columns:
            if name in names:
                places.append(names.index(name))
            elif _is_number(name):
                places.append(int(name) - 1)
            else:
                raise CorpusError(f"{line.place}: no column {name}", f"the columns are {', '.join(names)}")
        self._places = places

    def _check_first(self, record: TextRecord) -> None:
        """Appends a notice if the first record is probably a header."""
        cells = [record.text, record.output]
        if all(cell.strip().lower() in HEADER_WORDS for cell in cells):
            self.notices.append(
                f"warning: {record.place}: {cells[0]!r} and {cells[1]!r} look like a header; --header skips it"
            )

    def _parse_label(self, line: Line) -> TextRecord:
        """A line `__label__OUTPUT TEXT`."""
        if not line.text.startswith(LABEL_PREFIX):
            raise CorpusError(f"{line.place}: does not begin with {LABEL_PREFIX}, as the first line does")
        label, *rest = line.text.split(None, 1)
        text = rest[0] if rest else ""
        if text.startswith(LABEL_PREFIX):
            raise CorpusError(f"{line.place}: more than one label", "each record needs exactly one")
        output = self._check_output(label.removeprefix(LABEL_PREFIX), line, LABEL_PREFIX)
        return TextRecord(text, output, line, len(line.text) - len(text))

    def _check_output(self, output: str | None, line: Line, separator: str) -> str:
        """Returns the output. Raises CorpusError if there is none. separator: what precedes the output."""
        if output is None:
            raise CorpusError(f"{line.place}: no {separator} between text and output")
        if not output:
            raise CorpusError(f"{line.place}: no output{f' after {separator}' if separator else ''}")
        return output


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
