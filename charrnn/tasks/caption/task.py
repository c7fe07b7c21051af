"""One to many: a line of text from a vector.

A learned projection of the vector is the first input (Vinyals et al. 2015; Karpathy & Fei-Fei 2015); the characters
follow.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import Standardizer, read_vectors
from charrnn.corpus.reading import display_name
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.caption.coding import END, Caption, CaptionCoding
from charrnn.tasks.caption.model import Captioner
from charrnn.tasks.vocabularies import ids_in, source_vocabulary
from charrnn.tasks.windowed import WindowTask, split_records

PREVIEWED = 5  # captions shown during training


class CaptionTask(WindowTask):
    """Lines and their vectors. See tasks.base.Task."""

    unit = "lines"
    defaults = TaskDefaults(weight_decay=0.5, learning_rate_scale=0.5, max_weights_per_symbol=3, chrono_init=True)

    def __init__(
        self, coding: CaptionCoding, parts: dict[str, list[Caption]], vectors: Array, notices: list[str]
    ) -> None:
        self.coding = coding
        self.vectors = vectors
        super().__init__(parts, lambda part: coding.records(part, vectors), _fingerprint(parts, vectors), notices)

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> CaptionTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        assert data.features is not None
        notices: list[str] = []
        captions = [
            Caption(row, line.text) for row, line in enumerate(read_lines(config.corpus, data.encoding, notices))
        ]
        vectors = read_vectors(data.features)
        names = ", ".join(map(display_name, config.corpus))
        if not captions:
            raise CorpusError(f"{names}: the corpus is empty")
        if len(vectors) != len(captions):
            raise CorpusError(f"{data.features}: {len(vectors)} rows for {len(captions)} lines of {names}")
        parts = split_records(captions, data, config.train.seed, notices)
        vocabulary = Vocabulary.of_texts([END, *(caption.text for caption in captions)], source_vocabulary(source))
        scale = Standardizer.fit(vectors[[caption.source for caption in parts["train"]]])
        if source is not None and source.architecture.features:
            width = vectors.shape[1]
            if source.architecture.features != width:
                problem = f"--init-from: the model reads vectors of {source.architecture.features} numbers"
                raise UsageError(problem, f"{data.features} has {width}")
            scale = source.parse_task(lambda task: Standardizer.from_dict(task["features"], width))
        longest = max(len(caption.text) for caption in captions)
        return cls(CaptionCoding(vocabulary, scale, longest), parts, vectors, notices)

    @property
    def vocabulary_size(self) -> int:
        return len(self.coding.vocabulary)

    def describe(self) -> str:
        width = self.vectors.shape[1]
        return f"corpus: {self.vocabulary_size} distinct characters, vectors of {width}, {self.describe_parts()}"

    def metadata(self) -> dict[str, Any]:
        return self.coding.to_dict()

    def architecture(self, model: ModelOptions) -> Architecture:
        return self.coding.architecture(model)

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        ids = ids_in(self.coding.vocabulary, source)
        writes_text = source.task["name"] in ("lm", "caption")
        return transfer_parameters(source.weights, architecture, seed, ids, ids if writes_text else None)

    def scores(self, means: Array) -> Scores:
        loss = float(means[0])
        return Scores(loss=loss, bpc=bits(loss))

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        captions = (self.parts["val"] or self.parts["train"])[:PREVIEWED]
        rows = self.vectors[[caption.source for caption in captions]]
        written = Captioner(checkpoint).write(rows, SamplingOptions(), [seed] * len(captions))
        return "\n".join(f"{caption.text} -> {text}" for caption, (text, _) in zip(captions, written, strict=True))

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        captions = self.parts["test"]
        if not captions:
            return None
        rows = self.vectors[[caption.source for caption in captions]]
        return Captioner(checkpoint).evaluate_texts([caption.text for caption in captions], rows)


def _fingerprint(parts: dict[str, list[Caption]], vectors: Array) -> str:
    captions = sorted(caption for part in parts.values() for caption in part)
    digest = hashlib.sha256(np.ascontiguousarray(vectors).data)
    digest.update("\n".join(caption.text for caption in captions).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
