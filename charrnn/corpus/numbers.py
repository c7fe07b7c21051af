"""Numbers from files: tables with a header, vectors a line, and how both are standardised."""

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
from charrnn.options import DataOptions


@dataclass(frozen=True, eq=False)
class Table:
    """A file of rows under a header. cells: text as it stands, a row a list."""

    path: str
    columns: tuple[str, ...]
    cells: list[list[str]]

    def numbers(self, columns: Sequence[str]) -> Array:
        """These columns as numbers (rows, columns). Raises CorpusError naming row and column of what is none."""
        places = [self.columns.index(column) for column in columns]
        values = np.empty((len(self.cells), len(columns)))
        for n, row in enumerate(self.cells):
            for m, place in enumerate(places):
                values[n, m] = _number(row[place], f"{display_name(self.path)}, row {n + 1}, column {columns[m]}")
        return values

    def texts(self, column: str) -> list[str]:
        place = self.columns.index(column)
        return [row[place] for row in self.cells]

    def is_text(self, column: str) -> bool:
        """Whether no cell of the column is a number."""
        return not any(_is_number(text) for text in self.texts(column))


def read_table(path: str, notices: list[str], encoding: str = "utf-8") -> Table:
    """CSV with a header. Raises CorpusError for what is none, naming file, row and column."""
    name = display_name(path)
    rows = _rows(path, notices, encoding)
    if not rows:
        raise CorpusError(f"{name}: no rows")
    columns, cells = tuple(text.strip() for text in rows[0]), rows[1:]
    if all(_is_number(column) for column in columns):
        raise CorpusError(f"{name}: no header", "its first row must name the columns")
    if len(set(columns)) < len(columns) or "" in columns:
        raise CorpusError(f"{name}: a column without a name of its own")
    if not cells:
        raise CorpusError(f"{name}: no rows below the header")
    for number, row in enumerate(cells, 1):
        if len(row) != len(columns):
            raise CorpusError(f"{name}, row {number}: {len(row)} cells for {len(columns)} columns")
        for column, text in zip(columns, row, strict=True):
            if not text.strip():
                raise CorpusError(f"{name}, row {number}, column {column}: empty")
    return Table(path, columns, cells)


def _rows(path: str, notices: list[str], encoding: str) -> list[list[str]]:
    lines = (line.text for line in read_lines([path], DataOptions(encoding=encoding), notices))
    try:
        return [row for row in csv.reader(lines) if row]
    except csv.Error as error:
        raise CorpusError(f"{display_name(path)}: not CSV: {error}") from None


def read_vectors(path: str) -> Array:
    """A vector a row (N, F), from .npy (never pickled) or from .csv without a header. Raises CorpusError."""
    if path.endswith(".npy"):
        try:
            with open(path, "rb") as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror or error}") from None
        except (ValueError, TypeError, LookupError, EOFError, SyntaxError, TokenError):
            raise CorpusError(f"{path}: not a plain array of numbers", "pickled objects are never read") from None
        if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.size:
            raise CorpusError(f"{path}: not a table of numbers, a row for each line")
        vectors: Array = values.astype(np.float64)
    elif path.endswith(".csv"):
        rows = _rows(path, [], "utf-8")
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise CorpusError(f"{path}: not a table of numbers, a row for each line")
        vectors = np.empty((len(rows), len(rows[0])))
        for (n, m), _ in np.ndenumerate(vectors):
            vectors[n, m] = _number(rows[n][m], f"{path}, row {n + 1}, column {m + 1}")
    else:
        raise CorpusError(f"{path}: must end in .npy or .csv")
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        raise CorpusError(f"{path}, row {bad[0, 0] + 1}, column {bad[0, 1] + 1}: not a finite number")
    return vectors


@dataclass(frozen=True, eq=False)
class Standard:
    """Columns standardised: less their mean, over their standard deviation."""

    mean: Array  # (D,)
    std: Array  # (D,), 1 where nothing varies

    @classmethod
    def of(cls, values: Array) -> Standard:
        """From rows (N, D). Raises CorpusError for numbers too large to be squared."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = values.mean(axis=0), values.std(axis=0)
        if not np.isfinite([mean, std]).all():
            raise CorpusError(f"numbers up to {np.abs(values).max():g} have no finite spread", "scale them down")
        return cls(mean, np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0))

    @classmethod
    def from_dict(cls, values: Any, width: int) -> Standard:
        """As it stands in a checkpoint. Raises KeyError, TypeError or ValueError."""
        mean, std = (np.array([float(number) for number in values[name]]) for name in ("mean", "std"))
        if len(mean) != width or len(std) != width or not np.isfinite([mean, std]).all() or (std <= 0).any():
            raise ValueError("its numbers are standardised by something else")
        return cls(mean, std)

    def to_dict(self) -> dict[str, list[float]]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def apply(self, values: Array) -> Array:
        standardised: Array = ((values - self.mean) / self.std).astype(np.float32)
        return standardised

    def undo(self, values: Array) -> Array:
        """In the columns' own units."""
        numbers: Array = values.astype(np.float64) * self.std + self.mean
        return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text  # which Python would read over


def _number(text: str, place: str) -> float:
    if not _is_number(text):
        raise CorpusError(f"{place}: {text.strip()!r} is not a number")
    if not math.isfinite(float(text)):
        raise CorpusError(f"{place}: {text.strip()} is not a finite number")
    return float(text)
