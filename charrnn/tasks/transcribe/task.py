"""Reads the files of the task `transcribe`: one record per line, `path<TAB>text`.

The path, relative to the file, names a matrix of numbers, for example with a row for each moment of a recording.
"""

from __future__ import annotations

import os

from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.encoder_decoder.matrices import describe_record
from charrnn.tasks.encoder_decoder.task import SourceTask, fingerprint_records, read_parts
from charrnn.tasks.transcribe.coding import TranscriptCoding
from charrnn.tasks.transcribe.matrices import read_matrices
from charrnn.tasks.transcribe.model import Transcriber


class TranscribeTask(SourceTask):
    """Matrices and their texts to train on."""

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> TranscribeTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        notices: list[str] = []
        parts, records, val_records = read_parts(config, read_matrices, notices)
        coding = TranscriptCoding.from_records([*records, *val_records], parts["train"], data, source)
        fingerprint = fingerprint_records(
            *(
                [describe_record(record, os.path.basename(record.source.name)) for record in part]
                for part in (records, val_records)
            )
        )
        return cls(Transcriber, coding, parts, fingerprint, notices)
