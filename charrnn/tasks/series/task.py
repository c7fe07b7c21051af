"""The task `series`: predict the next row of a series of numbers, or target columns of the same row."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.corpus.reading import display_name
from charrnn.corpus.tables import Table, list_names, read_table
from charrnn.errors import UsageError, format_count
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.files import dump_json
from charrnn.runs.reports import Scores
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.series.columns import Columns, check_rows, complete_rows
from charrnn.tasks.series.model import Forecaster
from charrnn.tasks.series.selection import select_columns
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
        self.fingerprint = _fingerprint(tables, columns)
        # A short series is soon memorised, so a lower learning rate is used to predict the next row.
        self.defaults = TaskDefaults(max_weights_per_symbol=3)
        if columns.has_history and not columns.others:
            self.defaults = replace(self.defaults, cell="gru", learning_rate_scale=0.25)
        training_tables = self._first_rows([val for val, _ in split_points])
        self.training_records = columns.records(training_tables, [slice(None)] * len(tables))

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> SeriesTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        notices: list[str] = []
        known = None if source is None else _source_columns(source)
        if known is not None:
            data = _options_of(known, data)
        targets = data.target or []
        tables = [read_table(path, notices, data.encoding, keep_texts=targets) for path in config.corpus]
        if known is not None and set(known.names) - set(tables[0].names):
            problem = "--init-from: the model was trained on other columns"
            raise UsageError(problem, f"it needs {list_names(known.names)}")
        _describe_layouts(tables, notices)
        names = select_columns(tables, data, notices)
        missing = data.missing or "error"
        if missing == "drop":
            tables = _drop_incomplete(tables, names, targets, notices)
        for table in tables:
            check_rows(table, MIN_TRAINING_ROWS)
        split_points = [_split_points(len(table), data) for table in tables]
        if data.val_fraction and not any(test > val for val, test in split_points):
            notices.append("too few rows to validate on; all are used to train")
        training_rows = [val for val, _ in split_points]
        columns = Columns.from_tables(
            tables, training_rows, names, targets, history=data.target_history, missing=missing
        )
        if columns.labels:
            parts = [table.select_rows(slice(rows)) for table, rows in zip(tables, training_rows, strict=True)]
            absent = set(columns.labels).difference(*(part.texts(targets[0]) for part in parts))
            if absent:
                notices.append(f"labels that do not occur in the training part: {list_names(sorted(absent))}")
        if known is not None:
            columns = columns.with_scales_of(known)
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
        rows = sum(len(table) for table in self.tables)
        val_rows = sum(test - val for val, test in self.split_points)
        test_rows = sum(len(table) - test for table, (_, test) in zip(self.tables, self.split_points, strict=True))
        files = format_count(len(self.tables), "file")
        columns = self.columns
        predicted = list_names(columns.targets)
        if columns.labels:
            predicted += f" ({len(columns.labels)} labels)"
        if columns.has_history and not columns.others:
            predicted = "the next row"
        training = format_count(rows - val_rows - test_rows, "row")
        parts = f"{training} to train on, {val_rows:,} to validate, {test_rows:,} to test"
        return f"series: {files}, {format_count(len(columns.inputs), 'column')}, predicts {predicted}; {parts}"

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

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> SequencePass | None:
        """See Task. The limit is not used: all rows are scored."""
        if not self.has_validation:
            return None
        tables = self._first_rows([test for _, test in self.split_points])
        records = self.columns.records(tables, [slice(val, None) for val, _ in self.split_points])
        return SequencePass(records, batch_size, seq_length) if records.loss_mask.any() else None

    def window_notices(self, seq_length: int) -> list[str]:
        return []

    def scores(self, means: Array) -> Scores:
        loss = float(means[0])
        if self.columns.output_scale is None:
            return Scores(loss=loss, bpc=bits(loss), accuracy=float(means[1]))
        errors = np.sqrt(means[1:]) * self.columns.output_scale.std
        return Scores(loss=loss, rmse=dict(zip(self.columns.targets, errors.tolist(), strict=True)))

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        scored = [slice(val, test) if self.has_validation else slice(0, val) for val, test in self.split_points]
        return dump_json(Forecaster(checkpoint).evaluate_tables(self.tables, scored))

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        scored = [slice(test, None) for _, test in self.split_points]
        if not any(len(table.lines[rows]) for table, rows in zip(self.tables, scored, strict=True)):
            return None
        return Forecaster(checkpoint).evaluate_tables(self.tables, scored)

    def _first_rows(self, numbers: Sequence[int]) -> list[Table]:
        """The first rows of each table."""
        return [table.select_rows(slice(number)) for table, number in zip(self.tables, numbers, strict=True)]


def _source_columns(source: Checkpoint) -> Columns:
    if source.task["name"] != "series":
        raise UsageError("--init-from: the model was trained on other columns")
    return source.parse_task(Columns.from_dict)


def _options_of(columns: Columns, data: DataOptions) -> DataOptions:
    """The options with the columns of a model, unless the user chose others."""
    target = data.target
    if target is None and columns.names != columns.targets:
        target = list(columns.targets)
    history = data.target_history and (columns.has_history or bool(columns.labels))
    names = io.StringIO()
    csv.writer(names, lineterminator="").writerow(columns.names)
    chosen = data.columns if data.columns or data.ignore else names.getvalue()
    return replace(data, target=target, target_history=history, columns=chosen, missing=data.missing or columns.missing)


def _describe_layouts(tables: Sequence[Table], notices: list[str]) -> None:
    """Appends to `notices` the separators and decimal signs that are unusual."""
    for layout in dict.fromkeys(table.layout for table in tables if table.layout):
        paths = [display_name(table.path) for table in tables if table.layout == layout]
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        notices.append(f"{paths[0]}{others}: {layout}")


def _drop_incomplete(
    tables: Sequence[Table], names: Sequence[str], targets: Sequence[str], notices: list[str]
) -> list[Table]:
    """The tables without rows in which a value is missing."""
    labels = [name for name in targets if any(table.is_text(name) for table in tables)]
    numbers = [name for name in names if name not in labels]
    complete = [table.select_rows(complete_rows(table, numbers, labels)) for table in tables]
    dropped = sum(map(len, tables)) - sum(map(len, complete))
    if dropped:
        notices.append(f"{dropped:,} rows are left out, because a value is missing")
    return complete


def _split_points(rows: int, data: DataOptions) -> tuple[int, int]:
    """The first row of the validation part, and of the test part. The training part has at least two rows."""
    test = max(MIN_TRAINING_ROWS, rows - int(rows * data.test_fraction))
    return max(MIN_TRAINING_ROWS, test - int(rows * data.val_fraction)), test


def _fingerprint(tables: Sequence[Table], columns: Columns) -> str:
    digest = hashlib.sha256()
    for table in tables:
        numbers = [name for name in columns.names if not (columns.labels and name in columns.targets)]
        digest.update(json.dumps([columns.names, len(table)]).encode())
        digest.update(table.numbers(numbers).tobytes())
        if columns.labels:
            digest.update(json.dumps(table.texts(columns.targets[0])).encode())
    return digest.hexdigest()
