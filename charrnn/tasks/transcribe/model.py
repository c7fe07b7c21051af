"""A trained model that writes a text for a matrix, for example a transcript of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.transcribe.coding import MatrixCoding
from charrnn.tasks.transcribe.matrices import Matrix, read_matrices, read_matrix


class Transcriber(SourceModel):
    """Predicts a text for a matrix."""

    coding: MatrixCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> MatrixCoding:
        return MatrixCoding.from_dict(task)

    def read_input(self, text: str, place: str) -> Matrix:
        """text: the path of a matrix file."""
        matrix = read_matrix(text, place)
        self.coding.encode_source(matrix)  # raises CorpusError for a matrix of another width
        return matrix

    def read_sources(self, inputs: Sequence[Any]) -> list[Any]:
        """inputs: matrices, or the paths of their files."""
        return [read_matrix(each) if isinstance(each, str) else each for each in inputs]

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = read_matrices([file.path], file.data, [])
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate(records, skip_unknown=file.skip_unknown, errors=file.errors)
