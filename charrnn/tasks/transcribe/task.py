"""Reads the files of the task `transcribe`: one record per line, `path<TAB>text`.

The path, relative to the file, names a matrix of numbers, for example the frames of a recording.
"""

from __future__ import annotations

import os

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import UsageError
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.encoder_decoder.task import SourceTask, check_initial_task, fingerprint_records, read_parts
from charrnn.tasks.transcribe.coding import MatrixCoding
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
        every = [*records, *val_records]
        targets = [record.target for record in every]
        known = None
        if source is not None:
            check_initial_task(source, MatrixCoding.name)
            known = source.parse_task(MatrixCoding.from_dict)
        target = Symbols.from_texts(targets, data.target_separator, None if known is None else known.target)
        longest = max(1, *(len(target.split(text)) for text in targets))
        if known is None:
            scale = Standardizer.fit(np.concatenate([record.source.values for record in parts["train"]]))
            coding = MatrixCoding(scale, data.subsample or 1, target, longest)
        else:
            if data.subsample not in (None, known.subsample):
                trained = f"the model given by --init-from was trained with --subsample {known.subsample}"
                raise UsageError(f"--subsample {data.subsample}: {trained}")
            coding = MatrixCoding(known.scale, known.subsample, target, max(longest, known.longest))
        fingerprint = fingerprint_records(
            *([_describe_record(record) for record in part] for part in (records, val_records))
        )
        return cls(Transcriber, coding, parts, fingerprint, notices)


def _describe_record(record: SourceRecord) -> tuple[str, bytes, str]:
    """The name and the content of the matrix, and the text."""
    matrix = record.source
    return os.path.basename(matrix.path), np.ascontiguousarray(matrix.values).tobytes(), record.target
