"""Reads the files of the task `caption`: lines of text, and a vector for each line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import read_vectors
from charrnn.corpus.reading import display_name
from charrnn.errors import CorpusError, format_count
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.matrices import Matrix


def read_records(paths: Sequence[str], features: str, encoding: str, notices: list[str]) -> list[SourceRecord]:
    """The records of some files of lines and of a file with a vector for each line. Raises CorpusError."""
    texts = [line.text for line in read_lines(paths, encoding, notices)]
    vectors = to_matrices(read_vectors(features), features)
    names = ", ".join(map(display_name, paths))
    if not texts:
        raise CorpusError(f"{names}: no records")
    if len(vectors) != len(texts):
        raise CorpusError(
            f"{features}: {format_count(len(vectors), 'row')} for {format_count(len(texts), 'line')} of {names}"
        )
    return [SourceRecord(vector, text) for vector, text in zip(vectors, texts, strict=True)]


def to_matrices(vectors: Any, name: str) -> list[Matrix]:
    """Vectors (N, D) -> N matrices of one row. name: of the vectors, for messages. Raises CorpusError."""
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2:
        raise CorpusError(f"{name}: an array with {rows.ndim} dimensions", "the vectors must be the rows of a matrix")
    return [Matrix(f"{name}, row {number}", row[None]) for number, row in enumerate(rows, 1)]
