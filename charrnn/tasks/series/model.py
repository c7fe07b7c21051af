"""A trained model of a series: what it says of rows, and of the rows that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Table, read_table
from charrnn.corpus.reading import display_name
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.network import Network, NewNetwork, new_stepper
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.nn.parameters import flatten
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.sequences import SequencePass

SCORING_STEPS = 256  # at once


class Forecaster:
    """A trained model of a series, in the hands of its user."""

    new_network: NewNetwork = Network  # what reads rows

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for a damaged checkpoint."""
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.columns = checkpoint.read_task(self._known)
        self.flat = flatten(self.architecture.specs(), checkpoint.weights)

    def _known(self, task: dict[str, Any]) -> Columns:
        columns = Columns.from_dict(task)
        if columns.architecture(self.architecture) != self.architecture:
            raise ValueError("what it says of its task does not fit its weights")
        return columns

    def predict(self, rows: Any) -> Any:
        """Rows (n, columns) -> the predicted columns of each row: of the row behind it, or with targets of itself, as
        numbers (n, outputs) or as labels. The state is carried from row to row."""
        values = self._checked(rows)
        outputs, _ = self._read(values)
        if self.columns.output_scale is None:
            return [self.columns.labels[n] for n in outputs.argmax(axis=1).tolist()]
        predicted = self.columns.output_scale.undo(outputs)
        return predicted if self.columns.targets else values + predicted

    def forecast(self, rows: Any, steps: int) -> Array:
        """The rows (steps, columns) that follow: each prediction is read as the next row. Raises UsageError for a model
        with targets, which must be told the other columns."""
        if self.columns.targets or self.columns.output_scale is None:
            raise UsageError("--steps: a model with targets needs the other columns of each row")
        values = self._checked(rows)
        outputs, state = self._read(values)
        stepper = new_stepper(self.architecture, self.checkpoint.weights, 1)
        stepper.start(state)
        row, output, following = values[-1], outputs[-1], np.empty((steps, len(self.columns.inputs)))
        for n in range(steps):
            row = row + self.columns.output_scale.undo(output)
            following[n] = row
            output = stepper.step_vectors(self.columns.scale.apply(row)[None].astype(self.flat.dtype))[0]
        return following

    def read(self, path: str) -> Table:
        """A file with this model's columns. Raises CorpusError."""
        return read_table(path, [])

    def rows(self, table: Table) -> Array:
        """What the model reads of a table. Raises CorpusError for a column that is missing."""
        missing = [name for name in self.columns.inputs if name not in table.columns]
        if missing:
            raise CorpusError(f"{table.path}: no column {missing[0]}")
        return table.numbers(self.columns.inputs)

    def evaluate(self, table: Table) -> dict[str, Any]:
        """What `charrnn eval` says of a table. Raises CorpusError where there is nothing to score."""
        if not self.columns.targets and len(table.cells) < 2:
            raise CorpusError(f"{display_name(table.path)}: one row is too few", "there must be a next one to predict")
        return self.evaluate_tables([table], [slice(None)])

    def evaluate_tables(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        """rows, loss, and of the scored rows rmse, mae and rmse_of_last (repeating the last value), {column: value}
        each; or accuracy. All rows before them are read."""
        columns = self.columns
        for table in tables:
            missing = [name for name in (*columns.inputs, *columns.targets) if name not in table.columns]
            if missing:
                raise CorpusError(f"{table.path}: no column {missing[0]}")
        if columns.output_scale is None:
            return self._accuracy(tables, scored)
        errors, last, losses = [], [], []
        for table, rows in zip(tables, scored, strict=True):
            predicted, true = self.predict(table.numbers(columns.inputs)), table.numbers(columns.outputs)
            if not columns.targets:  # the first row is not predicted
                predicted = np.concatenate([true[:1], predicted[:-1]])
            chosen = np.zeros(len(true), bool)
            chosen[rows] = True
            chosen[0] &= bool(columns.targets)
            errors.append((predicted - true)[chosen])
            chosen[0] = False
            last.append(np.diff(true, axis=0)[chosen[1:]])
            losses.append(0.5 * np.square(errors[-1] / columns.output_scale.std).mean(axis=1))
        wrong, steps = np.concatenate(errors), np.concatenate(last)

        def by_column(values: Array) -> dict[str, float]:
            return dict(zip(columns.outputs, values.tolist(), strict=True))

        return {
            "rows": len(wrong),
            "loss": float(np.concatenate(losses).mean()),
            "rmse": by_column(np.sqrt(np.square(wrong).mean(axis=0))),
            "mae": by_column(np.abs(wrong).mean(axis=0)),
            "rmse_of_last": by_column(np.sqrt(np.square(steps).mean(axis=0))),
        }

    def _accuracy(self, tables: Sequence[Table], scored: Sequence[slice]) -> dict[str, Any]:
        places = {label: n for n, label in enumerate(self.columns.labels)}
        nats, right, rows = 0.0, 0, 0
        for table, part in zip(tables, scored, strict=True):
            logits, _ = self._read(self.rows(table))
            true = np.array([places.get(text, -1) for text in table.texts(self.columns.targets[0])])[part]
            logits = logits[part]
            right, rows = right + int((logits.argmax(axis=1) == true).sum()), rows + len(true)
            known = true >= 0
            nats += float(cross_entropy_forward(logits[known], true[known])[0].sum(dtype=np.float64))
        return {"rows": rows, "loss": nats / max(1, rows), "accuracy": right / max(1, rows)}

    def _read(self, values: Array) -> tuple[Array, Array]:
        """Rows (n, D) -> the outputs at each (n, M), and the state (L, num_states, 1, H) behind the last."""
        x = self.columns.scale.apply(values).astype(self.flat.dtype)
        width = self.architecture.output_size
        aims = np.zeros(len(x), np.uint32) if self.columns.labels else np.zeros((len(x), width), np.float32)
        records = Records(x, aims, np.ones(len(x), bool), np.array([0, len(x)]))
        reading = SequencePass(records, 1, min(SCORING_STEPS, len(x)))
        network = self.new_network(self.architecture, self.flat, 1, reading.seq_length)
        state, outputs = np.zeros(self.architecture.state_shape(1), self.flat.dtype), []
        for step in range(reading.steps):
            batch, there = reading.batch(step), int((reading.places(step) >= 0).sum())
            batch = replace(batch, x=batch.x[:there], targets=batch.targets[:there], weights=None, keep=None)
            outputs += [its_outputs for _, _, its_outputs in network.outputs(batch, state)]
        return np.concatenate(outputs), state

    def _checked(self, rows: Any) -> Array:
        values = np.asarray(rows, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.columns.inputs) or not len(values):
            raise CorpusError(f"rows of {len(self.columns.inputs)} numbers are read: {', '.join(self.columns.inputs)}")
        if not np.isfinite(values).all():
            raise CorpusError("a number that is not finite")
        return values
