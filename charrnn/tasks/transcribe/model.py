"""A trained model that writes a text for a matrix, for example a transcript of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile, PredictionOptions
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.transcribe.coding import MatrixCoding
from charrnn.tasks.transcribe.matrices import read_matrix, read_records


class Transcriber(SourceModel):
    """Predicts a text for a matrix."""

    coding: MatrixCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> MatrixCoding:
        return MatrixCoding.from_dict(task)

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        """See tasks.base.PredictsRecords. texts: the paths of the matrix files."""
        matrices: Any = [read_matrix(path) for path in texts]
        return super().predict_records(matrices, options)

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = read_records([file.path], "utf-8", [])
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate(records, skip_unknown=file.skip_unknown)
