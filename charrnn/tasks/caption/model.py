"""A trained model that writes a line of text for a vector."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import read_vectors
from charrnn.engines.base import Backend
from charrnn.errors import CorpusError, UsageError, converting_errors
from charrnn.models.sampling import draw_texts
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.nn.ops import linear_forward
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile, TrainedModel
from charrnn.tasks.caption.coding import END, Caption, CaptionCoding
from charrnn.tasks.data import DataFiles, write_vector_pairs
from charrnn.tasks.scoring import mean_loss

MAX_STREAMS = 256  # texts that are written at the same time


class Captioner(TrainedModel):
    """A model of captions. Losses are in nats per character."""

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        super().__init__(checkpoint, backend)
        self.coding = checkpoint.parse_task(self._parse_coding)
        self.vocabulary = self.coding.vocabulary

    def _parse_coding(self, task: dict[str, Any]) -> CaptionCoding:
        coding = CaptionCoding.from_dict(task, self.architecture.features)
        if coding.architecture(self.architecture) != self.architecture:
            raise ValueError("the task metadata does not match the weights")
        return coding

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_vector_pairs(folder, data)

    @converting_errors()
    def sample(
        self, vectors: Any, *, prime: str = "", length: int | None = None, seed: int | None = None, **options: Any
    ) -> list[str]:
        """Writes a text for each vector (N, F). The text of vector n has the seed `seed` + n.

        prime, length: see `write`. options: the fields of SamplingOptions.
        """
        first_seed = secrets.randbits(32) if seed is None else seed
        rows = self._check_vectors(vectors)
        seeds = [first_seed + n for n in range(len(rows))]
        sampling = SamplingOptions.from_dict(options)
        return [text for text, _ in self.write(rows, sampling, seeds, prime=prime, length=length)]

    def write(
        self,
        vectors: Any,
        options: SamplingOptions,
        seeds: Sequence[int | None],
        *,
        prime: str = "",
        length: int | None = None,
    ) -> list[tuple[str, float]]:
        """Writes a text for each vector (N, F). Returns the texts with their mean nats per character.

        seeds: one for each vector.
        prime: the text that is continued; it is not repeated.
        length: maximum number of characters (default: 10 more than twice the longest text of the training data).

        Raises CorpusError for vectors of another width, or unknown characters in the prime.
        """
        rows = self._standardize(vectors)
        limit = length or 2 * self.coding.longest + 10
        written: list[tuple[str, float]] = []
        for start in range(0, len(rows), MAX_STREAMS):
            part = slice(start, start + MAX_STREAMS)
            written += self._write(rows[part], options, seeds[part], prime, limit)
        return written

    def _write(
        self, rows: Array, options: SamplingOptions, seeds: Sequence[int | None], prime: str, limit: int
    ) -> list[tuple[str, float]]:
        stepper = self.backend.stepper(self.architecture, self.parameters, len(rows))
        weights = self.checkpoint.weights
        logits = stepper.step_vectors(linear_forward(rows, weights["features.weight"], weights["features.bias"]))
        for i in self.vocabulary.encode(prime).tolist():
            logits = stepper.step([i] * len(rows))
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        end = int(self.vocabulary.encode(END)[0])
        drawn = draw_texts(stepper.step, logits, options, uniforms, end, limit)
        return [(self.vocabulary.decode(ids), math.fsum(nats) / len(nats)) for ids, nats in drawn]

    def score(self, text: str, vector: Any) -> float:
        """The mean nats per character of a text, including its line end, given its vector."""
        return float(self.evaluate_texts([text], [vector])["loss"])

    def evaluate_texts(self, texts: Sequence[str], vectors: Any, *, skip_unknown: bool = False) -> dict[str, Any]:
        """Returns a dict of `records`, `chars`, `loss`, `bpc` and `perplexity` of texts, given their vectors."""
        rows = self._check_vectors(vectors)
        captions = [Caption(row, text) for row, text in enumerate(texts)]
        records = self.coding.records(captions, rows, skip_unknown=skip_unknown)
        loss = mean_loss(self, records)
        return {
            "records": len(captions),
            "chars": len(records.x),
            "loss": loss,
            "bpc": bits(loss),
            "perplexity": math.exp(min(loss, 700)),
        }

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        if file.features is None:
            raise UsageError("this model writes texts for vectors", "give the vectors of the lines with --features")
        texts = [line.text for line in read_lines([file.path], "utf-8", [])]
        vectors = read_vectors(file.features)
        if len(texts) != len(vectors):
            raise CorpusError(f"{file.features}: {len(vectors)} rows for {len(texts)} lines of {file.path}")
        return self.evaluate_texts(texts, vectors, skip_unknown=file.skip_unknown)

    def _standardize(self, vectors: Any) -> Array:
        return self.coding.scale.apply(self._check_vectors(vectors))

    def _check_vectors(self, vectors: Any) -> Array:
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.architecture.features:
            shape = "x".join(map(str, rows.shape))
            raise CorpusError(f"features {shape}: the model needs rows of {self.architecture.features} numbers")
        return rows
