"""Encodes the records of a task with an encoder and a decoder. A checkpoint stores the coding of its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from charrnn.corpus.pairs import SourceRecords
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.encoder_decoder.symbols import END, Symbols

# Chosen by experiments on the pronunciations of 800 and 8,000 words; see tests/benchmarks/README.md.
DEFAULTS = TaskDefaults(
    cell="gru",
    learning_rate_scale=0.375,
    schedule="cosine",
    keep_best="accuracy",
    recurrent_dropout_scale=0,
    max_weights_per_symbol=20,
)
MAX_TARGET_LENGTH = 10**9  # of a target, in symbols


class SourceRecord(NamedTuple):
    """A record: a source, and its target text."""

    source: Any  # a text, or a Matrix
    target: str


class SourceCoding(ABC):
    """The common part of all codings: the target's symbols, and the length of the longest target."""

    name: ClassVar[str]
    defaults: ClassVar[TaskDefaults]
    target: Symbols
    longest: int  # length of the longest target in the training data, in symbols

    @abstractmethod
    def encode_source(self, source: Any, *, skip_unknown: bool = False) -> Array:
        """A source -> ids (S,) or numbers (S, D), S at least 1. Raises CorpusError if it cannot be encoded."""

    def unknown_symbols(self, source: Any) -> list[tuple[int, str]]:
        """The position and the description of each symbol of a source that is not in the vocabulary."""
        return []

    def has_known(self, source: Any) -> bool:
        """Whether a source contains anything that the encoder can read. Otherwise it has no answer."""
        return True

    @abstractmethod
    def source_labels(self, source: Any) -> list[str]:
        """A label for each step of `encode_source`."""

    @property
    @abstractmethod
    def source_sizes(self) -> dict[str, Any]:
        """The fields `source` and `source_size` of Architecture."""

    @abstractmethod
    def describe(self) -> str:
        """Describes the sources and the targets for the user."""

    def source_ids_in(self, other: Any) -> Array:
        """Returns the id of each source symbol in another coding that includes all of them.

        Only sources of symbols support this.
        """
        raise NotImplementedError

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns the metadata for a checkpoint."""

    def architecture(self, model: ModelOptions) -> Architecture:
        size = self.target.size
        return Architecture.from_options(model, input_size=size, output_size=size, **self.source_sizes)

    def records(self, records: Sequence[SourceRecord], *, skip_unknown: bool = False) -> SourceRecords:
        """Encodes records. Raises CorpusError for an unknown symbol."""
        return SourceRecords(
            sources=[self.encode_source(record.source, skip_unknown=skip_unknown) for record in records],
            targets=[self.target.encode(record.target, skip_unknown=skip_unknown) for record in records],
            end=END,
        )


def parse_longest(task: dict[str, Any]) -> int:
    """The length of the longest target, from the metadata of a checkpoint. Raises KeyError or ValueError."""
    longest = task["longest"]
    if type(longest) is not int or not 0 < longest <= MAX_TARGET_LENGTH:
        raise ValueError("invalid length of the longest target in the checkpoint")
    return longest


def append_end(ids: Array) -> Array:
    """Appends END to the ids of a source text, so that no source is empty."""
    return np.append(ids, END).astype(np.uint32)
