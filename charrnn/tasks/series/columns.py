"""The columns of a series that the network reads and predicts, and how they are standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.reading import display_name
from charrnn.corpus.tables import Table
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import MISSING_RULES, ModelOptions
from charrnn.tasks.records import parse_names


@dataclass(frozen=True, eq=False)
class Columns:
    """Encodes rows of a table as time steps. A checkpoint stores the columns of its task.

    The columns are the targets, which are predicted, and the other columns.

    With history, step n reads the other columns of row n and the targets of row n - 1, and predicts the change of the
    targets from row n - 1 to row n, so that a trend does not make the prediction harder. There is no step for row 0. If
    all columns are targets, the network predicts the next row.

    Without history, step n reads the other columns of row n and predicts its targets: numbers, or one label.
    """

    inputs: tuple[str, ...]  # the other columns, followed by the targets if their history is read
    targets: tuple[str, ...]
    input_scale: Standardizer
    output_scale: Standardizer | None  # of the changes or of the targets; None if the target is a column of labels
    labels: tuple[str, ...] = ()
    missing: str = "error"  # the rule for missing values, see `MISSING_RULES`

    @classmethod
    def from_tables(
        cls,
        tables: Sequence[Table],
        training_rows: Sequence[int],
        names: Sequence[str],
        targets: Sequence[str],
        *,
        history: bool = True,
        missing: str = "error",
    ) -> Columns:
        """Computes the scales of columns from the training part.

        training_rows: the number of rows at the start of each table that are in the training part. names: the columns
        to read. targets: those to predict; if empty, all. Raises UsageError, CorpusError.
        """
        is_labelled = any(table.is_text(name) for table in tables for name in targets)
        if is_labelled and len(targets) > 1:
            text = next(name for name in targets if any(table.is_text(name) for table in tables))
            raise UsageError(f"--target {text}: a column of labels must be the only target")
        has_history = not is_labelled and (history or not targets)
        targets = targets or names
        others = [name for name in names if name not in targets]
        inputs = [*others, *targets] if has_history else others
        if not inputs:
            hint = "" if is_labelled else "leave --no-target-history out"
            raise UsageError("--target: no column is left to predict from", hint)
        parts = [table.select_rows(slice(rows)) for table, rows in zip(tables, training_rows, strict=True)]

        def training_values(columns: Sequence[str]) -> list[Array]:
            values = [fill_missing(part, columns, missing) for part in parts]
            means = _known_means(tables[0], columns, values)
            return [np.where(np.isnan(each), means, each) for each in values]

        input_scale = Standardizer.fit(np.concatenate(training_values(inputs)))
        if is_labelled:
            labels = _find_labels(tables, targets[0], missing)
            return cls(tuple(inputs), tuple(targets), input_scale, None, labels, missing)
        values = training_values(targets)
        if has_history:
            changes = np.concatenate([np.diff(each, axis=0) for each in values])
            output_scale = Standardizer.fit(changes, np.concatenate(values))
        else:
            output_scale = Standardizer.fit(np.concatenate(values))
        return cls(tuple(inputs), tuple(targets), input_scale, output_scale, missing=missing)

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Columns:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        inputs = parse_names(task["columns"])
        targets = parse_names(task["targets"])
        labels = parse_names(task["labels"]) if task["labels"] else ()
        read_targets = [name for name in targets if name in inputs]
        if read_targets and (labels or inputs[-len(targets) :] != targets):
            raise ValueError("invalid columns")
        if task["missing"] not in MISSING_RULES:
            raise ValueError("invalid rule for missing values")
        input_scale = Standardizer.from_dict(task["scale"], len(inputs))
        output_scale = None if labels else Standardizer.from_dict(task["output_scale"], len(targets))
        return cls(inputs, targets, input_scale, output_scale, labels, task["missing"])

    def with_scales_of(self, source: Columns) -> Columns:
        """Returns these columns with the scales of another model, and with the labels of both.

        Raises UsageError if the other model has different columns.
        """
        has_labels = bool(self.labels)
        if (source.inputs, source.targets, bool(source.labels)) != (self.inputs, self.targets, has_labels):
            raise UsageError("--init-from: the model was trained on other columns")
        return replace(source, labels=tuple(sorted({*self.labels, *source.labels})), missing=self.missing)

    def to_dict(self) -> dict[str, Any]:
        return {
            "columns": list(self.inputs),
            "targets": list(self.targets),
            "labels": list(self.labels),
            "missing": self.missing,
            "scale": self.input_scale.to_dict(),
            "output_scale": self.output_scale and self.output_scale.to_dict(),
        }

    @property
    def has_history(self) -> bool:
        """Whether the targets of the row before are inputs."""
        return self.inputs[-1] in self.targets

    @property
    def others(self) -> tuple[str, ...]:
        """The columns that are read from the row whose targets are predicted."""
        return tuple(name for name in self.inputs if name not in self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, the targets last."""
        return (*self.others, *self.targets)

    @property
    def target_scale(self) -> Standardizer:
        """The scale of the targets themselves, even if their changes are predicted."""
        if not self.has_history:
            assert self.output_scale is not None
            return self.output_scale
        width = len(self.others)
        return Standardizer(self.input_scale.mean[width:], self.input_scale.std[width:])

    def architecture(self, model: ModelOptions) -> Architecture:
        loss = "softmax" if self.output_scale is None else "squared"
        output_size = len(self.labels) if self.output_scale is None else len(self.targets)
        return Architecture.from_options(
            model, input="numbers", input_size=len(self.inputs), loss=loss, output_size=output_size
        )

    def inputs_of(self, table: Table, known_rows: int | None = None) -> Array:
        """The input columns of all rows (n, D). The rules `previous` and `mean` replace missing values.

        known_rows: the number of rows whose targets are known (default: all). The targets of the other rows are NaN.
        """
        width = len(self.others)
        others = fill_missing(table, self.others, self.missing)
        known_targets = fill_missing(table.select_rows(slice(known_rows)), self.inputs[width:], self.missing)
        targets = np.full((len(table), len(self.inputs) - width), np.nan)
        targets[: len(known_targets)] = known_targets
        if self.missing in ("previous", "mean"):
            mean = self.input_scale.mean
            others = np.where(np.isnan(others), mean[:width], others)
            targets[:known_rows] = np.where(np.isnan(known_targets), mean[width:], known_targets)
        return np.concatenate([others, targets], axis=1)

    def label_ids(self, table: Table) -> Array:
        """The indices of the labels of all rows; -1 for a label that is not in `labels`."""
        ids = {label: n for n, label in enumerate(self.labels)}
        return np.array([ids.get(text, -1) for text in table.texts(self.targets[0])], np.int64)

    def steps(self, values: Array) -> Array:
        """The input columns of rows (n, D) -> the standardised inputs of the steps of these rows."""
        if self.has_history:
            width = len(self.others)
            values = np.concatenate([values[1:, :width], values[:-1, width:]], axis=1)
        return self.input_scale.apply(values)

    def records(self, tables: Sequence[Table], scored: Sequence[slice]) -> Records:
        """Encodes each table as a record. scored: the rows of each table whose predictions are scored.

        A row without targets is not scored.
        """
        x = []
        targets = []
        loss_masks = []
        for table, rows in zip(tables, scored, strict=True):
            values = self.inputs_of(table)
            loss_mask = np.zeros(len(table), bool)
            loss_mask[rows] = True
            if self.output_scale is None:
                label_ids = self.label_ids(table)
                loss_mask &= label_ids >= 0
                targets.append(label_ids.clip(0).astype(np.uint32))
            else:
                numbers = table.numbers(self.targets)
                loss_mask &= ~np.isnan(numbers).all(axis=1)
                if self.has_history:
                    numbers = np.diff(values[:, len(self.others) :], axis=0)
                    loss_mask = loss_mask[1:]
                else:
                    numbers = np.where(np.isnan(numbers), self.output_scale.mean, numbers)
                targets.append(self.output_scale.apply(numbers))
            x.append(self.steps(values))
            loss_masks.append(loss_mask)
        starts = np.cumsum([0, *map(len, x)])
        return Records(np.concatenate(x), np.concatenate(targets), np.concatenate(loss_masks), starts)


def complete_rows(table: Table, columns: Sequence[str], labels: Sequence[str] = ()) -> Array:
    """Whether each row (n,) has a value in all columns: in `columns` a number, in `labels` a text."""
    complete = np.asarray(~np.isnan(table.numbers(columns)).any(axis=1))
    for column in labels:
        complete = complete & np.array([text != "" for text in table.texts(column)], bool)
    return complete


def fill_missing(table: Table, columns: Sequence[str], rule: str) -> Array:
    """Some columns (n, D). With the rule `previous`, a missing value is replaced by the one before it.

    With the rules `previous` and `mean`, the caller must replace the values that are still missing by means. Raises
    CorpusError for a missing value if the rule is `error`.
    """
    values = table.numbers(columns)
    is_missing = np.isnan(values)
    if rule == "error" and is_missing.any():
        row, column = np.argwhere(is_missing)[0].tolist()
        raise missing_error(table, row, columns[column])
    if rule == "previous":
        last_known = np.where(is_missing, 0, np.arange(len(values))[:, None])
        values = np.take_along_axis(values, np.maximum.accumulate(last_known, axis=0), axis=0)
    return values


def check_rows(table: Table, required: int) -> None:
    """Raises CorpusError if a table has fewer rows than required, which is at most 2."""
    if len(table) < required:
        problem = "only one row has a value in every column" if len(table) else "no row has a value in every column"
        raise CorpusError(f"{display_name(table.path)}: {problem}", f"at least {required} are needed")


def missing_error(table: Table, row: int, column: str) -> CorpusError:
    problem = f"{table.place(table.lines[row], column)}: the value is missing"
    return CorpusError(problem, "train with --missing drop, previous or mean, or leave the column out with --ignore")


def _known_means(table: Table, columns: Sequence[str], values: Sequence[Array]) -> Array:
    """The mean (D,) of the values of each column that are not missing."""
    every = np.concatenate(values)
    is_known = ~np.isnan(every)
    counts = is_known.sum(axis=0)
    if not counts.all():
        column = columns[int(np.argmin(counts))]
        raise CorpusError(
            f"{display_name(table.path)}: column {column} has no value in the training part", f"use --ignore {column}"
        )
    with np.errstate(over="ignore"):
        means: Array = np.where(is_known, every, 0).sum(axis=0) / counts
    return means


def _find_labels(tables: Sequence[Table], column: str, missing: str) -> tuple[str, ...]:
    """The different labels of a column, in code-point order."""
    rows = sum(map(len, tables))
    for table in tables:
        texts = table.texts(column)
        if missing == "error" and "" in texts:
            raise missing_error(table, texts.index(""), column)
    labels = {text for table in tables for text in table.texts(column)} - {""}
    if len(labels) < 2:
        raise CorpusError(f"column {column}: only one label: {labels.pop()!r}", "at least two are needed")
    if len(labels) > rows / 2 and rows > 4:
        text = next(content.first_text for content in (table.content(column) for table in tables) if content.first_text)
        problem = f"column {column}: {len(labels)} different labels in {rows} rows"
        raise CorpusError(problem, f"if they should be numbers: {text.text.strip()!r} is not a number")
    return tuple(sorted(labels))
