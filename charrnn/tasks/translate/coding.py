"""How pairs of texts are encoded: as source, tab, target, line end. Only the characters after the tab are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.tasks.records import TAB, Coding, Pair

END = "\n"
MAX_LENGTH = 10**9  # of a target, in characters


@dataclass(frozen=True, eq=False)
class PairCoding(Coding):
    """The vocabulary of sources and targets, and the length of the longest target."""

    name = "translate"

    vocabulary: Vocabulary
    longest: int  # length of the longest target in the training data, in characters

    @classmethod
    def from_records(
        cls, pairs: Sequence[Pair], data: DataOptions, vocabulary: Vocabulary | None = None, source: Any = None
    ) -> PairCoding:
        vocabulary = Vocabulary.of_texts([TAB, END, *(text for pair in pairs for text in pair)], vocabulary)
        longest = max(len(pair.output) for pair in pairs)
        return cls(vocabulary, longest if source is None else max(longest, source.longest))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> PairCoding:
        vocabulary = Vocabulary.of_characters(task)
        longest = task["longest"]
        if type(longest) is not int or not 0 < longest <= MAX_LENGTH:
            raise ValueError("invalid length of the longest target in the checkpoint")
        if TAB not in vocabulary or END not in vocabulary:
            raise ValueError("the vocabulary in the checkpoint has no tab or no line feed")
        return cls(vocabulary, longest)

    def to_dict(self) -> dict[str, Any]:
        return {**self.vocabulary.to_dict(), "longest": self.longest}

    @property
    def output_size(self) -> int:
        return len(self.vocabulary)

    def outputs_in(self, other: PairCoding) -> Array:
        return np.searchsorted(other.vocabulary.codes, self.vocabulary.codes)

    def source_ids(self, source: str, *, skip_unknown: bool = False) -> Array:
        """The ids of a source and the tab after it."""
        return self.vocabulary.encode(source + TAB, skip_unknown=skip_unknown)

    def check_output(self, pair: Pair) -> None:
        self.vocabulary.encode(pair.output)

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        sources = [self.source_ids(pair.source, skip_unknown=skip_unknown) for pair in pairs]
        targets = [self.vocabulary.encode(pair.output + END, skip_unknown=skip_unknown) for pair in pairs]
        texts = [np.concatenate(parts) for parts in zip(sources, targets, strict=True)]
        starts = np.cumsum([0, *(len(text) - 1 for text in texts)])
        loss_mask = np.ones(starts[-1], bool)
        for start, source in zip(starts[:-1].tolist(), sources, strict=True):
            # The source ends with the tab, which is scored: it predicts the first character of the target.
            loss_mask[start : start + len(source) - 1] = False
        nothing = np.empty(0, np.uint8)
        x = np.concatenate([nothing, *(text[:-1] for text in texts)])
        y = np.concatenate([nothing, *(text[1:] for text in texts)])
        return Records(x, y, loss_mask, starts)
