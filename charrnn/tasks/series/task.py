"""The task `series`: predict the next row of a series of numbers, or target columns of the same row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Table, read_table
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster
from charrnn.tasks.series.sequences import SegmentStream, SequencePass

DEFAULT_BATCH_SIZE = 32
DEFAULT_SEQ_LENGTH = 64
MIN_TRAINING_ROWS = 2


class SeriesTask:
    """Tables, each of which is a sequence, split by time. See tasks.base.Task."""

    def __init__(
        self, tables: list[Table], columns: Columns, split_points: list[tuple[int, int]], notices: list[str]
    ) -> None:
        """split_points: for each table the first row of the validation part and of the test part."""
        self.tables = tables
        self.columns = columns
        self.split_points = split_points
        self.notices = notices
        self.fingerprint = _fingerprint(tables)
        # A short series is soon memorised, so a lower learning rate is used, unless there are targets.
        self.defaults = TaskDefaults(max_weights_per_symbol=3)
        if not columns.targets:
            self.defaults = replace(self.defaults, cell="gru", learning_rate_scale=0.25)
        training_tables = self._first_rows([val for val, _ in split_points])
        self.training_records = columns.records(training_tables, [slice(None)] * len(tables))

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> SeriesTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        notices: list[str] = []
        tables = [read_table(path, notices, data.encoding) for path in config.corpus]
        for table in tables:
            if table.columns != tables[0].columns:
                raise CorpusError(f"{table.path}: the columns differ from those of {tables[0].path}")
            if len(table.cells) < MIN_TRAINING_ROWS:
                raise CorpusError(f"{table.path}: only one row", "at least two are needed to predict the next row")
        split_points = [_split_points(len(table.cells), data) for table in tables]
        if data.val_fraction and not any(test > val for val, test in split_points):
            notices.append("too few rows to validate on; all are used to train")
        columns = Columns.from_tables(tables, [val for val, _ in split_points], data.target or [])
        if source is not None:
            columns = columns.with_scales_of(_source_columns(source))
        return cls(tables, columns, split_points, notices)

    @property
    def training_size(self) -> int:
        return len(self.training_records.x)

    @property
    def vocabulary_size(self) -> int:
        return 0

    @property
    def has_validation(self) -> bool:
        return any(test > val for val, test in self.split_points)

    def describe(self) -> str:
        rows = sum(len(table.cells) for table in self.tables)
        val_rows = sum(test - val for val, test in self.split_points)
        test_rows = sum(
            len(table.cells) - test for table, (_, test) in zip(self.tables, self.split_points, strict=True)
        )
        files = "1 file" if len(self.tables) == 1 else f"{len(self.tables)} files"
        predicted = ", ".join(self.columns.targets) or "the next row"
        parts = f"{rows - val_rows - test_rows:,} rows to train on, {val_rows:,} to validate, {test_rows:,} to test"
        return f"series: {files}, {len(self.columns.inputs)} columns, predicts {predicted}; {parts}"

    def metadata(self) -> dict[str, Any]:
        return {"name": "series", **self.columns.to_dict()}

    def architecture(self, model: ModelOptions) -> Architecture:
        return self.columns.architecture(model)

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        no_symbols = np.empty(0, int)
        outputs = np.arange(architecture.output_size)
        if self.columns.labels:
            outputs = np.array([self.columns.labels.index(label) for label in _source_columns(source).labels])
        return transfer_parameters(source.weights, architecture, seed, no_symbols, outputs)

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        longest = int(self.training_records.lengths.max())
        if seq_length is not None and seq_length > longest:
            problem = f"--seq-length {seq_length}: longer than the training part"
            raise UsageError(problem, f"the largest that fits is {longest}")
        return batch_size or DEFAULT_BATCH_SIZE, seq_length or min(DEFAULT_SEQ_LENGTH, longest)

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> SegmentStream:
        return SegmentStream(self.training_records, batch_size, seq_length, seed)

    def validation_pass(self, batch_size: int, seq_length: int) -> SequencePass | None:
        if not self.has_validation:
            return None
        tables = self._first_rows([test for _, test in self.split_points])
        records = self.columns.records(tables, [slice(val, None) for val, _ in self.split_points])
        return SequencePass(records, batch_size, seq_length)

    def window_notices(self, seq_length: int) -> list[str]:
        return []

    def scores(self, means: Array) -> Scores:
        loss = float(means[0])
        if self.columns.output_scale is None:
            return Scores(loss=loss, bpc=bits(loss), accuracy=float(means[1]))
        errors = np.sqrt(means[1:]) * self.columns.output_scale.std
        return Scores(loss=loss, rmse=dict(zip(self.columns.outputs, errors.tolist(), strict=True)))

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        scored = [slice(val, test) if self.has_validation else slice(0, val) for val, test in self.split_points]
        return json.dumps(Forecaster(checkpoint).evaluate_tables(self.tables, scored))

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        scored = [slice(test, None) for _, test in self.split_points]
        if not any(len(table.cells[rows]) for table, rows in zip(self.tables, scored, strict=True)):
            return None
        return Forecaster(checkpoint).evaluate_tables(self.tables, scored)

    def _first_rows(self, numbers: Sequence[int]) -> list[Table]:
        """The first rows of each table."""
        return [replace(table, cells=table.cells[:number]) for table, number in zip(self.tables, numbers, strict=True)]


def _source_columns(source: Checkpoint) -> Columns:
    if source.task["name"] != "series":
        raise UsageError("--init-from: the model was trained on other columns")
    return source.parse_task(Columns.from_dict)


def _split_points(rows: int, data: DataOptions) -> tuple[int, int]:
    """The first row of the validation part, and of the test part. The training part has at least two rows."""
    test = max(MIN_TRAINING_ROWS, rows - int(rows * data.test_fraction))
    return max(MIN_TRAINING_ROWS, test - int(rows * data.val_fraction)), test


def _fingerprint(tables: Sequence[Table]) -> str:
    digest = hashlib.sha256()
    for table in tables:
        digest.update(json.dumps([table.columns, table.cells]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
