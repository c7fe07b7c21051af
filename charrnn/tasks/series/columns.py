"""The columns of a series: which are read, which predicted, on what scale, and how rows become steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Standard, Table
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.options import ModelOptions
from charrnn.tasks.records import distinct


@dataclass(frozen=True, eq=False)
class Columns:
    """What a model of a series knows besides its weights: which columns it reads and predicts, and their scale.

    Without targets it predicts the change to the next row of all columns: a series with a trend is then no harder than
    one without.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]  # of the same row; none: the next row
    scale: Standard  # of what is read
    output_scale: Standard | None  # of what is predicted; None: labels
    labels: tuple[str, ...] = ()

    name = "series"

    @classmethod
    def of(cls, tables: Sequence[Table], parts: Sequence[int], targets: Sequence[str]) -> Columns:
        """From the first so many rows of each table. Raises UsageError for targets that there are not, CorpusError."""
        columns = tables[0].columns
        missing = [name for name in targets if name not in columns]
        if missing:
            raise UsageError(f"--target {missing[0]}: no such column", f"there are {', '.join(columns)}")
        inputs = tuple(name for name in columns if name not in targets)
        if not inputs:
            raise UsageError("--target: no column is left to predict from")
        known = [table.numbers(inputs)[:rows] for table, rows in zip(tables, parts, strict=True)]
        scale = Standard.of(np.concatenate(known))
        texts = [name for name in targets if any(table.is_text(name) for table in tables)]
        if texts and len(targets) > 1:
            raise UsageError(f"--target {texts[0]}: a column of labels is predicted alone")
        if texts:
            labels = sorted({text for table in tables for text in table.texts(texts[0])})
            if len(labels) < 2:
                raise CorpusError(f"column {texts[0]}: only one label: {labels[0]!r}", "it takes two to tell apart")
            return cls(inputs, tuple(targets), scale, None, tuple(labels))
        if targets:
            aims = [table.numbers(targets)[:rows] for table, rows in zip(tables, parts, strict=True)]
        else:
            aims = [np.diff(values, axis=0) for values in known]
        return cls(inputs, tuple(targets), scale, Standard.of(np.concatenate(aims)))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Columns:
        """As it stands in a checkpoint. Raises KeyError, TypeError or ValueError."""
        inputs = distinct(task["columns"])
        targets = distinct(task["targets"]) if task["targets"] else ()
        labels = distinct(task["labels"]) if task["labels"] else ()
        scale = Standard.from_dict(task["scale"], len(inputs))
        if labels:
            return cls(inputs, targets, scale, None, labels)
        return cls(inputs, targets, scale, Standard.from_dict(task["output_scale"], len(targets or inputs)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "columns": list(self.inputs),
            "targets": list(self.targets),
            "labels": list(self.labels),
            "scale": self.scale.to_dict(),
            "output_scale": self.output_scale and self.output_scale.to_dict(),
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that are predicted."""
        return self.targets or self.inputs

    def architecture(self, model: ModelOptions) -> Architecture:
        kind = {"loss": "softmax", "output_size": len(self.labels)}
        if self.output_scale is not None:
            kind = {"loss": "squared", "output_size": len(self.outputs)}
        return Architecture.of(model, input="numbers", input_size=len(self.inputs), **kind)

    def records(self, tables: Sequence[Table], scored: Sequence[slice]) -> Records:
        """A record a table; `scored`: the rows whose prediction counts."""
        x, targets, weights = [], [], []
        for table, rows in zip(tables, scored, strict=True):
            values = table.numbers(self.inputs)
            counts = np.zeros(len(values), bool)
            counts[rows] = True
            if self.labels:
                places = {label: n for n, label in enumerate(self.labels)}
                aims = np.array([places.get(text, -1) for text in table.texts(self.targets[0])])
                counts &= aims >= 0
                aims = aims.clip(0).astype(np.uint32)
            elif self.targets:
                assert self.output_scale is not None
                aims = self.output_scale.apply(table.numbers(self.targets))
            else:  # a step predicts the row behind it
                assert self.output_scale is not None
                values, aims, counts = values[:-1], self.output_scale.apply(np.diff(values, axis=0)), counts[1:]
            x.append(self.scale.apply(values))
            targets.append(aims)
            weights.append(counts)
        starts = np.cumsum([0, *map(len, x)])
        return Records(np.concatenate(x), np.concatenate(targets), np.concatenate(weights), starts)
