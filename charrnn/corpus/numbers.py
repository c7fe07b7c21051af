"""Reads files with one vector of numbers per row. Standardises columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

import numpy as np

from charrnn.corpus.tables import read_csv_matrix
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array

PRECISION = 1e-12  # a column that varies by less than this fraction of its largest value is treated as constant
FLOAT32_PRECISION = 2**-24  # half the distance from 1 to the next number
BLOCK_SIZE = 1 << 18  # numbers that are standardised at a time


def read_vectors(path: str) -> Array:
    """Reads one vector per row (N, D) from a .npy file, or from a .csv file that may have a header.

    Numbers of a .npy file in float32 keep this precision. Raises CorpusError.
    """
    if path.endswith(".npy"):
        vectors = _read_npy_vectors(path)
    elif path.endswith(".csv"):
        return read_csv_matrix(path)
    else:
        raise CorpusError(f"{path}: must end in .npy or .csv")
    not_finite = np.argwhere(~np.isfinite(vectors))
    if len(not_finite):
        row, column = not_finite[0] + 1
        raise CorpusError(f"{path}, row {row}, column {column}: not a finite number")
    return vectors


def _read_npy_vectors(path: str) -> Array:
    try:
        with open(path, "rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, LookupError, EOFError, SyntaxError, TokenError):
        raise CorpusError(f"{path}: not a plain array of numbers", "pickled objects are never read") from None
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.size:
        raise _not_a_table(path)
    vectors: Array = values if values.dtype == np.float32 else values.astype(np.float64)
    return vectors


def _not_a_table(path: str) -> CorpusError:
    return CorpusError(f"{path}: not a matrix of numbers", "all rows must have the same length")


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Standardises columns: subtracts their mean and divides by their standard deviation."""

    mean: Array  # (D,)
    std: Array  # (D,), 1 for constant columns

    @classmethod
    def fit(cls, values: Array, levels: Array | None = None) -> Standardizer:
        """Computes the statistics of rows (N, D). Raises CorpusError if a number is not finite.

        levels: if the values are differences, the rows (M, D) from which they were computed. The rounding errors of the
            differences depend on the magnitude of these rows.
        """
        largest = _largest(values)
        # The values are divided by a power of 2 near the largest value, so that their squares neither overflow nor
        # underflow. A division by a power of 2 does not round.
        unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            blocks = [values[part] for part in _blocks(*values.shape)]
            mean = sum((block / unit).sum(axis=0) for block in blocks) / len(values)
            variance = sum(np.square(block / unit - mean).sum(axis=0) for block in blocks) / len(values)
            mean = mean * unit
            std = np.sqrt(variance) * unit
        if not np.isfinite([mean, std]).all():
            problem = f"the standard deviation of numbers up to {largest.max():g} is not finite"
            raise CorpusError(problem, "scale the numbers down")
        # Because of rounding errors, the standard deviation of a constant column is not exactly zero.
        threshold = PRECISION * (largest if levels is None else _largest(levels))
        return cls(mean, np.where(std > threshold, std, 1.0))

    @classmethod
    def from_dict(cls, values: Any, width: int) -> Standardizer:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        mean = np.array([float(number) for number in values["mean"]])
        std = np.array([float(number) for number in values["std"]])
        if len(mean) != width or len(std) != width or not np.isfinite([mean, std]).all() or (std <= 0).any():
            raise ValueError("invalid means or standard deviations in the checkpoint")
        return cls(mean, std)

    def to_dict(self) -> dict[str, list[float]]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def apply(self, values: Array, chosen: Array | None = None) -> Array:
        """Rows (N, D) -> standardised rows (N, D), float32. A number that is too large becomes infinite.

        chosen: the indices of the rows to standardise (default: all).
        """
        number = len(values) if chosen is None else len(chosen)
        standardised = np.empty((number, values.shape[1]), np.float32)
        with np.errstate(over="ignore"):
            for part in _blocks(number, values.shape[1]):
                rows = values[part if chosen is None else chosen[part]].astype(np.float64)
                standardised[part] = (rows - self.mean) / self.std
        return standardised

    def shorten(self, values: Array) -> list[list[float]]:
        """Rounds rows (N, D) in the columns' own units to the precision that float32 has for standardised values."""
        decimals = [math.ceil(-math.log10(std * FLOAT32_PRECISION)) for std in self.std.tolist()]
        return [
            [value if math.isnan(value) else round(value, number) for value, number in zip(row, decimals, strict=True)]
            for row in values.tolist()
        ]

    def invert(self, values: Array) -> Array:
        """Standardised rows (N, D) -> rows (N, D) in the columns' own units."""
        numbers: Array = values.astype(np.float64) * self.std + self.mean
        return numbers


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Divides the rows of an array, so that large arrays need no copies in float64."""
    size = max(1, BLOCK_SIZE // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _largest(values: Array) -> Array:
    """The largest magnitude of each column."""
    largest: Array = np.maximum(values.max(axis=0), -values.min(axis=0)).astype(np.float64)
    return largest
