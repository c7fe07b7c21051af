"""Reads numbers from tables with a header and from files with one vector per row. Standardises columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.reading import display_name
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array

PRECISION = 1e-12  # a column that varies by less than this fraction of its largest value is treated as constant


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file with a header."""

    path: str
    columns: tuple[str, ...]
    cells: list[list[str]]  # the texts of each row

    def numbers(self, columns: Sequence[str]) -> Array:
        """Some columns as numbers (rows, columns). Raises CorpusError for a cell that is not a finite number."""
        values = np.empty((len(self.cells), len(columns)))
        for m, column in enumerate(columns):
            for n, text in enumerate(self.texts(column)):
                try:
                    values[n, m] = _parse_number(text)
                except ValueError as error:
                    place = f"{display_name(self.path)}, row {n + 1}, column {column}"
                    raise CorpusError(f"{place}: {error}") from None
        return values

    def texts(self, column: str) -> list[str]:
        """The cells of a column."""
        index = self.columns.index(column)
        return [row[index] for row in self.cells]

    def is_text(self, column: str) -> bool:
        """Whether no cell of the column is a number."""
        return not any(map(_is_number, self.texts(column)))


def read_table(path: str, notices: list[str], encoding: str = "utf-8") -> Table:
    """Reads a CSV file with a header. Raises CorpusError if the file is not a valid table."""
    name = display_name(path)
    rows = _read_csv(path, notices, encoding)
    if not rows:
        raise CorpusError(f"{name}: no rows")
    columns = tuple(text.strip() for text in rows[0])
    cells = rows[1:]
    if all(map(_is_number, columns)):
        raise CorpusError(f"{name}: no header", "its first row must name the columns")
    if len(set(columns)) < len(columns) or "" in columns:
        raise CorpusError(f"{name}: a column has no name, or two columns have the same name")
    if not cells:
        raise CorpusError(f"{name}: no rows below the header")
    for number, row in enumerate(cells, 1):
        if len(row) != len(columns):
            raise CorpusError(f"{name}, row {number}: {len(row)} cells for {len(columns)} columns")
        for column, text in zip(columns, row, strict=True):
            if not text.strip():
                raise CorpusError(f"{name}, row {number}, column {column}: empty")
    return Table(path, columns, cells)


def read_vectors(path: str) -> Array:
    """Reads one vector per row (N, F), from a .npy file or from a .csv file without a header. Raises CorpusError."""
    if path.endswith(".npy"):
        vectors = _read_npy_vectors(path)
    elif path.endswith(".csv"):
        vectors = _read_csv_vectors(path)
    else:
        raise CorpusError(f"{path}: must end in .npy or .csv")
    not_finite = np.argwhere(~np.isfinite(vectors))
    if len(not_finite):
        row, column = not_finite[0] + 1
        raise CorpusError(f"{path}, row {row}, column {column}: not a finite number")
    return vectors


def _read_npy_vectors(path: str) -> Array:
    try:
        with open(path, "rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, LookupError, EOFError, SyntaxError, TokenError):
        raise CorpusError(f"{path}: not a plain array of numbers", "pickled objects are never read") from None
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.size:
        raise _not_a_table(path)
    vectors: Array = values.astype(np.float64)
    return vectors


def _read_csv_vectors(path: str) -> Array:
    rows = _read_csv(path, [], "utf-8")
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise _not_a_table(path)
    columns = tuple(str(n + 1) for n in range(len(rows[0])))
    return Table(path, columns, rows).numbers(columns)


def _not_a_table(path: str) -> CorpusError:
    return CorpusError(f"{path}: not a matrix of numbers", "all rows must have the same length")


def _read_csv(path: str, notices: list[str], encoding: str) -> list[list[str]]:
    """The rows of a CSV file, without empty rows."""
    lines = (line.text for line in read_lines([path], encoding, notices))
    try:
        return [row for row in csv.reader(lines) if row]
    except csv.Error as error:
        raise CorpusError(f"{display_name(path)}: not CSV: {error}") from None


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Standardises columns: subtracts their mean and divides by their standard deviation."""

    mean: Array  # (D,)
    std: Array  # (D,), 1 for constant columns

    @classmethod
    def fit(cls, values: Array, levels: Array | None = None) -> Standardizer:
        """Computes the statistics of rows (N, D). Raises CorpusError if the squares of the numbers overflow.

        levels: if the values are differences, the rows (M, D) from which they were computed. The rounding errors of the
            differences depend on the magnitude of these rows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.mean(axis=0)
            std = values.std(axis=0)
        if not np.isfinite([mean, std]).all():
            problem = f"the standard deviation of numbers up to {np.abs(values).max():g} is not finite"
            raise CorpusError(problem, "scale the numbers down")
        # Because of rounding errors, the standard deviation of a constant column is not exactly zero.
        largest_values = np.abs(values if levels is None else levels).max(axis=0)
        return cls(mean, np.where(std > PRECISION * largest_values, std, 1.0))

    @classmethod
    def from_dict(cls, values: Any, width: int) -> Standardizer:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        mean = np.array([float(number) for number in values["mean"]])
        std = np.array([float(number) for number in values["std"]])
        if len(mean) != width or len(std) != width or not np.isfinite([mean, std]).all() or (std <= 0).any():
            raise ValueError("invalid means or standard deviations in the checkpoint")
        return cls(mean, std)

    def to_dict(self) -> dict[str, list[float]]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def apply(self, values: Array) -> Array:
        """Rows (N, D) -> standardised rows (N, D), float32. A number that is too large becomes infinite."""
        with np.errstate(over="ignore"):
            standardised: Array = ((values - self.mean) / self.std).astype(np.float32)
        return standardised

    def invert(self, values: Array) -> Array:
        """Standardised rows (N, D) -> rows (N, D) in the columns' own units."""
        numbers: Array = values.astype(np.float64) * self.std + self.mean
        return numbers


def _is_number(text: str) -> bool:
    """Whether a text is an ASCII number. Python's `float` also accepts other digits, and underscores between digits."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _parse_number(text: str) -> float:
    """The number in a text. Raises ValueError if the text is not a finite number."""
    if not _is_number(text):
        raise ValueError(f"{text.strip()!r} is not a number")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text.strip()} is not a finite number")
    return number
