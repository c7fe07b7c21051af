"""The task `lm`: predict each character of a text from the characters before it."""

from __future__ import annotations

from typing import Any

from charrnn.corpus.escapes import readable
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.language.corpus import Corpus, load_corpus
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.scoring import text_metrics
from charrnn.tasks.language.streams import TextPass, TextStream
from charrnn.tasks.vocabularies import ids_in, source_vocabulary

DEFAULT_BATCH_SIZE = 32
DEFAULT_SEQ_LENGTH = 64
PREVIEW_LENGTH = 200  # characters
MANY_SYMBOLS = 1000  # from this size of the vocabulary on, the default is an embedding; see tests/benchmarks/README.md
EMBEDDING_SIZE = 128


class LanguageTask:
    """A text to train a language model on. See tasks.base.Task."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.defaults = TaskDefaults(
            max_weights_per_symbol=50,  # limits the size for texts of less than about 10,000 characters
            embedding_size=EMBEDDING_SIZE if self.vocabulary_size >= MANY_SYMBOLS else 0,
        )
        self.fingerprint = corpus.fingerprint
        self.notices = corpus.notices

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> LanguageTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError, StorageError."""
        cache = config.train.cache
        corpus = load_corpus(config.corpus, config.data, cache=cache)
        vocabulary = source_vocabulary(source, is_bytes=config.data.bytes)
        return cls(corpus if vocabulary is None else corpus.with_vocabulary_of(vocabulary, cache=cache))

    @property
    def training_size(self) -> int:
        return len(self.corpus.train)

    @property
    def vocabulary_size(self) -> int:
        return len(self.corpus.vocabulary)

    @property
    def has_validation(self) -> bool:
        return len(self.corpus.val) > 1

    def describe(self) -> str:
        return self.corpus.describe()

    def metadata(self) -> dict[str, Any]:
        return {"name": "lm", **self.corpus.vocabulary.to_dict(), "lines": self.corpus.lines}

    def architecture(self, model: ModelOptions) -> Architecture:
        return Architecture.from_options(model, input_size=self.vocabulary_size, output_size=self.vocabulary_size)

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        ids = ids_in(self.corpus.vocabulary, source)
        outputs = ids if source.task["name"] == "lm" else None
        return transfer_parameters(source.weights, architecture, seed, ids, outputs)

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        """See Task. B x T must not exceed the number of pairs of a character and the next one."""
        pairs = self.training_size - 1
        if seq_length is not None and seq_length > pairs:
            problem = f"--seq-length {seq_length}: longer than the training text"
            raise UsageError(problem, f"the largest that fits is {max(1, pairs // (batch_size or 1))}")
        fitted_length = seq_length or max(1, min(DEFAULT_SEQ_LENGTH, pairs // (batch_size or 1)))
        fitted_size = batch_size or max(1, min(DEFAULT_BATCH_SIZE, pairs // fitted_length))
        if fitted_size * fitted_length > pairs:
            problem = f"--batch-size {fitted_size}: the training text is too short for a sequence length of "
            largest = max(1, pairs // (seq_length or 1))
            raise UsageError(f"{problem}{fitted_length}", f"the largest that fits is {largest}")
        return fitted_size, fitted_length

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> TextStream:
        corpus = self.corpus
        start = corpus.vocabulary.start if corpus.record_end is None else None
        return TextStream(
            corpus.train,
            batch_size,
            seq_length,
            corpus.record_end,
            start,
            seed,
            corpus.train_starts,
            corpus.train_start_symbols,
        )

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> TextPass | None:
        if not self.has_validation:
            return None
        corpus = self.corpus
        return TextPass(corpus.val, batch_size, seq_length, corpus.record_end, corpus.val_starts, limit)

    def window_notices(self, seq_length: int) -> list[str]:
        return []

    def scores(self, means: Array) -> Scores:
        loss = float(means[0])
        return Scores(loss=loss, bpc=bits(loss))

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        model = TextModel(checkpoint)
        steps = model.sample_many(model.vocabulary.encode(""), PREVIEW_LENGTH, [seed], SamplingOptions())
        return readable("".join(text for ((text, _),) in steps))

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        corpus = self.corpus
        if len(corpus.test) < 2:
            return None
        sections = TextModel(checkpoint).score_sections([corpus.test[1:]], file_starts=corpus.test_starts)
        return text_metrics(section.nats for section in sections)
