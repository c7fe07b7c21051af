"""Reads tables of numbers and texts from CSV files.

Separator, decimal sign and header are recognised. A cell that is empty or contains a text such as NA is missing.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.reading import display_name
from charrnn.errors import CorpusError, format_count
from charrnn.nn.arrays import Array

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}  # in the order in which they are tried
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}  # cells without a value, in lower case
MAX_NAMED = 20  # names in a message
CHUNK_CELLS = 1 << 18  # cells that are parsed at a time
TEXT_SHARE = 0.1  # a column with at least this many texts per number contains labels
GROUPED_DIGITS = re.compile(r"[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d*)?")  # a number with thousands separators
DATE = re.compile(  # dates, times and both, such as 2026-11-28, 28.11.26, 2026-11-28T14:30:00Z, 14:30, 2026Q1, Nov 2026
    r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|\d{4}[- ]?[QW]\d{1,2}"
    r"|(\d{1,2}[- ])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?[- ](\d{1,2}, ?)?\d{2,4})?"
    r"[T ]?(\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?(Z| ?[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE,
)


class Cell(NamedTuple):
    """A cell of a column, with the line of the file in which its row starts."""

    line: int
    text: str


@dataclass
class ColumnContent:
    """What the cells of a column contain, apart from their numbers."""

    num_texts: int = 0  # cells that are neither numbers nor missing
    first_text: Cell | None = None
    first_point: Cell | None = None  # the first number with a decimal point, if decimal commas are possible
    first_comma: Cell | None = None  # the first number with a decimal comma
    is_date: bool = True  # whether all texts are dates or times
    texts: list[str] | None = None  # all cells, if they are kept


@dataclass(frozen=True, eq=False)
class Table:
    """A table with n rows. A cell that is missing or is not a number has the value NaN."""

    path: str
    names: tuple[str, ...]  # of the columns
    values: Array  # (n, D)
    lines: Array  # (n,), the line of the file in which each row starts
    contents: tuple[ColumnContent, ...]
    separator: str = ","

    def __len__(self) -> int:
        return len(self.values)

    @property
    def layout(self) -> str:
        """The separator and the decimal sign for messages, if unusual: `separated by semicolons, decimal commas`."""
        parts = [] if self.separator == "," or len(self.names) == 1 else [f"separated by {SEPARATORS[self.separator]}"]
        if any(content.first_comma for content in self.contents):
            parts.append("decimal commas")
        return ", ".join(parts)

    def place(self, line: int, column: str) -> str:
        """The place of a cell for messages."""
        return f"{display_name(self.path)}, line {line}, column {column}"

    def content(self, column: str) -> ColumnContent:
        return self.contents[self.names.index(column)]

    def numbers(self, columns: Sequence[str]) -> Array:
        """Some columns as numbers (n, D), NaN where a value is missing. Raises CorpusError for any other text."""
        point = None
        comma = None
        for column in columns:
            content = self.content(column)
            if content.first_text is not None:
                line, text = content.first_text
                hint = f"correct the cell, or leave the column out with --ignore {column}"
                if len(self.names) == 1:
                    hint = "separate cells with commas, semicolons or tabs"
                elif GROUPED_DIGITS.fullmatch(text.strip()):
                    hint = "write numbers without thousands separators"
                raise CorpusError(f"{self.place(line, column)}: {_describe_text(text)}", hint)
            point = point or (content.first_point and (column, content.first_point))
            comma = comma or (content.first_comma and (column, content.first_comma))
        if point and comma:
            places = [f"{self.place(cell.line, column)}: {cell.text}" for column, cell in (comma, point)]
            problem = f"{places[0]} has a decimal comma, but {places[1]} has a decimal point"
            raise CorpusError(problem, "use one decimal sign in the whole file, and no thousands separators")
        return self.values[:, [self.names.index(column) for column in columns]]

    def texts(self, column: str) -> list[str]:
        """The cells of a column whose texts were kept."""
        texts = self.content(column).texts
        assert texts is not None
        return texts

    def is_text(self, column: str) -> bool:
        """Whether the column contains labels: it has at least one text for every ten numbers."""
        num_texts = self.content(column).num_texts
        num_numbers = np.isfinite(self.values[:, self.names.index(column)]).sum()
        return num_texts > 0 and num_texts >= TEXT_SHARE * num_numbers

    def is_date(self, column: str) -> bool:
        """Whether the column contains dates or times."""
        content = self.content(column)
        return content.is_date and content.num_texts > 0 and not np.isfinite(self.numbers_of(column)).any()

    def numbers_of(self, column: str) -> Array:
        """The numbers (n,) of a column, NaN for all other cells."""
        numbers: Array = self.values[:, self.names.index(column)]
        return numbers

    def select_columns(self, names: Sequence[str]) -> Table:
        """A table of those of the columns that it has."""
        chosen = [self.names.index(name) for name in names if name in self.names]
        return replace(
            self,
            names=tuple(self.names[n] for n in chosen),
            values=self.values[:, chosen],
            contents=tuple(self.contents[n] for n in chosen),
        )

    def with_empty_columns(self, names: Sequence[str]) -> Table:
        """The table with further columns, whose values are all missing."""
        return replace(
            self,
            names=(*self.names, *names),
            values=np.concatenate([self.values, np.full((len(self), len(names)), np.nan)], axis=1),
            contents=(*self.contents, *(ColumnContent() for _ in names)),
        )

    def select_rows(self, rows: slice | Array) -> Table:
        """A table of some of the rows. `contents` still describes all rows, except for the texts."""
        numbers = np.arange(len(self))[rows]
        contents = tuple(
            content if content.texts is None else replace(content, texts=[content.texts[n] for n in numbers.tolist()])
            for content in self.contents
        )
        return replace(self, values=self.values[rows], lines=self.lines[rows], contents=contents)


def list_names(names: Collection[str]) -> str:
    """Names for a message: the first ones, and how many there are if not all are listed."""
    listed = ", ".join(list(names)[:MAX_NAMED])
    return listed if len(names) <= MAX_NAMED else f"{listed}, ... ({len(names):,} in total)"


def read_table(path: str, notices: list[str], encoding: str = "utf-8", keep_texts: Collection[str] = ()) -> Table:
    """Reads a CSV file with a header. keep_texts: the columns whose texts are kept. Raises CorpusError."""
    name = display_name(path)
    separator, rows = _read_rows(path, notices, encoding)
    _, header = next(rows, (0, []))
    if not header:
        raise CorpusError(f"{name}: no rows")
    if all(_is_number(text, separator) for text in header):
        raise CorpusError(f"{name}: no header", "its first row must name the columns")
    names = tuple(text.strip() or f"column {number}" for number, text in enumerate(header, 1))
    repeated = [column for column in names if names.count(column) > 1]
    if repeated:
        raise CorpusError(f"{name}: two columns have the name {repeated[0]}", "rename one of them")
    table = _parse_rows(path, names, rows, separator, keep_texts)
    if not len(table):
        raise CorpusError(f"{name}: no rows below the header")
    return table


def read_csv_matrix(path: str) -> Array:
    """Reads the numbers (n, D) of a CSV file. Its first row may be a header, which contains no number.

    Raises CorpusError.
    """
    name = display_name(path)
    separator, rows = _read_rows(path, [], "utf-8")
    line, first = next(rows, (0, []))
    if not first:
        raise CorpusError(f"{name}: no rows of numbers")
    names = tuple(str(number) for number in range(1, len(first) + 1))
    if not any(_is_number(text, separator) for text in first):
        table = _parse_rows(path, names, rows, separator)
    else:
        table = _parse_rows(path, names, itertools.chain([(line, first)], rows), separator)
    if not len(table):
        raise CorpusError(f"{name}: no rows of numbers")
    for column, content in zip(names, table.contents, strict=True):
        if content.first_text is not None:
            line, text = content.first_text
            raise CorpusError(f"{table.place(line, column)}: {_describe_text(text)}")
    values = table.numbers(names)
    missing = np.argwhere(np.isnan(values))
    if len(missing):
        row, column_number = missing[0].tolist()
        raise CorpusError(f"{table.place(table.lines[row], names[column_number])}: the value is missing")
    return values


def _parse_rows(
    path: str,
    names: tuple[str, ...],
    rows: Iterator[tuple[int, list[str]]],
    separator: str,
    keep_texts: Collection[str] = (),
) -> Table:
    """Makes a table of rows, each with its line number."""
    contents = [ColumnContent(texts=[] if name in keep_texts else None) for name in names]
    values = bytearray()  # grows without copies of what it already contains
    lines: list[int] = []
    while chunk := list(itertools.islice(rows, max(1, CHUNK_CELLS // len(names)))):
        for line, row in chunk:
            if len(row) != len(names):
                hint = "a cell that contains the separator must be in quotation marks"
                sizes = f"{format_count(len(row), 'cell')} for {format_count(len(names), 'column')}"
                raise CorpusError(f"{display_name(path)}, line {line}: {sizes}", hint)
        chunk_lines = [line for line, _ in chunk]
        lines += chunk_lines
        columns = zip(*(row for _, row in chunk), strict=True)
        numbers = [
            _parse_cells(cells, chunk_lines, content, can_have_commas=separator != ",")
            for cells, content in zip(columns, contents, strict=True)
        ]
        values += np.stack(numbers, axis=1).tobytes()
    matrix = np.frombuffer(values).reshape(len(lines), len(names))
    return Table(path, names, matrix, np.array(lines, np.int64), tuple(contents), separator)


def _parse_cells(cells: Sequence[str], lines: Sequence[int], content: ColumnContent, *, can_have_commas: bool) -> Array:
    """The numbers of some cells of a column. Updates `content`. lines: the lines of the cells."""
    if content.texts is not None:
        content.texts += map(str.strip, cells)
    joined = "".join(cells)
    has_point = "." in joined
    has_comma = can_have_commas and "," in joined
    if joined.isascii() and "_" not in joined and not (has_point and has_comma):
        try:
            values = np.array([cell.replace(",", ".") for cell in cells] if has_comma else cells, np.float64)
        except ValueError:
            pass
        else:
            if np.isfinite(values).all():
                if has_comma:
                    content.first_comma = content.first_comma or _first_cell(cells, lines, ",")
                elif has_point and can_have_commas:
                    content.first_point = content.first_point or _first_cell(cells, lines, ".")
                return values
    return np.array(
        [
            _parse_cell(Cell(line, text), content, can_have_commas=can_have_commas)
            for line, text in zip(lines, cells, strict=True)
        ]
    )


def _parse_cell(cell: Cell, content: ColumnContent, *, can_have_commas: bool) -> float:
    """The number in a cell, NaN if there is none. Updates `content`."""
    text = cell.text.strip()
    if text.lower() in MISSING:
        return np.nan
    has_comma = can_have_commas and "," in text
    number = np.nan
    if text.isascii() and "_" not in text and not (has_comma and "." in text):
        with contextlib.suppress(ValueError):
            number = float(text.replace(",", ".") if has_comma else text)
    if not np.isfinite(number):
        content.num_texts += 1
        content.first_text = content.first_text or cell
        content.is_date = content.is_date and DATE.fullmatch(text) is not None
        return np.nan
    if has_comma:
        content.first_comma = content.first_comma or cell
    elif can_have_commas and "." in text:
        content.first_point = content.first_point or cell
    return number


def _first_cell(cells: Sequence[str], lines: Sequence[int], sign: str) -> Cell:
    return next(Cell(line, text.strip()) for line, text in zip(lines, cells, strict=True) if sign in text)


def _is_number(text: str, separator: str) -> bool:
    """Whether a cell contains a finite number."""
    content = ColumnContent()
    return bool(np.isfinite(_parse_cell(Cell(0, text), content, can_have_commas=separator != ",")))


def _describe_text(text: str) -> str:
    """Why a text is not accepted as a number."""
    text = text.strip()
    try:
        float(text)
    except ValueError:
        return f"{text!r} is not a number"
    return f"{text} is not a finite number" if text.isascii() and "_" not in text else f"{text!r} is not a number"


def _read_rows(path: str, notices: list[str], encoding: str) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """The separator of a CSV file, and its rows with their line numbers, without blank lines at the start and end.

    Other blank lines are empty cells if there is only one column, otherwise they are left out.
    """
    lines = (line.text + "\n" for line in read_lines([path], encoding, notices))
    first_lines: list[str] = []
    for line in lines:
        first_lines.append(line)
        if len([text for text in first_lines if text.strip()]) == 2:
            break
    separator = _find_separator(first_lines)
    return separator, _csv_rows(path, itertools.chain(first_lines, lines), separator)


def _find_separator(lines: Sequence[str]) -> str:
    """The first separator that splits two lines into the same number of cells, or else one that splits the first line.

    If there is none, the file has one column, whose numbers can have decimal commas.
    """
    filled = [line for line in lines if line.strip()]
    try:
        counts = {separator: [len(row) for row in csv.reader(filled, delimiter=separator)] for separator in SEPARATORS}
    except csv.Error:  # the error is reported when the rows are read
        return ","
    for separator, widths in counts.items():
        if len(set(widths)) == 1 and widths[0] > 1:
            return separator
    return next((separator for separator, widths in counts.items() if widths and widths[0] > 1), ";")


def _csv_rows(path: str, lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    width = 0
    blank_lines: list[int] = []  # since the last row
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            problem = f"{display_name(path)}, line {line}: not CSV: {error}"
            hint = "is a quotation mark not closed?" if "unexpected end" in str(error) or "limit" in str(error) else ""
            raise CorpusError(problem, hint) from None
        if row is None:
            return
        if len(row) < 2 and not "".join(row).strip():
            blank_lines.append(line)
            continue
        if width == 1:
            yield from ((number, [""]) for number in blank_lines)
        blank_lines.clear()
        width = len(row)
        yield line, row
