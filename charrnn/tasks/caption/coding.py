"""How captions and their vectors are encoded: as the vector, the characters and a line end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions

END = "\n"
MAX_LENGTH = 10**9  # of a text, in characters


class Caption(NamedTuple):
    """A line of text. `source` is the row number of its vector."""

    source: int
    text: str


@dataclass(frozen=True, eq=False)
class CaptionCoding:
    """Encodes captions as time steps. A checkpoint stores the coding of its task."""

    vocabulary: Vocabulary
    scale: Standardizer  # of the vectors
    longest: int  # length of the longest text in the training data, in characters

    @classmethod
    def from_dict(cls, task: dict[str, Any], width: int) -> CaptionCoding:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        if task["name"] != "caption":
            raise ValueError("not a model of captions")
        vocabulary = Vocabulary.of_characters(task)
        longest = task["longest"]
        if type(longest) is not int or not 0 <= longest <= MAX_LENGTH or END not in vocabulary:
            raise ValueError("invalid length of the longest text")
        return cls(vocabulary, Standardizer.from_dict(task["features"], width), longest)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": "caption",
            **self.vocabulary.to_dict(),
            "features": self.scale.to_dict(),
            "longest": self.longest,
        }

    def architecture(self, model: ModelOptions) -> Architecture:
        size = len(self.vocabulary)
        return Architecture.from_options(model, input_size=size, features=len(self.scale.mean), output_size=size)

    def records(self, captions: Sequence[Caption], vectors: Array, *, skip_unknown: bool = False) -> Records:
        """Encodes each caption as a record.

        For the text `ab`, the inputs are <vector> a b and the targets are a b <line end>. The first input has the id of
        the line end, but the network reads the vector instead.
        """
        end = self.vocabulary.encode(END)
        texts = [
            np.concatenate([end, self.vocabulary.encode(caption.text, skip_unknown=skip_unknown), end])
            for caption in captions
        ]
        nothing = np.empty(0, end.dtype)
        x = np.concatenate([nothing, *(text[:-1] for text in texts)])
        targets = np.concatenate([nothing, *(text[1:] for text in texts)])
        starts = np.cumsum([0, *(len(text) - 1 for text in texts)])
        chosen = np.array([caption.source for caption in captions], np.int64)
        return Records(x, targets, np.ones(len(x), bool), starts, features=self.scale.apply(vectors, chosen))
