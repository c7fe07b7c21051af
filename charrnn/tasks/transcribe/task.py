"""Reads the files of the task `transcribe`: one record per line, `path<TAB>text`.

The path, relative to the file, names a matrix of numbers, for example the frames of a recording.
"""

from __future__ import annotations

import os

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.reading import display_name
from charrnn.errors import CorpusError, UsageError
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.encoder_decoder.task import SourceTask, fingerprint_records
from charrnn.tasks.transcribe.coding import MatrixCoding
from charrnn.tasks.transcribe.matrices import read_records
from charrnn.tasks.transcribe.model import Transcriber
from charrnn.tasks.windowed import split_records


class TranscribeTask(SourceTask):
    """Matrices and their texts to train on."""

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> TranscribeTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        notices: list[str] = []
        records = read_records(config.corpus, data.encoding, notices)
        names = ", ".join(map(display_name, config.corpus))
        if not records:
            raise CorpusError(f"{names}: no records")
        val_records = [] if data.val_file is None else read_records([data.val_file], data.encoding, notices)
        if data.val_file is not None and not val_records:
            raise CorpusError(f"{data.val_file}: no records to validate on")
        parts = split_records(records, data, config.train.seed, notices)
        if val_records:
            parts["val"] = val_records
        if not parts["train"]:
            raise CorpusError(f"{names}: no records left to train on", "lower --val-fraction or --test-fraction")
        every = [*records, *val_records]
        targets = [record.target for record in every]
        known = None
        if source is not None:
            if source.task["name"] != MatrixCoding.name:
                raise UsageError(f"--init-from: a model of --task {source.task['name']} cannot start one of transcribe")
            known = source.parse_task(MatrixCoding.from_dict)
        target = Symbols.from_texts(targets, data.target_separator, None if known is None else known.target)
        longest = max(1, *(len(target.split(text)) for text in targets))
        if known is None:
            scale = Standardizer.fit(np.concatenate([record.source.values for record in parts["train"]]))
            coding = MatrixCoding(scale, data.subsample or 1, target, longest)
        else:
            if data.subsample not in (None, known.subsample):
                raise UsageError(f"--subsample {data.subsample}: the model of --init-from joins {known.subsample} rows")
            coding = MatrixCoding(known.scale, known.subsample, target, max(longest, known.longest))
        fingerprint = fingerprint_records(
            *([_describe_record(record) for record in part] for part in (records, val_records))
        )
        return cls(Transcriber, coding, parts, fingerprint, notices)


def _describe_record(record: SourceRecord) -> tuple[str, bytes, str]:
    """The name and the content of the matrix, and the text."""
    matrix = record.source
    return os.path.basename(matrix.path), np.ascontiguousarray(matrix.values).tobytes(), record.target
