"""The columns of a series that the network reads and predicts, and how they are standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Standardizer, Table
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions
from charrnn.tasks.records import parse_names


@dataclass(frozen=True, eq=False)
class Columns:
    """Encodes rows of a table as time steps. A checkpoint stores the columns of its task.

    Without targets, the network predicts the change of each column from one row to the next, so that a trend in the
    series does not make the prediction harder.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]  # columns of the same row; empty if the next row is predicted
    input_scale: Standardizer
    output_scale: Standardizer | None  # None if the target is a column of labels
    labels: tuple[str, ...] = ()

    @classmethod
    def from_tables(cls, tables: Sequence[Table], training_rows: Sequence[int], targets: Sequence[str]) -> Columns:
        """Chooses the columns of tables and computes their scales from the training part.

        training_rows: the number of rows at the start of each table that are in the training part. Raises UsageError,
        CorpusError.
        """
        columns = tables[0].columns
        missing = [name for name in targets if name not in columns]
        if missing:
            raise UsageError(f"--target {missing[0]}: no such column", f"the columns are {', '.join(columns)}")
        repeated = [name for name in targets if targets.count(name) > 1]
        if repeated:
            raise UsageError(f"--target {repeated[0]}: given more than once")
        inputs = tuple(name for name in columns if name not in targets)
        if not inputs:
            raise UsageError("--target: no column is left to predict from")

        def training_values(names: Sequence[str]) -> list[Array]:
            return [table.numbers(names)[:rows] for table, rows in zip(tables, training_rows, strict=True)]

        input_values = training_values(inputs)
        input_scale = Standardizer.fit(np.concatenate(input_values))
        text_columns = [name for name in targets if any(table.is_text(name) for table in tables)]
        if text_columns:
            if len(targets) > 1:
                raise UsageError(f"--target {text_columns[0]}: a column of labels must be the only target")
            labels = sorted({text for table in tables for text in table.texts(text_columns[0])})
            if len(labels) < 2:
                raise CorpusError(f"column {text_columns[0]}: only one label: {labels[0]!r}", "at least two are needed")
            return cls(inputs, tuple(targets), input_scale, None, tuple(labels))
        changes = [np.diff(values, axis=0) for values in input_values]
        if targets:
            output_scale = Standardizer.fit(np.concatenate(training_values(targets)))
        else:
            output_scale = Standardizer.fit(np.concatenate(changes), np.concatenate(input_values))
        return cls(inputs, tuple(targets), input_scale, output_scale)

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Columns:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        inputs = parse_names(task["columns"])
        targets = parse_names(task["targets"]) if task["targets"] else ()
        labels = parse_names(task["labels"]) if task["labels"] else ()
        input_scale = Standardizer.from_dict(task["scale"], len(inputs))
        output_scale = None
        if not labels:
            output_scale = Standardizer.from_dict(task["output_scale"], len(targets or inputs))
        return cls(inputs, targets, input_scale, output_scale, labels)

    def with_scales_of(self, source: Columns) -> Columns:
        """Returns these columns with the scales of another model, and with the labels of both.

        Raises UsageError if the other model has different columns.
        """
        has_labels = bool(self.labels)
        if (source.inputs, source.targets, bool(source.labels)) != (self.inputs, self.targets, has_labels):
            raise UsageError("--init-from: the model was trained on other columns")
        return replace(source, labels=tuple(sorted({*self.labels, *source.labels})))

    def to_dict(self) -> dict[str, Any]:
        return {
            "columns": list(self.inputs),
            "targets": list(self.targets),
            "labels": list(self.labels),
            "scale": self.input_scale.to_dict(),
            "output_scale": self.output_scale and self.output_scale.to_dict(),
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """The predicted columns."""
        return self.targets or self.inputs

    def architecture(self, model: ModelOptions) -> Architecture:
        loss = "softmax" if self.output_scale is None else "squared"
        output_size = len(self.labels) if self.output_scale is None else len(self.outputs)
        return Architecture.from_options(
            model, input="numbers", input_size=len(self.inputs), loss=loss, output_size=output_size
        )

    def label_ids(self, table: Table) -> Array:
        """The indices of the labels of all rows; -1 for a label that is not in `labels`."""
        ids = {label: n for n, label in enumerate(self.labels)}
        return np.array([ids.get(text, -1) for text in table.texts(self.targets[0])])

    def records(self, tables: Sequence[Table], scored: Sequence[slice]) -> Records:
        """Encodes each table as a record. scored: the rows of each table whose predictions are scored."""
        x = []
        targets = []
        loss_masks = []
        for table, rows in zip(tables, scored, strict=True):
            values = table.numbers(self.inputs)
            loss_mask = np.zeros(len(values), bool)
            loss_mask[rows] = True
            if self.output_scale is None:
                label_ids = self.label_ids(table)
                loss_mask &= label_ids >= 0
                targets.append(label_ids.clip(0).astype(np.uint32))
            elif self.targets:
                targets.append(self.output_scale.apply(table.numbers(self.targets)))
            else:  # the step of a row predicts the next row
                targets.append(self.output_scale.apply(np.diff(values, axis=0)))
                values = values[:-1]
                loss_mask = loss_mask[1:]
            x.append(self.input_scale.apply(values))
            loss_masks.append(loss_mask)
        starts = np.cumsum([0, *map(len, x)])
        return Records(np.concatenate(x), np.concatenate(targets), np.concatenate(loss_masks), starts)
