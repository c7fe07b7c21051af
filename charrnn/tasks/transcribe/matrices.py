"""Reads the files of the task `transcribe`: lists of matrix files, and the matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence

from charrnn.corpus.numbers import read_vectors
from charrnn.corpus.record_files import read_records
from charrnn.errors import CorpusError, format_count
from charrnn.options import DataOptions
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.matrices import Matrix


def read_matrix(path: str, place: str = "") -> Matrix:
    """Reads a matrix (T, D) from a .npy or .csv file. place: where the record is, for messages. Raises CorpusError."""
    try:
        return Matrix(path, read_vectors(path), place)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error.message}" if place else error.message, error.hint) from None


def read_matrices(paths: Sequence[str], data: DataOptions, notices: list[str]) -> list[SourceRecord]:
    """The records of some files. All matrices have the same number of columns. Raises CorpusError."""
    records: list[SourceRecord] = []
    for record in read_records(paths, data, notices):
        folder = "" if record.line.path == "-" else os.path.dirname(record.line.path)
        matrix = read_matrix(os.path.join(folder, record.text), record.place)
        if records and matrix.values.shape[1] != records[0].source.values.shape[1]:
            width = records[0].source.values.shape[1]
            columns = format_count(matrix.values.shape[1], "column")
            raise CorpusError(f"{record.place}: {record.text}: {columns}, but the first matrix has {width}")
        records.append(SourceRecord(matrix, record.output))
    return records
