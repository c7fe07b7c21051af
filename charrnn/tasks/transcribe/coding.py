"""How matrices and their texts are encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array
from charrnn.tasks.encoder_decoder.coding import DEFAULTS, SourceCoding, parse_longest
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.transcribe.matrices import Matrix

MAX_SUBSAMPLE = 10_000


@dataclass(frozen=True, eq=False)
class MatrixCoding(SourceCoding):
    """The scale of the columns, the number of rows that are joined, and the symbols of the targets."""

    name = "transcribe"
    defaults = replace(DEFAULTS, embedding_size=32)

    scale: Standardizer
    subsample: int  # consecutive rows that are joined to one source step
    target: Symbols
    longest: int

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> MatrixCoding:
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
        return f"rows of {self.width} numbers, {len(self.target.symbols)} target symbols"

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
            problem = f"{matrix.description}: {matrix.values.shape[1]} columns"
            raise CorpusError(problem, f"the model reads matrices with {self.width} columns")
        rows = self.scale.apply(matrix.values)
        if not np.isfinite(rows).all():
            raise CorpusError(f"{matrix.description}: contains a number that is too large", "scale the numbers down")
        steps = -(-len(rows) // self.subsample)
        padded = np.zeros((steps * self.subsample, self.width), np.float32)
        padded[: len(rows)] = rows
        return padded.reshape(steps, -1)
