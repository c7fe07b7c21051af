"""A trained translator of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.corpus.lines import read_lines
from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.data import DataFiles, write_pairs
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.records import parse_pair
from charrnn.tasks.translate.coding import TextPairCoding


class Translator(SourceModel):
    """Predicts a target text for a source text."""

    coding: TextPairCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> TextPairCoding:
        return TextPairCoding.from_dict(task)

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_pairs(folder, data)

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        records = [SourceRecord(*parse_pair(line)) for line in read_lines([file.path], "utf-8", [])]
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate_records(records, skip_unknown=file.skip_unknown)
