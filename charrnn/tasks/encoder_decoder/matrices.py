"""Sources that are matrices of numbers: the recordings of `transcribe` and the vectors of `caption`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import CorpusError, UsageError, format_count
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.data import number_array
from charrnn.tasks.encoder_decoder.coding import DEFAULTS, SourceCoding, SourceRecord, parse_longest
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.encoder_decoder.task import check_initial_task

MAX_SUBSAMPLE = 10_000
MANY_ROWS = 4  # rows per target symbol from which on two rows are joined by default; see tests/benchmarks/README.md


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix and its name. Matrices with the same values are equal."""

    name: str  # the path of its file, or the place of its row in a file
    values: Array  # (T, D)
    place: str = ""  # file and line that name the matrix, for messages

    @property
    def description(self) -> str:
        """The name, after the place that mentions it."""
        return f"{self.place}: {self.name}" if self.place else self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matrix) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.values.shape, self.values.tobytes()))

    def __str__(self) -> str:
        return self.name


def array_matrix(values: Any, dimensions: int, name: str) -> Matrix:
    """Makes a matrix of an array with 2 dimensions, or of a vector (D,) as one row. Raises CorpusError."""
    rows = np.atleast_2d(number_array(values, dimensions, name))
    if not rows.size or not np.isfinite(rows).all():
        raise CorpusError(f"{name}: must contain finite numbers", f"its shape is {rows.shape}")
    return Matrix(name, rows)


def default_subsample(records: Sequence[SourceRecord], target: Symbols) -> int:
    """The default of `--subsample`: 2 if the matrices have many rows for each symbol of the targets, otherwise 1."""
    num_rows = sum(len(record.source.values) for record in records)
    num_symbols = sum(len(target.split(record.target)) for record in records)
    return 2 if num_rows >= MANY_ROWS * num_symbols else 1


@dataclass(frozen=True, eq=False)
class MatrixCoding(SourceCoding):
    """The scale of the columns, the number of rows that are joined, and the symbols of the targets."""

    defaults: ClassVar[TaskDefaults] = replace(DEFAULTS, embedding_size=32)

    scale: Standardizer
    subsample: int  # consecutive rows that are joined to one source step
    target: Symbols
    longest: int

    @classmethod
    def from_records(
        cls,
        records: Sequence[SourceRecord],
        training_records: Sequence[SourceRecord],
        data: DataOptions,
        source: Checkpoint | None,
    ) -> Self:
        """The coding of a task.

        records: all records, which determine the symbols. training_records: the records that determine the scale.
        source: see `--init-from`; its symbols are included, and its scale and its value of `--subsample` are used.
        Raises CorpusError, UsageError.
        """
        targets = [record.target for record in records]
        known = None
        if source is not None:
            check_initial_task(source, cls.name)
            known = source.parse_task(cls.from_dict)
        known_target = None if known is None else known.target
        target = Symbols.from_texts(targets, data.target_separator, known_target, data.normalize)
        longest = max(1, *(len(target.split(text)) for text in targets))
        if known is None:
            scale = Standardizer.fit(np.concatenate([record.source.values for record in training_records]))
            return cls(scale, data.subsample or default_subsample(records, target), target, longest)
        if data.subsample not in (None, known.subsample):
            trained = f"the model given by --init-from was trained with --subsample {known.subsample}"
            raise UsageError(f"--subsample {data.subsample}: {trained}")
        return cls(known.scale, known.subsample, target, max(longest, known.longest))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Self:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        subsample = task["subsample"]
        if type(subsample) is not int or not 1 <= subsample <= MAX_SUBSAMPLE:
            raise ValueError("invalid subsample in the checkpoint")
        scale = Standardizer.from_dict(task["scale"], len(task["scale"]["mean"]))
        return cls(scale, subsample, Symbols.from_dict(task["target"]), parse_longest(task))

    def to_dict(self) -> dict[str, Any]:
        return {
            "scale": self.scale.to_dict(),
            "subsample": self.subsample,
            "target": self.target.to_dict(),
            "longest": self.longest,
        }

    def describe(self) -> str:
        joined = f", {self.subsample} rows per step" if self.subsample > 1 else ""
        return f"rows of {self.width} numbers{joined}, {len(self.target.symbols)} target symbols"

    @property
    def width(self) -> int:
        """The number of columns of a matrix."""
        return len(self.scale.mean)

    @property
    def source_sizes(self) -> dict[str, Any]:
        return {"source": "numbers", "source_size": self.width * self.subsample}

    def source_labels(self, source: Any) -> list[str]:
        """The number of the first row of each step, from 0."""
        return [str(row) for row in range(0, len(source.values), self.subsample)]

    def encode_source(self, source: Any, *, skip_unknown: bool = False) -> Array:
        """Encodes a matrix (T, D) as standardised rows (S, k D), where k is `subsample` and S is T / k rounded up.

        The last row is padded with zeros, which stand for the means of the columns.
        """
        matrix: Matrix = source
        if matrix.values.shape[1] != self.width:
            problem = f"{matrix.description}: {format_count(matrix.values.shape[1], 'column')}"
            raise CorpusError(problem, f"the model reads {format_count(self.width, 'column')}")
        rows = self.scale.apply(matrix.values)
        if not np.isfinite(rows).all():
            if not np.isfinite(matrix.values).all():
                raise CorpusError(f"{matrix.description}: contains a number that is not finite")
            raise CorpusError(f"{matrix.description}: contains a number that is too large", "scale the numbers down")
        steps = -(-len(rows) // self.subsample)
        padded = np.zeros((steps * self.subsample, self.width), np.float32)
        padded[: len(rows)] = rows
        return padded.reshape(steps, -1)


def describe_record(record: SourceRecord, name: str) -> tuple[str, bytes, str]:
    """A record for `fingerprint_records`. name: the name of the matrix."""
    return name, np.ascontiguousarray(record.source.values).tobytes(), record.target
