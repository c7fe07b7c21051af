"""A trained translator of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.corpus.record_files import read_records
from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.data import DataFiles, write_pairs
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.model import SourceModel
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
        records = []
        for record in read_records([file.path], file.data, []):
            if not file.skip_unknown:
                record.check_known(self.unknown_symbols(record.text))
            records.append(SourceRecord(record.text, record.output))
        if not records:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate_records(records, skip_unknown=file.skip_unknown, errors=file.errors)
