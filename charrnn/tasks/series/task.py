"""Regression, many to many: rows of numbers in, the next row out; or the targets of the same row, numbers or labels."""

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
from charrnn.models.transfer import transfer
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster
from charrnn.tasks.series.sequences import SegmentStream, SequencePass

BATCH_SIZE, SEQ_LENGTH = 32, 64


class SeriesTask:
    """Files of rows, each a sequence of its own, split by time within each."""

    def __init__(self, tables: list[Table], columns: Columns, cuts: list[tuple[int, int]], notices: list[str]) -> None:
        """cuts: where in each table validation and test begin."""
        self.tables, self.columns, self.cuts, self.notices = tables, columns, cuts, notices
        self.fingerprint = _fingerprint(tables)
        # The next row of a short series is soon learnt by heart; targets bring more to learn from.
        self.defaults = TaskDefaults(max_weights_per_symbol=3)
        if not columns.targets:
            self.defaults = replace(self.defaults, cell="gru", learning_rate_scale=0.25)
        heads = [replace(table, cells=table.cells[:val]) for table, (val, _) in zip(tables, cuts, strict=True)]
        self.to_train = columns.records(heads, [slice(None)] * len(heads))

    @classmethod
    def read(cls, config: RunConfig, start: Checkpoint | None = None) -> SeriesTask:
        """From the files. Raises CorpusError, UsageError."""
        text, notices = config.data, list[str]()
        if text.val_fraction + text.test_fraction >= 1:
            raise UsageError(
                "--val-fraction and --test-fraction leave nothing to train on", "their sum must be below 1"
            )
        tables = [read_table(path, notices, text.encoding) for path in config.corpus]
        for table in tables:
            if table.columns != tables[0].columns:
                raise CorpusError(f"{table.path}: other columns than {tables[0].path}")
            if len(table.cells) < 2:
                raise CorpusError(f"{table.path}: one row is too few", "there must be a next one to learn")
        cuts = [_cuts(len(table.cells), text) for table in tables]
        if text.val_fraction and not any(test > val for val, test in cuts):
            notices.append("too few rows to validate on; all are trained on")
        columns = Columns.of(tables, [val for val, _ in cuts], text.target or [])
        if start is not None:
            known = start.read_task(Columns.from_dict) if start.task["name"] == "series" else None
            if known is None or (known.inputs, known.targets) != (columns.inputs, columns.targets):
                raise UsageError("--init-from: a model of other columns")
            columns = known
        return cls(tables, columns, cuts, notices)

    @property
    def size(self) -> int:
        return len(self.to_train.x)

    @property
    def vocabulary_size(self) -> int:
        return 0

    def describe(self) -> str:
        rows = [len(table.cells) for table in self.tables]
        val = sum(test - val for val, test in self.cuts)
        test = sum(size - test for size, (_, test) in zip(rows, self.cuts, strict=True))
        parts = f"{sum(rows) - val - test:,} rows to train on, {val:,} to validate, {test:,} to test"
        files = "1 file" if len(rows) == 1 else f"{len(rows)} files"
        wanted = f"predicts {', '.join(self.columns.targets) or 'the next row'}"
        return f"series: {files}, {len(self.columns.inputs)} columns, {wanted}; {parts}"

    def metadata(self) -> dict[str, Any]:
        return {"name": "series", **self.columns.to_dict()}

    def architecture(self, model: ModelOptions) -> Architecture:
        return self.columns.architecture(model)

    def initial_weights(self, start: Checkpoint, architecture: Architecture, seed: int) -> dict[str, Array]:
        return transfer(start.weights, architecture, seed, np.empty(0, int), np.arange(architecture.output_size))

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        longest = int(self.to_train.lengths.max())
        if seq_length is not None and seq_length > longest:
            raise UsageError(
                f"--seq-length {seq_length}: longer than the training part", f"the largest that fits is {longest}"
            )
        return batch_size or BATCH_SIZE, seq_length or min(SEQ_LENGTH, longest)

    def training(self, batch_size: int, seq_length: int, seed: int) -> SegmentStream:
        return SegmentStream(self.to_train, batch_size, seq_length, seed)

    def validation(self, batch_size: int, seq_length: int) -> SequencePass | None:
        if not any(test > val for val, test in self.cuts):
            return None
        ends = [test for _, test in self.cuts]
        whole = [replace(table, cells=table.cells[:end]) for table, end in zip(self.tables, ends, strict=True)]
        records = self.columns.records(whole, [slice(val, None) for val, _ in self.cuts])
        return SequencePass(records, batch_size, seq_length)

    def window_notices(self, seq_length: int) -> list[str]:
        return []

    def metrics(self, tally: Array) -> dict[str, Any]:
        if self.columns.output_scale is None:
            return {"val_accuracy": float(tally[0])}
        errors = np.sqrt(tally) * self.columns.output_scale.std
        return {"val_rmse": dict(zip(self.columns.outputs, errors.tolist(), strict=True))}

    def bits(self, loss: float | None) -> float | None:
        return bits(loss) if self.columns.labels else None

    def sample(self, checkpoint: Checkpoint, seed: int) -> str:
        scored = [slice(val, test) for val, test in self.cuts]
        return json.dumps(Forecaster(checkpoint).evaluate_tables(self.tables, scored))

    def test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        scored = [slice(test, None) for _, test in self.cuts]
        if not any(len(table.cells[rows]) for table, rows in zip(self.tables, scored, strict=True)):
            return None
        return Forecaster(checkpoint).evaluate_tables(self.tables, scored)


def _cuts(rows: int, data: DataOptions) -> tuple[int, int]:
    """Where validation and test begin; at least two rows are trained on."""
    test = max(2, rows - int(rows * data.test_fraction))
    return max(2, test - int(rows * data.val_fraction)), test


def _fingerprint(tables: Sequence[Table]) -> str:
    digest = hashlib.sha256()
    for table in tables:
        digest.update(json.dumps([table.columns, table.cells]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
