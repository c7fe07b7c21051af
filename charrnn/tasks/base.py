"""Interfaces of the tasks and of their trained models."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from charrnn.corpus.batch import BatchPass, BatchStream
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.engines.base import Backend
from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions, ModelOptions, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores


@dataclass(frozen=True)
class TaskDefaults:
    """Defaults for options that the user did not give. The values were chosen by experiments."""

    cell: str = "lstm"
    embedding_size: int = 0
    weight_decay: float = 0.0
    learning_rate_scale: float = 1.0  # factor of the optimizer's default
    schedule: str = "constant"
    keep_best: str = "loss"
    dropout_scale: float = 1.0  # factor of the default dropout probabilities
    recurrent_dropout_scale: float = 1.0  # further factor of the default of --recurrent-dropout
    max_weights_per_symbol: float = math.inf  # upper limit of recurrent weights per symbol of the training data
    chrono_init: bool = False  # whether to use `chrono_initialise`, for long-range dependencies


class Task(Protocol):
    """A task with its data. The trainer uses only this interface."""

    defaults: TaskDefaults
    fingerprint: str  # digest of the data; a run can only be resumed with the same data

    @property
    def notices(self) -> Sequence[str]:
        """Messages for the user about the data."""

    @property
    def training_size(self) -> int:
        """The number of symbols, or rows of numbers, in the training part."""

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""

    def describe(self) -> str:
        """One line of text about the data, for the user."""

    def metadata(self) -> dict[str, Any]:
        """The description of the task in checkpoints, as plain JSON. `name` is the name of the task."""

    def architecture(self, model: ModelOptions) -> Architecture: ...

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        """The flat parameters of a network that is initialised from another model (`--init-from`)."""

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        """(B, T): the given values, with defaults for None. Raises UsageError if given values do not fit the data."""

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> BatchStream: ...

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> BatchPass | None:
        """Returns the batches of the validation part, or None if nothing can be validated.

        limit: the number of symbols that are scored at most, approximately. They are spread evenly over the part. 0:
        all.
        """

    def window_notices(self, seq_length: int) -> Sequence[str]:
        """Messages for the user about the data at this sequence length."""

    def scores(self, means: Array) -> Scores:
        """The scores of a validation. means: `ScoringNetwork.sums` divided by the number of scored steps."""

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        """Sample output of the model, for the user."""

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """Returns the metrics of `charrnn eval` for the test part, including `loss`. None if there is no test part."""


class EvaluationFile(NamedTuple):
    """The arguments of `charrnn eval`."""

    path: str
    features: str | None = None  # path of the vectors, for captions
    skip_unknown: bool = False  # whether to skip characters that are not in the vocabulary
    data: DataOptions = DataOptions()  # how the records of a file are read
    errors: int = 0  # number of wrong records to list, the worst first


class WrongRecord(NamedTuple):
    """A record with a wrong answer."""

    input: str
    expected: str
    answered: str | None
    probability: float | None  # of the answer


@dataclass(frozen=True)
class PredictionOptions:
    """The options of `charrnn predict`. None: the option was not given."""

    top: int | None = None  # number of answers per record
    beam: int | None = None  # number of hypotheses of a beam search
    sampling: SamplingOptions | None = None  # None: the most likely answers; otherwise the answers are drawn
    seed: int = 0  # of drawn answers
    first_number: int = 0  # number of the first record; a drawn answer depends on the seed and its record's number
    skip_unknown: bool = False  # whether to skip characters that are not in the vocabulary

    def top_field(self, ranked: list[tuple[str, float]]) -> dict[str, Any]:
        """The field `top` of an answer, {} if the option was not given."""
        return {} if self.top is None else {"top": ranked}


class TrainedModel(ABC):
    """A trained model of any task. Losses are in nats per scored symbol."""

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        """backend: computes the outputs (default: NumPy). Raises RunError if the checkpoint is damaged."""
        self.checkpoint = checkpoint
        self.architecture = checkpoint.architecture
        self.parameters = checkpoint.parameters
        self.backend = new_backend() if backend is None else backend

    lists_errors: ClassVar[bool] = False  # whether `evaluate_file` supports `errors`

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.checkpoint.task["name"])

    @abstractmethod
    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        """Returns the metrics of `charrnn eval` for a file. Raises CorpusError, UsageError."""


@runtime_checkable
class GeneratesText(Protocol):
    """A model that can continue any text, character by character."""

    vocabulary: Vocabulary
    checkpoint: Checkpoint
    lines: bool

    def sample_many(
        self,
        prime: Array,
        length: int,
        seeds: list[int | None],
        options: SamplingOptions,
        *,
        no_repeat_ngram: int = 0,
    ) -> Iterator[list[tuple[str, float]]]: ...

    def nats(self, ids: Array, *, lines: bool | None = None) -> Array: ...


@runtime_checkable
class DescribesVectors(Protocol):
    """A model that writes a text for each vector of features."""

    def write(
        self,
        vectors: Any,
        options: SamplingOptions,
        seeds: Sequence[int | None],
        *,
        prime: str = "",
        length: int | None = None,
    ) -> list[tuple[str, float]]: ...


@runtime_checkable
class PredictsRecords(Protocol):
    """A model that makes a prediction for each line of text."""

    prediction_options: ClassVar[tuple[str, ...]]  # those of top, beam and sampling that the model supports

    def read_input(self, text: str, place: str) -> Any:
        """An input for `predict_records`: the text, or what the text names. place: where the text is, for messages.

        Raises CorpusError if it cannot be read."""

    def predict_records(self, inputs: Sequence[Any], options: PredictionOptions) -> list[dict[str, Any]]:
        """Returns a prediction for each input, as a JSON object. With `options.top`, its field `top` lists the most
        likely predictions in descending order. The prediction for an input without a known symbol is None."""

    def unknown_symbols(self, text: str) -> list[tuple[int, str]]:
        """The position and the description of each symbol of an input that is not in the vocabulary."""


class Alignment(NamedTuple):
    """The attention of a decoder while it writes a target of T symbols for a source of S steps."""

    source: Sequence[str]  # (S,), labels of the source steps
    target: Sequence[str]  # (T,), labels of the target symbols
    weights: Array  # (T, S), each row adds up to 1


@runtime_checkable
class AlignsSources(Protocol):
    """A model whose decoder attends to the source."""

    def align(self, texts: Sequence[str]) -> list[Alignment]:
        """The alignment of the most likely target of each input. Raises UsageError for a model without attention."""


@runtime_checkable
class ForecastsRows(Protocol):
    """A model that predicts rows of a table of numbers."""

    def predict_table(self, path: str, steps: int | None) -> tuple[Sequence[str], list[list[Any]]]:
        """The names and rows of the predicted columns. Predicts a row for each row of the file; with `steps`, the rows
        that follow the last one."""
