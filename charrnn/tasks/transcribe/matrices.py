"""Reads the files of the task `transcribe`: lists of matrix files, and the matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import read_vectors
from charrnn.errors import CorpusError
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.matrices import Matrix
from charrnn.tasks.records import parse_pair


def read_matrix(path: str, place: str = "") -> Matrix:
    """Reads a matrix (T, D) from a .npy or .csv file. place: where the record is, for messages. Raises CorpusError."""
    try:
        return Matrix(path, read_vectors(path), place)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error.message}" if place else error.message, error.hint) from None


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
