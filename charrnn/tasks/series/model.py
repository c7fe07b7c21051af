"""A trained model of a series, which predicts the next row, or target columns of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Table, read_table
from charrnn.corpus.reading import display_name
from charrnn.corpus.windows import Records
from charrnn.engines.base import Backend
from charrnn.errors import CorpusError, UsageError, converting_errors
from charrnn.fields import flag
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile, TrainedModel
from charrnn.tasks.data import DataFiles, temporary_files, write_table
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.sequences import SequencePass

MAX_SEQ_LENGTH = 256  # steps read at a time


class Forecaster(TrainedModel):
    """A trained model of a series. Losses are half the mean square of standardised errors, or nats for labels."""

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        super().__init__(checkpoint, backend)
        self.columns = checkpoint.parse_task(self._parse_columns)

    def _parse_columns(self, task: dict[str, Any]) -> Columns:
        columns = Columns.from_dict(task)
        if columns.architecture(self.architecture) != self.architecture:
            raise ValueError("the task metadata does not match the weights")
        return columns

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_table(folder, data)

    @converting_errors()
    def predict(self, inputs: Any, *, steps: int | None = None, **options: Any) -> dict[str, list[Any]]:
        """Predicts a row for each row of a table or, with `steps`, the rows that follow the last one.

        inputs: a pandas frame, a dict of columns, an array, or the path of a CSV file. Returns the predicted columns
        by name.
        """
        if options:
            raise UsageError(f"a model of --task series does not support {flag(min(options))}")
        if steps is not None and steps < 1:
            raise UsageError(f"--steps {steps}: must be at least 1")
        if isinstance(inputs, str | Path):
            names, rows = self.predict_table(str(inputs), steps)
        else:
            with temporary_files(self.write_data, inputs) as files:
                names, rows = self.predict_table(str(files.path), steps)
        return {name: [row[n] for row in rows] for n, name in enumerate(names)}

    def predict_rows(self, rows: Any) -> Any:
        """Rows (n, D) -> predictions (n, M), or n labels.

        The prediction for a row is the next row or, if the model has targets, the targets of that row.
        """
        values = self._check_rows(rows)
        outputs, _ = self._read(values)
        if self.columns.output_scale is None:
            return [self.columns.labels[n] for n in outputs.argmax(axis=1).tolist()]
        predicted = self.columns.output_scale.invert(outputs)
        return predicted if self.columns.targets else values + predicted

    def forecast(self, rows: Any, steps: int) -> Array:
        """Predicts the rows (steps, D) that follow the given rows (n, D). The network reads its own predictions.

        Raises UsageError for a model with targets, because it needs the other columns of each row.
        """
        scale = self.columns.output_scale
        if self.columns.targets or scale is None:
            raise UsageError("--steps: a model with --target needs the other columns of each row")
        values = self._check_rows(rows)
        outputs, state = self._read(values)
        stepper = self.backend.stepper(self.architecture, self.parameters, 1)
        stepper.restore(state)
        row = values[-1]
        output = outputs[-1]
        following = np.empty((steps, len(self.columns.inputs)))
        for n in range(steps):
            row = row + scale.invert(output)
            following[n] = row
            standardised = self.columns.input_scale.apply(row)[None].astype(self.parameters.dtype)
            output = stepper.step_vectors(standardised)[0]
        return following

    def predict_table(self, path: str, steps: int | None) -> tuple[Sequence[str], list[list[Any]]]:
        """See tasks.base.ForecastsRows."""
        table = read_table(path, [])
        self._check_columns(table, self.columns.inputs)
        rows = table.numbers(self.columns.inputs)
        answers = self.predict_rows(rows) if steps is None else self.forecast(rows, steps)
        cells = [[label] for label in answers] if self.columns.labels else answers.tolist()
        return self.columns.outputs, cells

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        table = read_table(file.path, [])
        if not self.columns.targets and len(table.cells) < 2:
            name = display_name(table.path)
            raise CorpusError(f"{name}: only one row", "at least two are needed to predict the next row")
        return self.evaluate_tables([table], [slice(None)])

    def evaluate_tables(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        """Returns a dict of `rows`, `loss`, `rmse`, `mae` and `rmse_of_last`, or of `rows`, `loss` and `accuracy`.

        The second form is for labels. `rmse`, `mae` and `rmse_of_last` map each column to a value. `rmse_of_last` is
        the root mean squared error of repeating the last value; it is None if no scored row follows another row. The
        network also reads the rows before the scored rows.
        """
        for table in tables:
            self._check_columns(table, (*self.columns.inputs, *self.columns.targets))
        if self.columns.output_scale is None:
            return self._evaluate_labels(tables, scored)
        has_targets = bool(self.columns.targets)
        errors = []
        last_errors = []  # of repeating the last value
        losses = []
        for table, rows in zip(tables, scored, strict=True):
            predicted = self.predict_rows(table.numbers(self.columns.inputs))
            true = table.numbers(self.columns.outputs)
            if not has_targets:  # the network predicts row n + 1 at row n, so row 0 is not predicted
                predicted = np.concatenate([true[:1], predicted[:-1]])
            is_scored = np.zeros(len(true), bool)
            is_scored[rows] = True
            is_scored[0] &= has_targets
            errors.append((predicted - true)[is_scored])
            is_scored[0] = False  # no row precedes row 0, so there is no last value to repeat
            last_errors.append(np.diff(true, axis=0)[is_scored[1:]])
            losses.append(0.5 * np.square(errors[-1] / self.columns.output_scale.std).mean(axis=1))
        all_errors = np.concatenate(errors)
        all_last_errors = np.concatenate(last_errors)

        def by_column(values: Array) -> dict[str, float]:
            return dict(zip(self.columns.outputs, values.tolist(), strict=True))

        def rms(values: Array) -> dict[str, float]:
            return by_column(np.sqrt(np.square(values).mean(axis=0)))

        return {
            "rows": len(all_errors),
            "loss": float(np.concatenate(losses).mean()),
            "rmse": rms(all_errors),
            "mae": by_column(np.abs(all_errors).mean(axis=0)),
            "rmse_of_last": rms(all_last_errors) if len(all_last_errors) else None,
        }

    def _evaluate_labels(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        """See `evaluate`. A label that is not in the training data counts as wrong and is not included in the loss."""
        nats = 0.0
        right = 0
        rows = 0
        known_rows = 0
        for table, part in zip(tables, scored, strict=True):
            outputs, _ = self._read(table.numbers(self.columns.inputs))
            logits = outputs[part]
            true = self.columns.label_ids(table)[part]
            is_known = true >= 0
            right += int((logits.argmax(axis=1) == true).sum())
            rows += len(true)
            known_rows += int(is_known.sum())
            nats += float(cross_entropy_forward(logits[is_known], true[is_known])[0].sum(dtype=np.float64))
        return {
            "rows": rows,
            "loss": nats / known_rows if known_rows else None,
            "accuracy": right / rows if rows else None,
        }

    def _read(self, values: Array) -> tuple[Array, Array]:
        """Rows (n, D) -> the outputs (n, M), and the final state."""
        x = self.columns.input_scale.apply(values).astype(self.parameters.dtype)
        if self.columns.labels:
            unused_targets: Array = np.zeros(len(x), np.uint32)
        else:
            unused_targets = np.zeros((len(x), self.architecture.output_size), np.float32)
        records = Records(x, unused_targets, np.ones(len(x), bool), np.array([0, len(x)]))
        sequence = SequencePass(records, 1, min(MAX_SEQ_LENGTH, len(x)))
        network = self.backend.network(self.architecture, self.parameters, 1, sequence.seq_length)
        state = network.zero_state(1)
        outputs = []
        for step in range(sequence.steps):
            batch = sequence.batch(step)
            steps = int((sequence.places(step) >= 0).sum())  # the last batch can be shorter
            batch = replace(batch, x=batch.x[:steps], targets=batch.targets[:steps], loss_mask=None, reset_mask=None)
            outputs += [row_outputs for _, row_outputs in network.outputs(batch, state)]
        return np.concatenate(outputs), state

    def _check_columns(self, table: Table, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise CorpusError(f"{table.path}: no column {missing[0]}")

    def _check_rows(self, rows: Any) -> Array:
        values = np.asarray(rows, np.float64)
        inputs = self.columns.inputs
        if values.ndim != 2 or values.shape[1] != len(inputs) or not len(values):
            raise CorpusError(f"the model needs rows of {len(inputs)} numbers: {', '.join(inputs)}")
        if not np.isfinite(values).all():
            raise CorpusError("the rows contain a number that is not finite")
        return values
