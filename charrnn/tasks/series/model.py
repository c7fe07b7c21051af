"""A trained model of a series, which predicts the next row, or target columns of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.reading import display_name
from charrnn.corpus.tables import Table, list_names, read_table
from charrnn.corpus.windows import Records
from charrnn.engines.base import Backend, Stepper
from charrnn.errors import CorpusError, UsageError, converting_errors
from charrnn.fields import flag
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile, TrainedModel
from charrnn.tasks.data import DataFiles, temporary_files, write_table
from charrnn.tasks.series.columns import Columns, check_rows, complete_rows
from charrnn.tasks.series.sequences import SequencePass

MAX_SEQ_LENGTH = 256  # steps read at a time
MAX_READERS = 32
MAX_HISTORY = 4096  # steps read before a forecast


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

        If all columns are targets, the prediction for a row is the next row. Otherwise it is the targets of the row. If
        the targets of the row before are inputs, there is no prediction for row 0, which is NaN, and the targets of the
        last rows can be NaN: the network then reads its own predictions.
        """
        values = self._check_rows(rows)
        columns = self.columns
        if columns.output_scale is None:
            return [columns.labels[n] for n in self._outputs(columns.steps(values)).argmax(axis=1).tolist()]
        if not columns.has_history:
            return columns.output_scale.invert(self._outputs(columns.steps(values)))
        if not columns.others:
            return self._continue(values, len(values))
        first = np.full((1, len(columns.targets)), np.nan)
        return np.concatenate([first, self._continue(values, len(values) - 1)])

    def forecast(self, rows: Any, steps: int) -> Array:
        """Predicts the targets (steps, M) of the rows that follow the last row whose targets are known.

        The network reads its own predictions. If it also reads other columns, `rows` must contain the rows to predict,
        with targets that are NaN. Raises UsageError.
        """
        columns = self.columns
        if not columns.has_history:
            raise UsageError("--steps: this model predicts the targets of the rows that it reads", "leave --steps out")
        values = self._check_rows(rows)
        known = _known_rows(values[:, len(columns.others) :])
        if columns.others and len(values) < known + steps:
            targets = list_names(columns.targets)
            problem = f"--steps {steps}: {len(values) - known} rows follow the last row with a value of {targets}"
            hint = f"append rows with {list_names(columns.others)} and without {targets}"
            raise UsageError(problem, hint)
        return self._continue(values, known + steps - 1)[known - 1 :]

    def predict_table(self, path: str, steps: int | None) -> tuple[Sequence[str], list[list[Any]]]:
        """See tasks.base.ForecastsRows."""
        columns = self.columns
        table = read_table(path, [])
        self._check_columns(table, columns.others or columns.targets)
        absent = [name for name in columns.inputs if name not in table.names]
        table = table.with_empty_columns(absent)
        known = len(table)
        if columns.has_history:
            known = _known_rows(table.numbers(columns.targets))
            if not known:
                raise CorpusError(f"{display_name(path)}: no row has a value of {list_names(columns.targets)}")
        kept = np.ones(len(table), bool)
        if columns.missing == "drop":
            kept = complete_rows(table, columns.others)
            kept[:known] &= complete_rows(table, columns.inputs)[:known]
            known = int(kept[:known].sum())
        values = columns.inputs_of(table.select_rows(kept), known)
        if steps is not None:
            return columns.targets, self._cells(self.forecast(values, steps))
        answers = self.predict_rows(values)
        if columns.labels:
            labels = iter(answers)
            return columns.targets, [[next(labels) if keep else None] for keep in kept.tolist()]
        predicted = np.full((len(table), len(columns.targets)), np.nan)
        predicted[kept] = answers
        return columns.targets, self._cells(predicted)

    def _cells(self, predicted: Array) -> list[list[Any]]:
        """Predictions as the cells of a table, None where there is no prediction."""
        rows = self.columns.target_scale.shorten(predicted)
        return [[None if value != value else value for value in row] for row in rows]

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        columns = self.columns
        table = read_table(file.path, [], keep_texts=columns.targets if columns.labels else ())
        self._check_columns(table, columns.names)
        if columns.missing == "drop":
            numbers = columns.others if columns.labels else columns.names
            table = table.select_rows(complete_rows(table, numbers, columns.targets if columns.labels else ()))
        check_rows(table, 1 + columns.has_history)
        return self.evaluate_tables([table], [slice(None)])

    def evaluate_tables(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        """Returns a dict of `rows`, `loss`, `rmse`, `mae` and `rmse_of_last`, or of `rows`, `unknown_rows`, `loss`
        and `accuracy`.

        The second form is for labels. Rows whose label is not in the training data are not scored; `unknown_rows` is
        their number. `rmse`, `mae` and `rmse_of_last` map each column to a value. `rmse_of_last` is the root mean
        squared error of repeating the last value. A mean over no rows is None. The network also reads rows before the
        scored rows.
        """
        columns = self.columns
        records = columns.records(tables, scored)
        outputs = self._scored_outputs(records)
        true = records.targets[records.loss_mask]
        if columns.output_scale is None:
            rows = sum(len(table.lines[part]) for table, part in zip(tables, scored, strict=True))
            return _label_metrics(outputs, true, rows)
        errors = outputs.astype(np.float64) - true
        changes = columns.output_scale.invert(true)
        if not columns.has_history:
            parts = [_changes(table.numbers(columns.targets), part) for table, part in zip(tables, scored, strict=True)]
            changes = np.concatenate(parts)

        def by_column(values: Array) -> dict[str, float] | None:
            return dict(zip(columns.targets, values.tolist(), strict=True)) if values.size else None

        own_units = errors * columns.output_scale.std
        return {
            "rows": len(errors),
            "loss": 0.5 * float(np.square(errors).mean()) if errors.size else None,
            "rmse": by_column(_rms(own_units)),
            "mae": by_column(np.abs(own_units).mean(axis=0) if len(own_units) else np.empty(0)),
            "rmse_of_last": by_column(_rms(changes)),
        }

    def _continue(self, values: Array, last: int) -> Array:
        """Predicts the targets (last, M) of the rows 1 to `last`. values: the input columns (n, D) of rows from 0 on.

        If the targets of a row are unknown, the prediction is the input of the next step.
        """
        columns = self.columns
        assert columns.output_scale is not None
        width = len(columns.others)
        others = values[1:, :width] if width else np.empty((last, 0))
        targets = values[:, width:]
        num_known = min(_known_rows(targets), last)  # these steps read targets that are known
        steps = columns.input_scale.apply(np.concatenate([others[:num_known], targets[:num_known]], axis=1))
        predicted = np.empty((last, len(columns.targets)))
        predicted[:num_known] = targets[:num_known] + columns.output_scale.invert(self._outputs(steps))
        if last > num_known:
            stepper = self._stepper_after(steps)
            for n in range(num_known, last):
                row = np.concatenate([others[n], predicted[n - 1]])
                output = stepper.step_vectors(columns.input_scale.apply(row[None]).astype(self.parameters.dtype))
                predicted[n] = predicted[n - 1] + columns.output_scale.invert(output)[0]
        return predicted

    def _stepper_after(self, steps: Array) -> Stepper:
        """A stepper that has read the steps (n, D), or the last MAX_HISTORY of them."""
        steps = steps[-MAX_HISTORY:].astype(self.parameters.dtype)
        network = self.backend.network(self.architecture, self.parameters, 1, MAX_SEQ_LENGTH)
        state = network.zero_state(1)
        for start in range(0, len(steps), MAX_SEQ_LENGTH):
            x = steps[start : start + MAX_SEQ_LENGTH, None]
            unused_targets = np.zeros((len(x), 1, self.architecture.output_size), np.float32)
            for _ in network.outputs(Batch(x, unused_targets), state):
                pass
        stepper = self.backend.stepper(self.architecture, self.parameters, 1)
        stepper.restore(state)
        return stepper

    def _outputs(self, steps: Array) -> Array:
        """The outputs (n, M) of all steps (n, D) of one record."""
        if self.columns.labels:
            unused_targets: Array = np.zeros(len(steps), np.uint32)
        else:
            unused_targets = np.zeros((len(steps), self.architecture.output_size), np.float32)
        return self._scored_outputs(
            Records(steps, unused_targets, np.ones(len(steps), bool), np.array([0, len(steps)]))
        )

    def _scored_outputs(self, records: Records) -> Array:
        """The outputs (S, M) of all S scored steps, in the order of the records."""
        output_row = np.cumsum(records.loss_mask) - 1  # the row of each scored step in `outputs`
        outputs = np.empty((int(records.loss_mask.sum()), self.architecture.output_size), self.parameters.dtype)
        records = replace(records, x=records.x.astype(self.parameters.dtype))
        sequence = SequencePass(records, MAX_READERS, MAX_SEQ_LENGTH)
        network = self.backend.network(self.architecture, self.parameters, MAX_READERS, MAX_SEQ_LENGTH)
        state = network.zero_state(MAX_READERS)
        for step in range(sequence.steps):
            places = sequence.places(step).ravel()
            for rows, row_outputs in network.outputs(sequence.batch(step), state):
                outputs[output_row[places[rows.places]]] = row_outputs
        return outputs

    def _check_columns(self, table: Table, names: Sequence[str]) -> None:
        for name in names:
            if name not in table.names:
                problem = f"{display_name(table.path)}: no column {name}, which the model reads"
                raise CorpusError(problem, f"its columns are {list_names(table.names)}")

    def _check_rows(self, rows: Any) -> Array:
        values = np.asarray(rows, np.float64)
        columns = self.columns
        inputs = columns.inputs
        if values.ndim != 2 or values.shape[1] != len(inputs) or not len(values):
            raise CorpusError(f"the model needs rows of {len(inputs)} numbers: {list_names(inputs)}")
        required = values.copy()
        if columns.has_history and columns.others:
            known = _known_rows(values[:, len(columns.others) :])
            if not known:
                raise CorpusError(f"no row has a value of {list_names(columns.targets)}")
            required[known:, len(columns.others) :] = 0
        if not np.isfinite(required).all():
            raise CorpusError("the rows contain a number that is not finite")
        return values


def _known_rows(targets: Array) -> int:
    """The number of rows up to the last one that has a value."""
    has_value = np.asarray(~np.isnan(targets).all(axis=1))
    return int(np.flatnonzero(has_value)[-1]) + 1 if has_value.any() else 0


def _label_metrics(logits: Array, true: Array, rows: int) -> dict[str, Any]:
    """The metrics of predicted labels.

    rows: the number of rows, including those whose label is unknown, which have no logits.
    """
    known_rows = len(true)
    nats = float(cross_entropy_forward(logits, true)[0].sum(dtype=np.float64))
    return {
        "rows": known_rows,
        "unknown_rows": rows - known_rows,
        "loss": nats / known_rows if known_rows else None,
        "accuracy": float((logits.argmax(axis=1) == true).mean()) if known_rows else None,
    }


def _changes(values: Array, rows: slice) -> Array:
    """The differences between some rows and the rows before them, where both have values."""
    first, stop, _ = rows.indices(len(values))
    changes = np.diff(values[max(0, first - 1) : stop], axis=0)
    known: Array = changes[np.isfinite(changes).all(axis=1)]
    return known


def _rms(values: Array) -> Array:
    """The root mean square of each column (M,); empty if there are no rows."""
    return np.sqrt(np.square(values).mean(axis=0)) if len(values) else np.empty(0)
