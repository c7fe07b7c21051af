"""The common part of tasks whose data are records, one per line: `text<TAB>output`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from charrnn.corpus.reading import display_name
from charrnn.corpus.record_files import TextRecord, read_records
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records, WindowPass, Windows, WindowStream
from charrnn.engines.base import Backend
from charrnn.errors import CorpusError, UsageError, format_count
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import transfer_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores
from charrnn.tasks.base import EvaluationFile, TaskDefaults, TrainedModel
from charrnn.tasks.data import DataFiles, write_pairs
from charrnn.tasks.scoring import mean_loss
from charrnn.tasks.splitting import split_records
from charrnn.tasks.vocabularies import ids_in, source_vocabulary

TAB = "\t"
PREVIEWED = 5  # records shown during training
DEFAULT_BATCH_SIZE = 32
MIN_BATCHES = 8  # per epoch; if there are few records, the default batch size is smaller
MIN_WINDOW = 64  # lower limit of the default sequence length
MAX_WINDOW = 1024  # its upper limit
SHOWN_NAMES = 10  # labels or tags in a message
SHOWN_LENGTH = 40  # characters of a label in a message


class Pair(NamedTuple):
    """A record: the text that the network reads, and the correct output."""

    source: str
    output: str


class Coding(ABC):
    """Encodes the records of a task as time steps. A checkpoint stores the coding of its task."""

    name: ClassVar[str]
    defaults: ClassVar[TaskDefaults] = TaskDefaults(max_weights_per_symbol=3)
    vocabulary: Vocabulary  # of the sources

    @classmethod
    @abstractmethod
    def from_records(
        cls, pairs: Sequence[Pair], data: DataOptions, vocabulary: Vocabulary | None = None, source: Any = None
    ) -> Self:
        """Makes a coding for the records. Raises CorpusError if the records cannot be encoded.

        With `--init-from`, the new coding also contains the symbols of the initial model: `vocabulary` and, if the task
        is the same, its coding `source`.
        """

    @classmethod
    @abstractmethod
    def from_dict(cls, task: dict[str, Any]) -> Self:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns the metadata for a checkpoint."""

    @property
    def input_size(self) -> int:
        return len(self.vocabulary)

    @property
    @abstractmethod
    def output_size(self) -> int: ...

    @property
    def sizes(self) -> dict[str, Any]:
        """The fields of Architecture that depend on the task."""
        return {"input_size": self.input_size, "output_size": self.output_size}

    @abstractmethod
    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        """Encodes records. Raises CorpusError for a character that is not in the vocabulary."""

    @abstractmethod
    def check_output(self, pair: Pair) -> None:
        """Raises CorpusError if the network cannot predict the output of a record."""

    @abstractmethod
    def describe_outputs(self, pairs: Sequence[Pair]) -> str:
        """Describes the outputs of some records for the user, with the number of times that each occurs."""

    def output_notices(self, pairs: Sequence[Pair]) -> list[str]:
        """Warnings about outputs that are probably mistakes."""
        return []

    def inputs_in(self, other: Any, source: Checkpoint) -> Array:
        """Returns the id in the coding `other` of each input symbol of this coding.

        `other` must include all symbols of this coding. source: the checkpoint of this coding.
        """
        return ids_in(other.vocabulary, source)

    def outputs_in(self, other: Any) -> Array | None:
        """Returns the index in the coding `other` of each output of this coding. None if there is no correspondence.

        `other` must include all outputs of this coding.
        """
        return None

    @staticmethod
    def parse(record: TextRecord) -> Pair:
        """Converts a record of a file. Raises CorpusError if it is not a record of the task."""
        return Pair(record.text, record.output)


class RecordTask:
    """Records to train on, which are packed into windows. See tasks.base.Task."""

    def __init__(
        self,
        model_class: type[RecordModel],
        coding: Coding,
        parts: dict[str, list[Pair]],
        fingerprint: str,
        notices: list[str],
    ) -> None:
        """parts: the records of the parts "train", "val" and "test"."""
        self.model_class = model_class
        self.coding = coding
        self.defaults = coding.defaults
        self.parts = parts
        self.fingerprint = fingerprint
        self.notices = notices
        self.encoded = cache(lambda part: coding.records(parts[part]))
        self.windows = cache(lambda part, seq_length: Windows(self.encoded(part), seq_length))

    @classmethod
    def read(cls, model_class: type[RecordModel], config: RunConfig, source: Checkpoint | None = None) -> RecordTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        coding_class = model_class.coding_class
        data = config.data
        notices: list[str] = []
        pairs = [coding_class.parse(record) for record in read_records(config.corpus, data, notices)]
        names = ", ".join(map(display_name, config.corpus))
        if not pairs:
            raise CorpusError(f"{names}: no records")
        val_pairs: list[Pair] = []
        if data.val_file is not None:
            val_pairs = [coding_class.parse(record) for record in read_records([data.val_file], data, notices)]
            if not val_pairs:
                raise CorpusError(f"{data.val_file}: no records to validate on")
        parts = split_records(pairs, data, config.train.seed, notices)
        if val_pairs:
            parts["val"] = val_pairs
        if not parts["train"]:
            raise CorpusError(f"{names}: no records left to train on", "lower --val-fraction or --test-fraction")
        source_coding = None
        if source is not None and source.task["name"] == coding_class.name:
            source_coding = source.parse_task(coding_class.from_dict)
        coding = coding_class.from_records([*pairs, *val_pairs], data, source_vocabulary(source), source_coding)
        notices += coding.output_notices([*pairs, *val_pairs])
        return cls(model_class, coding, parts, _fingerprint(pairs, val_pairs), notices)

    @property
    def training_size(self) -> int:
        return len(self.encoded("train").x)

    @property
    def has_validation(self) -> bool:
        return bool(self.parts["val"])

    @property
    def vocabulary_size(self) -> int:
        return len(self.coding.vocabulary)

    def describe(self) -> str:
        outputs = self.coding.describe_outputs([pair for part in self.parts.values() for pair in part])
        train, val, test = (len(self.parts[part]) for part in ("train", "val", "test"))
        parts = f"{format_count(train, 'record')} to train on, {val:,} to validate, {test:,} to test"
        return f"corpus: {self.vocabulary_size} distinct characters, {outputs}; {parts}"

    def metadata(self) -> dict[str, Any]:
        return {"name": self.coding.name, **self.coding.to_dict()}

    def architecture(self, model: ModelOptions) -> Architecture:
        return Architecture.from_options(model, **self.coding.sizes)

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        inputs = ids_in(self.coding.vocabulary, source)
        outputs = None
        if source.task["name"] == self.coding.name:
            source_coding = source.parse_task(type(self.coding).from_dict)
            inputs = source_coding.inputs_in(self.coding, source)
            outputs = source_coding.outputs_in(self.coding)
        return transfer_parameters(source.weights, architecture, seed, inputs, outputs)

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        longest = int(self.encoded("train").lengths.max())
        seq_length = seq_length or min(max(longest, MIN_WINDOW), MAX_WINDOW)
        windows = self.windows("train", seq_length)
        if not windows.num_scored:
            problem = f"windows of {format_count(seq_length, 'step')} contain no step that is scored"
            raise UsageError(problem, "raise --seq-length, or lower --delay")
        if batch_size is not None and batch_size > windows.number:
            steps = format_count(seq_length, "step")
            problem = f"--batch-size {batch_size}: more than the number of training windows of {steps}"
            raise UsageError(problem, f"the largest that fits is {windows.number}")
        return batch_size or max(1, min(DEFAULT_BATCH_SIZE, windows.number // MIN_BATCHES)), seq_length

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> WindowStream:
        return WindowStream(self.windows("train", seq_length), batch_size, seed)

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> WindowPass | None:
        if not self.has_validation or not self.windows("val", seq_length).num_scored:
            return None
        return WindowPass(self.windows("val", seq_length), batch_size, limit)

    def window_notices(self, seq_length: int) -> list[str]:
        windows = self.windows("train", seq_length)
        notices = [
            f"windows of {seq_length} steps: {windows.scored_fraction:.1%} of the steps are scored, "
            f"{windows.empty_fraction:.1%} are empty"
        ]
        shortened = int((self.encoded("train").lengths > seq_length).sum())
        if shortened:
            notices.append(
                f"{shortened:,} records are longer than {seq_length} steps; only their last {seq_length} are used"
            )
        return notices

    def scores(self, means: Array) -> Scores:
        loss, accuracy = means.tolist()
        return Scores(loss=loss, bpc=bits(loss), accuracy=accuracy)

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        return self.model_class(checkpoint).preview(self.parts["val"] or self.parts["train"])

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        return self.model_class(checkpoint).evaluate_records(self.parts["test"]) if self.parts["test"] else None


class RecordModel(TrainedModel):
    """A trained model of a record task."""

    coding_class: ClassVar[type[Coding]]
    lists_errors = True

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        super().__init__(checkpoint, backend)
        self.coding = checkpoint.parse_task(self._parse_coding)
        self.vocabulary = self.coding.vocabulary

    def _parse_coding(self, task: dict[str, Any]) -> Any:
        coding = self.coding_class.from_dict(task)
        sizes = coding.sizes | {"ngram_share": self.architecture.ngram_share}  # a checkpoint keeps its own share
        if Architecture.from_options(self.architecture, **sizes) != self.architecture:
            raise ValueError("the task metadata does not match the weights")
        return coding

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_pairs(folder, data)

    def score(self, source: str, output: str) -> float:
        """The mean loss of the scored steps of a record. Raises CorpusError for an unknown character or output."""
        pair = Pair(source, output)
        self.coding.check_output(pair)
        return mean_loss(self, self.coding.records([pair]))

    @abstractmethod
    def answers(self, texts: Sequence[str]) -> list[str]:
        """The most likely output of each text."""

    def preview(self, pairs: Sequence[Pair]) -> str:
        """Some records with the model's answers."""
        shown = pairs[:PREVIEWED]
        answers = self.answers([pair.source for pair in shown])
        return "\n".join(f"{pair.source} -> {answer}" for pair, answer in zip(shown, answers, strict=True))

    def read_input(self, text: str, place: str) -> str:
        """See tasks.base.PredictsRecords."""
        return text

    def unknown_symbols(self, text: str) -> list[tuple[int, str]]:
        """See tasks.base.PredictsRecords."""
        vocabulary: Vocabulary = self.vocabulary
        return vocabulary.find_unknown(text)

    def has_known(self, text: str) -> bool:
        """Whether a character of the text is in the vocabulary. Otherwise the text has no answer."""
        return len(self.unknown_symbols(text)) < len(text)

    def count_records(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The number of records, of skipped characters, and of records without an answer."""
        skipped = [len(self.unknown_symbols(pair.source)) for pair in pairs]
        unanswered = sum(number == len(pair.source) for pair, number in zip(pairs, skipped, strict=True))
        return {"records": len(pairs), "skipped": sum(skipped), "unanswered": unanswered}

    @abstractmethod
    def evaluate_records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False, errors: int = 0) -> dict[str, Any]:
        """Returns the metrics of `charrnn eval`: those of `count_records`, `loss`, and others.

        With `errors`, `errors` is a list of up to this many wrong records, the worst first, each as a dict of the
        fields of WrongRecord.

        A record without an answer counts as wrong. `unscored` is the number of outputs (labels or tags) that were not
        in the training data. They count as wrong and are not included in the loss.
        """

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        pairs = []
        for record in read_records([file.path], file.data, []):
            if not file.skip_unknown:
                record.check_known(self.unknown_symbols(record.text))
            pairs.append(self.coding_class.parse(record))
        if not pairs:
            raise CorpusError(f"{file.path}: no records")
        return self.evaluate_records(pairs, skip_unknown=file.skip_unknown, errors=file.errors)


def mean_known(nats: Array, is_known: Array) -> float | None:
    """The mean of the losses whose outputs are known. None if there are none."""
    return float(nats[is_known].mean(dtype=np.float64)) if is_known.any() else None


def _fingerprint(*parts: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        for pair in part:
            digest.update(f"{pair.source}\t{pair.output}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def describe_counts(noun: str, counts: Counter[str]) -> str:
    """The most frequent of some names and their numbers: 2 labels: neg 200, pos 150."""
    shown = [f"{name[:SHOWN_LENGTH]} {number:,}" for name, number in counts.most_common(SHOWN_NAMES)]
    more = ["..."] if len(counts) > SHOWN_NAMES else []
    return f"{len(counts):,} {noun}: {', '.join([*shown, *more])}"


def parse_names(values: Any) -> tuple[str, ...]:
    """Parses a list of distinct strings in the metadata of a checkpoint. Raises ValueError."""
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError("expected a list of strings")
    if len(set(values)) < len(values):
        raise ValueError("a list contains the same string twice")
    return tuple(values)
