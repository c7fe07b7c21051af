"""A trained model that writes a text for a matrix, for example a transcript of speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.data import DataFiles, write_matrix_pairs
from charrnn.tasks.encoder_decoder.matrices import Matrix, array_matrix
from charrnn.tasks.encoder_decoder.matrix_model import MatrixModel
from charrnn.tasks.transcribe.coding import TranscriptCoding
from charrnn.tasks.transcribe.matrices import read_matrices, read_matrix


class Transcriber(MatrixModel):
    """Predicts a text for a matrix."""

    input_dimensions = 2
    coding: TranscriptCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> TranscriptCoding:
        return TranscriptCoding.from_dict(task)

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_matrix_pairs(folder, data)

    def read_input(self, text: str, place: str) -> Matrix:
        """text: the path of a matrix file."""
        matrix = read_matrix(text, place)
        self.coding.encode_source(matrix)  # raises CorpusError for a matrix of another width
        return matrix

    def read_sources(self, inputs: Sequence[Any]) -> list[Any]:
        """inputs: matrices, or the paths of their files."""
        return [self._read_source(each, f"input {number}") for number, each in enumerate(inputs, 1)]

    def _read_source(self, source: Any, name: str) -> Matrix:
        if isinstance(source, Matrix):
            return source
        return read_matrix(source) if isinstance(source, str) else array_matrix(source, 2, name)

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = read_matrices([file.path], file.data, [])
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate_records(records, skip_unknown=file.skip_unknown, errors=file.errors)
