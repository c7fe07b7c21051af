"""A trained model that writes a line of text for a vector."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import UsageError, converting_errors
from charrnn.options import SamplingOptions
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.caption.coding import CaptionCoding
from charrnn.tasks.caption.vectors import read_records, to_matrices
from charrnn.tasks.data import DataFiles, write_vector_pairs
from charrnn.tasks.encoder_decoder.matrices import Matrix, array_matrix
from charrnn.tasks.encoder_decoder.matrix_model import MatrixModel


class Captioner(MatrixModel):
    """Writes a text for a vector."""

    input_dimensions = 1
    coding: CaptionCoding

    @staticmethod
    def parse_coding(task: dict[str, Any]) -> CaptionCoding:
        return CaptionCoding.from_dict(task)

    def read_input(self, text: str, place: str) -> Any:
        """Raises UsageError, because a line of text is not a vector."""
        raise self._no_text()

    def read_sources(self, inputs: Sequence[Any]) -> list[Any]:
        """inputs: vectors (D,), or matrices of one row."""
        if any(isinstance(each, str) for each in inputs):
            raise self._no_text()
        return [
            each if isinstance(each, Matrix) else array_matrix(each, 1, f"input {number}")
            for number, each in enumerate(inputs, 1)
        ]

    def _no_text(self) -> UsageError:
        problem = f"{self.checkpoint.path}: a model of --task caption reads vectors, not lines of text"
        return UsageError(problem, "use charrnn sample --features FILE --greedy")

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_vector_pairs(folder, data)

    @converting_errors()
    def sample(
        self, vectors: Any, *, prime: str = "", length: int | None = None, seed: int | None = None, **options: Any
    ) -> list[str]:
        """Writes a text for each vector (N, D). The text of vector n has the seed `seed` + n.

        prime, length: see `write`. options: the fields of SamplingOptions.
        """
        first_seed = secrets.randbits(32) if seed is None else seed
        seeds = [first_seed + n for n in range(len(vectors))]
        sampling = SamplingOptions.from_dict(options)
        return [text for text, _ in self.write(vectors, sampling, seeds, prime=prime, length=length)]

    def write(
        self,
        vectors: Any,
        options: SamplingOptions,
        seeds: Sequence[int | None],
        *,
        prime: str = "",
        length: int | None = None,
    ) -> list[tuple[str, float]]:
        """Draws a text for each vector (N, D). Returns the texts with their mean nats per symbol.

        seeds: one for each vector.
        prime: the text that is continued; it is not repeated.
        length: maximum number of symbols (default: 10 more than twice the longest target of the training data).

        Raises CorpusError for vectors of another width, or unknown symbols in the prime.
        """
        sources = [self.coding.encode_source(matrix) for matrix in to_matrices(vectors, "features")]
        prime_ids = self.coding.target.encode(prime)
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        limit = length or self._limit()
        written = self._decoder().draw(sources, options, uniforms, limit=limit, prime=prime_ids)
        return [(self.coding.target.decode(ids), math.fsum(nats) / len(nats)) for ids, nats in written]

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        if file.features is None:
            raise UsageError("this model writes texts for vectors", "give the vectors of the lines with --features")
        records = read_records([file.path], file.features, "utf-8", [])
        return self.evaluate_records(records, skip_unknown=file.skip_unknown, errors=file.errors)
