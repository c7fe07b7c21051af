"""The language model: each character is predicted from all before it. The only room in training that knows of text."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.language.corpus import Corpus, extend_vocabulary, load_corpus
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.scoring import text_metrics
from charrnn.tasks.language.streams import TextPass, TextStream
from charrnn.tasks.origin import initial_vocabulary

BATCH_SIZE, SEQ_LENGTH = 32, 64  # what is used where the corpus is large enough
SAMPLE_LENGTH = 200


class LanguageTask:
    """A corpus to model."""

    defaults = TaskDefaults()

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.fingerprint, self.notices = corpus.fingerprint, corpus.notices

    @classmethod
    def read(cls, config: RunConfig, start: Checkpoint | None = None) -> LanguageTask:
        """From the files; the vocabulary holds that of the checkpoint `start` too. Raises CorpusError, UsageError."""
        corpus = load_corpus(config.corpus, config.data)
        if (known := initial_vocabulary(start, is_bytes=config.data.bytes)) is not None:
            corpus = extend_vocabulary(corpus, known)
        # A run of an older version goes on without: its batches are what they were.
        old = start is not None and start.task["name"] == "lm" and not start.task.get("begun", False)
        return cls(corpus if old and not corpus.lines else corpus.begin())

    @property
    def size(self) -> int:
        return len(self.corpus.train)

    @property
    def vocabulary_size(self) -> int:
        return len(self.corpus.vocabulary)

    def describe(self) -> str:
        return self.corpus.describe()

    def metadata(self) -> dict[str, Any]:
        return {
            "name": "lm",
            **self.corpus.vocabulary.to_dict(),
            "lines": self.corpus.lines,
            "begun": self.corpus.begun,
        }

    def architecture(self, model: ModelOptions) -> Architecture:
        return Architecture.of(model, input_size=self.vocabulary_size, output_size=self.vocabulary_size)

    def initial_weights(self, start: Checkpoint, architecture: Architecture, seed: int) -> dict[str, Array]:
        places = np.searchsorted(self.corpus.vocabulary.codes, start.read_task(Vocabulary.from_dict).codes)
        same = start.task["name"] == "lm"
        return transfer(start.weights, architecture, seed, places, places if same else None)

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        """B T <= the pairs of a character and the next."""
        pairs = self.size - 1
        if seq_length is not None and seq_length > pairs:
            what = f"--seq-length {seq_length}: longer than the training text"
            raise UsageError(what, f"the largest that fits is {max(1, pairs // (batch_size or 1))}")
        fitted_t = seq_length or max(1, min(SEQ_LENGTH, pairs // (batch_size or 1)))
        fitted_b = batch_size or max(1, min(BATCH_SIZE, pairs // fitted_t))
        if fitted_b * fitted_t > pairs:
            what = f"--batch-size {fitted_b}: too few characters to train on for it at a sequence length of {fitted_t}"
            raise UsageError(what, f"the largest that fits is {max(1, pairs // (seq_length or 1))}")
        return fitted_b, fitted_t

    def training(self, batch_size: int, seq_length: int, seed: int) -> TextStream:
        corpus = self.corpus
        start = corpus.vocabulary.start if corpus.begun and not corpus.lines else None
        return TextStream(corpus.train, batch_size, seq_length, corpus.record_end, start, seed)

    def validation(self, batch_size: int, seq_length: int) -> TextPass | None:
        if len(self.corpus.val) < 2:
            return None
        return TextPass(self.corpus.val, batch_size, seq_length, self.corpus.record_end)

    def window_notices(self, seq_length: int) -> list[str]:
        return []

    def metrics(self, tally: Array) -> dict[str, Any]:
        return {}

    def bits(self, loss: float | None) -> float | None:
        return bits(loss)

    def sample(self, checkpoint: Checkpoint, seed: int) -> str:
        model = TextModel(checkpoint)
        pieces = model.sample_many(model.vocabulary.encode(""), SAMPLE_LENGTH, [seed], SamplingOptions())
        return "".join(text for ((text, _),) in pieces)

    def test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        if len(self.corpus.test) < 2:
            return None
        nats = TextModel(checkpoint).part_nats(self.corpus.test, self.corpus.record_end)
        return text_metrics(nats)
