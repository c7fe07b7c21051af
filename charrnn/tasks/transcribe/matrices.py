"""Matrices of numbers from files: the sources of the task `transcribe`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import read_vectors
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.records import parse_pair


@dataclass(frozen=True, eq=False)
class Matrix:
    """The rows of a file, and its path. Matrices with the same path are equal."""

    path: str
    values: Array  # (T, D)
    place: str = ""  # file and line that name the matrix, for messages

    @property
    def description(self) -> str:
        """The path of the file, after the place that names it."""
        return f"{self.place}: {self.path}" if self.place else self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matrix) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return self.path


def read_matrix(path: str, place: str = "") -> Matrix:
    """Reads a matrix (T, D) from a .npy or .csv file. place: where the record is, for messages. Raises CorpusError."""
    try:
        return Matrix(path, read_vectors(path), place)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error.message}" if place else error.message, error.hint) from None


def array_matrix(values: Any, name: str) -> Matrix:
    """A matrix (T, D) that is in memory. name: identifies the matrix. Raises CorpusError."""
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise CorpusError(f"{name}: must be a matrix of finite numbers", f"its shape is {rows.shape}")
    return Matrix(name, rows)


def read_records(paths: Sequence[str], encoding: str, notices: list[str]) -> list[SourceRecord]:
    """The records of some files. All matrices have the same number of columns. Raises CorpusError."""
    records: list[SourceRecord] = []
    for line in read_lines(paths, encoding, notices):
        name, target = parse_pair(line)
        folder = "" if line.path == "-" else os.path.dirname(line.path)
        matrix = read_matrix(os.path.join(folder, name), line.place)
        if records and matrix.values.shape[1] != records[0].source.values.shape[1]:
            width = records[0].source.values.shape[1]
            raise CorpusError(
                f"{line.place}: {name}: {matrix.values.shape[1]} columns, but the first matrix has {width}"
            )
        records.append(SourceRecord(matrix, target))
    return records
