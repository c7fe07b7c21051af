"""A trained model that writes a text for a matrix, for example a transcript of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.transcribe.coding import TranscriptCoding
from charrnn.tasks.transcribe.matrices import read_matrix, read_records


class Transcriber(SourceModel):
    """Predicts a text for a matrix."""

    coding: TranscriptCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> TranscriptCoding:
        return TranscriptCoding.from_dict(task)

    def read_sources(self, texts: Sequence[str]) -> list[Any]:
        """texts: the paths of matrix files."""
        return [read_matrix(path) for path in texts]

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = read_records([file.path], "utf-8", [])
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate(records, skip_unknown=file.skip_unknown)
