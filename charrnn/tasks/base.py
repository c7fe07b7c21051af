"""Interfaces of the tasks and of their trained models."""

from __future__ import annotations

import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from charrnn.corpus.batch import BatchPass, BatchStream
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.engines.base import Backend
from charrnn.engines.select import new_backend
from charrnn.errors import CorpusError, UsageError, converting_errors
from charrnn.fields import flag
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions, ModelOptions, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.notebook import model_html
from charrnn.runs.reports import Scores
from charrnn.tasks.data import DataFiles, temporary_files


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

    def check_supported(self, model: TrainedModel) -> None:
        """Raises UsageError if an option was given that the model does not support."""
        if self.features is not None and not isinstance(model, DescribesVectors):
            raise UsageError("--features: this model was trained without features")
        reads_records = isinstance(model, PredictsRecords) and not isinstance(model, DescribesVectors)
        if (self.data.columns is not None or self.data.header) and not reads_records:
            raise UsageError(f"--columns and --header: not options of a model of --task {model.task}")
        if self.errors and not model.lists_errors:
            raise UsageError(f"--errors: not an option of a model of --task {model.task}")


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

    @classmethod
    def from_options(
        cls,
        *,
        top: int | None = None,
        beam: int | None = None,
        seed: int | None = None,
        on_unknown: str = "error",
        **sampling: Any,
    ) -> PredictionOptions:
        """Makes an object from the options of `charrnn predict`. sampling: those of SamplingOptions that were given.

        Raises UsageError for an option out of range.
        """
        for name, number in (("top", top), ("beam", beam)):
            if number is not None and number < 1:
                raise UsageError(f"{flag(name)} {number}: must be at least 1")
        if sampling and (beam is not None or top is not None):
            raise UsageError("the sampling options cannot be used with --beam or --top")
        return cls(
            top=top,
            beam=beam,
            sampling=SamplingOptions.from_dict(sampling) if sampling else None,
            seed=secrets.randbits(32) if seed is None else seed,
            skip_unknown=skips_unknown(on_unknown),
        )

    def check_supported(self, model: TrainedModel) -> None:
        """Raises UsageError if an option was given that the model does not support."""
        supported = model.prediction_options if isinstance(model, PredictsRecords) else ()
        for name, text in (("top", "--top"), ("beam", "--beam"), ("sampling", "the sampling options")):
            if getattr(self, name) is not None and name not in supported:
                raise UsageError(f"a model of --task {model.task} does not support {text}")

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
    input_dimensions: ClassVar[int] = 0  # of an input of `predict` that is an array; 0: each input is a text

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.checkpoint.task["name"])

    def parameters_for(self, first: TrainedModel) -> Array | None:
        """The parameters of this model as a member of an ensemble, which reads the batches of the model `first`.

        None if the two models differ in the task or the vocabulary.
        """
        return self.parameters if self.checkpoint.task == first.checkpoint.task else None

    @abstractmethod
    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        """Returns the metrics of `charrnn eval` for a file. Raises CorpusError, UsageError."""

    @staticmethod
    @abstractmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        """Writes data in memory to a file in the format of `charrnn train`. Raises CorpusError."""

    @converting_errors()
    def evaluate(
        self,
        file: str | Path | None = None,
        *,
        data: Any = None,
        features: str | Path | None = None,
        columns: str | None = None,
        header: bool = False,
        errors: int = 0,
        on_unknown: str = "error",
    ) -> dict[str, Any]:
        """Returns the metrics of `charrnn eval`, either for a file or for data in memory.

        data: as for `charrnn.train`. features: the file of the vectors, if the texts are in a file. columns, header:
        the columns of a file of records, and whether its first line contains their names. errors: number of wrong
        records to list. on_unknown: "error" or "skip", for characters that are not in the vocabulary.
        """
        skip_unknown = skips_unknown(on_unknown)
        if (file is None) == (data is None):
            raise UsageError("evaluate needs either a file or data")
        if errors < 0:
            raise UsageError(f"--errors {errors}: must be at least 0")
        if file is not None:
            vectors = None if features is None else os.fspath(features)
            options = DataOptions(columns=columns, header=header)
            return self._evaluate(EvaluationFile(_path(file), vectors, skip_unknown, options, errors))
        if features is not None or columns is not None or header:
            raise UsageError("features, columns and header need a file")
        with temporary_files(self.write_data, data) as files:
            vectors = files.options.get("features")
            options = DataOptions(columns=files.options.get("columns"))
            return self._evaluate(EvaluationFile(str(files.path), vectors, skip_unknown, options, errors))

    def _evaluate(self, file: EvaluationFile) -> dict[str, Any]:
        file.check_supported(self)
        return self.evaluate_file(file)

    @converting_errors()
    def predict(self, inputs: Any, **options: Any) -> Any:
        """Returns the prediction for each input: a list of dicts with the fields of `charrnn predict --json`.

        inputs: a list of texts, of matrices or of vectors. A single input gets a single dict.
        options: top, beam, seed, on_unknown and the fields of SamplingOptions, as far as the task supports them.
        """
        if not isinstance(self, PredictsRecords):
            raise UsageError(f"a model of --task {self.task} makes no predictions", "use sample()")
        prediction = PredictionOptions.from_options(**options)
        prediction.check_supported(self)
        is_single = isinstance(inputs, str) or getattr(inputs, "ndim", 0) == self.input_dimensions > 0
        records = [inputs] if is_single else list(inputs)
        for number, record in enumerate(records, 1):
            if isinstance(record, str) and "\t" in record:
                raise CorpusError(f"input {number}: contains a tab", "give the inputs only, without the outputs")
            if not isinstance(record, str) and not self.input_dimensions:
                raise CorpusError(f"input {number}: {type(record).__name__} {record!r} is not a text")
        answers = self.predict_records(records, prediction)
        if prediction.skip_unknown:
            for record, answer in zip(records, answers, strict=True):
                answer["skipped"] = len(self.unknown_symbols(record))
        return answers[0] if is_single else answers

    def sample(self, *_: Any, **__: Any) -> Any:
        """Writes text. Only models of `lm` and `caption` do. Raises UsageError."""
        raise UsageError(f"a model of --task {self.task} does not write text", "use predict()")

    def __repr__(self) -> str:
        architecture = self.architecture
        shape = f"{architecture.cell}, {architecture.num_layers} x {architecture.hidden_size}"
        parameters = f"{architecture.num_parameters:,} parameters"
        return f"<{type(self).__name__} {self.checkpoint.path}: {shape}, {parameters}>"

    def _repr_html_(self) -> str:
        """The model in a notebook: its sizes, its losses and the curve of the losses."""
        return model_html(self.task, self.checkpoint)


def skips_unknown(on_unknown: str) -> bool:
    """Whether unknown characters are skipped. Raises UsageError if the option is not "error" or "skip"."""
    if on_unknown not in ("error", "skip"):
        raise UsageError(f"--on-unknown {on_unknown}: not one of error, skip")
    return on_unknown == "skip"


def _path(file: str | Path) -> str:
    if not isinstance(file, str | os.PathLike):
        raise UsageError(f"{type(file).__name__} is not the path of a file", "give data in memory as data=...")
    return os.fspath(file)


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
