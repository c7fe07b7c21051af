"""A trained model of a series, which predicts the next row, or target columns of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Table, read_table
from charrnn.corpus.reading import display_name
from charrnn.corpus.windows import Records
from charrnn.engines.base import Backend
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile, TrainedModel
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

    def predict(self, rows: Any) -> Any:
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
        answers = self.predict(rows) if steps is None else self.forecast(rows, steps)
        cells = [[label] for label in answers] if self.columns.labels else answers.tolist()
        return self.columns.outputs, cells

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        table = read_table(file.path, [])
        if not self.columns.targets and len(table.cells) < 2:
            name = display_name(table.path)
            raise CorpusError(f"{name}: only one row", "at least two are needed to predict the next row")
        return self.evaluate([table], [slice(None)])

    def evaluate(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        """Returns a dict of `rows`, `loss`, `rmse`, `mae` and `rmse_of_last`, or of `rows`, `unknown_rows`, `loss`
        and `accuracy`.

        The second form is for labels. Rows whose label is not in the training data are not scored; `unknown_rows` is
        their number. `rmse`, `mae` and `rmse_of_last` map each column to a value. `rmse_of_last` is
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
            predicted = self.predict(table.numbers(self.columns.inputs))
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
        """See `evaluate`. Only rows whose label is in the training data are scored."""
        nats = 0.0
        right = 0
        rows = 0
        unknown_rows = 0
        for table, part in zip(tables, scored, strict=True):
            outputs, _ = self._read(table.numbers(self.columns.inputs))
            true = self.columns.label_ids(table)[part]
            is_known = true >= 0
            logits = outputs[part][is_known]
            true = true[is_known]
            right += int((logits.argmax(axis=1) == true).sum())
            rows += len(true)
            unknown_rows += int((~is_known).sum())
            nats += float(cross_entropy_forward(logits, true)[0].sum(dtype=np.float64))
        return {
            "rows": rows,
            "unknown_rows": unknown_rows,
            "loss": nats / rows if rows else None,
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
