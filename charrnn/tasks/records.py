"""Tasks whose data are records, a line each: `text<TAB>output`. What is said here holds for all of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from charrnn.corpus.lines import Line, read_lines
from charrnn.corpus.reading import display_name
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, NewNetwork
from charrnn.models.transfer import transfer
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import flatten
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.origin import initial_vocabulary
from charrnn.tasks.scoring import mean_loss
from charrnn.tasks.windowed import WindowTask, deal

TAB = "\t"
SHOWN = 5


class Pair(NamedTuple):
    """A record: what is read, and what should come of it."""

    source: str
    output: str


class Coding(ABC):
    """How the records of a task become steps: all that a trained model must know besides its weights."""

    name: ClassVar[str]
    defaults: ClassVar[TaskDefaults] = TaskDefaults(max_weights_per_symbol=3)
    vocabulary: Vocabulary  # of what is read

    @classmethod
    @abstractmethod
    def of(cls, pairs: Sequence[Pair], data: DataOptions, learnt: Vocabulary | None = None, known: Any = None) -> Self:
        """What the records need, and what another model knows: of any task its vocabulary, `learnt`, and of the same
        task its coding, `known`."""

    @classmethod
    @abstractmethod
    def from_dict(cls, task: dict[str, Any]) -> Self:
        """As it stands in a checkpoint. Raises KeyError, TypeError or ValueError."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]: ...

    @property
    def input_size(self) -> int:
        return len(self.vocabulary)

    @property
    @abstractmethod
    def output_size(self) -> int: ...

    @property
    def sizes(self) -> dict[str, int]:
        """The widths of its network, by their names in Architecture."""
        return {"input_size": self.input_size, "output_size": self.output_size}

    @abstractmethod
    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        """Raises CorpusError for a character that is not known."""

    @staticmethod
    @abstractmethod
    def model(checkpoint: Checkpoint) -> RecordModel:
        """The trained model of such records."""

    def inputs_in(self, other: Any) -> Array:
        """The places of this coding's inputs among those of another one that holds them all."""
        return np.searchsorted(other.vocabulary.codes, self.vocabulary.codes)

    def outputs_in(self, other: Any) -> Array | None:
        """The places of this coding's outputs among those of another one that holds them all."""
        return None

    @staticmethod
    def check(line: Line) -> Pair:
        """Raises CorpusError for a line that is no record."""
        source, tab, output = line.text.partition(TAB)
        if not tab:
            raise CorpusError(f"{line.place}: no tab between text and output")
        if TAB in output:
            raise CorpusError(f"{line.place}: more than one tab")
        if not output:
            raise CorpusError(f"{line.place}: nothing behind the tab")
        return Pair(source, output)


class RecordTask(WindowTask):
    """Records to learn."""

    min_window = 64

    def __init__(self, coding: Coding, parts: dict[str, list[Pair]], fingerprint: str, notices: list[str]) -> None:
        super().__init__(parts, coding.records, fingerprint, notices)
        self.defaults, self.coding = coding.defaults, coding

    @classmethod
    def read(cls, kind: type[Coding], config: RunConfig, start: Checkpoint | None = None) -> RecordTask:
        """From the files. Raises CorpusError, UsageError."""
        text, notices = config.data, list[str]()
        if text.val_fraction + text.test_fraction >= 1:
            raise UsageError(
                "--val-fraction and --test-fraction leave nothing to train on", "their sum must be below 1"
            )
        pairs = [kind.check(line) for line in read_lines(config.corpus, text, notices)]
        names = ", ".join(map(display_name, config.corpus))
        if not pairs:
            raise CorpusError(f"{names}: no records")
        val_file: list[Pair] = []
        if text.val_file is not None:
            val_file = [kind.check(line) for line in read_lines([text.val_file], text, notices)]
            if not val_file:
                raise CorpusError(f"{text.val_file}: no records to validate on")
        parts = deal(pairs, text, config.train.seed, notices)
        if val_file:
            parts["val"] = val_file
        if not parts["train"]:
            raise CorpusError(f"{names}: no records left to train on", "lower --val-fraction or --test-fraction")
        known = start.read_task(kind.from_dict) if start is not None and start.task["name"] == kind.name else None
        coding = kind.of([*pairs, *val_file], text, initial_vocabulary(start), known)
        return cls(coding, parts, _fingerprint(pairs, val_file), notices)

    @property
    def vocabulary_size(self) -> int:
        return len(self.coding.vocabulary)

    def describe(self) -> str:
        return f"corpus: {self.vocabulary_size} distinct characters, {self.shares()}"

    def metadata(self) -> dict[str, Any]:
        return {"name": self.coding.name, **self.coding.to_dict()}

    def architecture(self, model: ModelOptions) -> Architecture:
        return Architecture.of(model, **self.coding.sizes)

    def initial_weights(self, start: Checkpoint, architecture: Architecture, seed: int) -> dict[str, Array]:
        inputs = np.searchsorted(self.coding.vocabulary.codes, start.read_task(Vocabulary.from_dict).codes)
        outputs = None
        if start.task["name"] == self.coding.name:
            known = start.read_task(type(self.coding).from_dict)
            inputs, outputs = known.inputs_in(self.coding), known.outputs_in(self.coding)
        return transfer(start.weights, architecture, seed, inputs, outputs)

    def window_notices(self, seq_length: int) -> list[str]:
        scored, empty = self.windows("train", seq_length).shares
        windows = f"windows of {seq_length} steps: {scored:.1%} of them scored, {empty:.1%} empty"
        return [windows, *super().window_notices(seq_length)]

    def metrics(self, tally: Array) -> dict[str, Any]:
        return {"val_accuracy": float(tally[0])}

    def sample(self, checkpoint: Checkpoint, seed: int) -> str:
        return self.coding.model(checkpoint).show(self.parts["val"] or self.parts["train"])

    def test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        return self.coding.model(checkpoint).evaluate(self.parts["test"]) if self.parts["test"] else None


class RecordModel(ABC):
    """A trained model of a record task, in the hands of its user."""

    kind: ClassVar[type[Coding]]
    new_network: NewNetwork = Network  # what reads records

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for a damaged checkpoint."""
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.coding = checkpoint.read_task(self._known)
        self.vocabulary = self.coding.vocabulary
        self.flat = flatten(self.architecture.specs(), checkpoint.weights)

    def _known(self, task: dict[str, Any]) -> Any:
        coding = self.kind.from_dict(task)
        if Architecture.of(self.architecture, **coding.sizes) != self.architecture:
            raise ValueError("what it says of its task does not fit its weights")
        return coding

    def score(self, source: str, output: str) -> float:
        """Mean nats of the scored steps of a record. Raises CorpusError for what is not known."""
        records = self.coding.records([Pair(source, output)])
        return mean_loss(self.architecture, self.flat, records, self.new_network)

    @abstractmethod
    def answers(self, texts: Sequence[str]) -> list[str]:
        """The likeliest output of each text."""

    def show(self, pairs: Sequence[Pair]) -> str:
        """The first few records with the model's answers, to look at while it trains."""
        shown = pairs[:SHOWN]
        answers = self.answers([pair.source for pair in shown])
        return "\n".join(f"{pair.source} -> {answer}" for pair, answer in zip(shown, answers, strict=True))

    @abstractmethod
    def evaluate(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """What `charrnn eval` says."""

    def read(self, path: str) -> list[Pair]:
        """The records of a file. Raises CorpusError."""
        return [self.kind.check(line) for line in read_lines([path], DataOptions(), [])]


def _fingerprint(*parts: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        for pair in part:
            digest.update(f"{pair.source}\t{pair.output}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def distinct(values: Any) -> tuple[str, ...]:
    """A list of different texts, as it stands in a checkpoint. Raises ValueError."""
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError("not a list of texts")
    if len(set(values)) < len(values):
        raise ValueError("a text is listed twice")
    return tuple(values)
