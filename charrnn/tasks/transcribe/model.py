"""A trained model that writes a text for a matrix, for example a transcript of speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.data import DataFiles, write_matrix_pairs
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.transcribe.coding import MatrixCoding
from charrnn.tasks.transcribe.matrices import array_matrix, read_matrix, read_records


class Transcriber(SourceModel):
    """Predicts a text for a matrix."""

    coding: MatrixCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> MatrixCoding:
        return MatrixCoding.from_dict(task)

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_matrix_pairs(folder, data)

    def read_sources(self, texts: Sequence[Any]) -> list[Any]:
        """texts: the paths of matrix files, or matrices (T, D)."""
        return [
            read_matrix(source) if isinstance(source, str) else array_matrix(source, f"input {number}")
            for number, source in enumerate(texts, 1)
        ]

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = read_records([file.path], "utf-8", [])
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate_records(records, skip_unknown=file.skip_unknown)
