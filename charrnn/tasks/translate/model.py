"""Many to many, encoder-decoder: a language model over `source TAB target` that is scored only behind the tab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.records import TAB, Coding, Pair, RecordModel
from charrnn.tasks.scoring import mean_loss
from charrnn.tasks.translate.decoding import Decoder

END = "\n"


@dataclass(frozen=True, eq=False)
class Pairs(Coding):
    """The characters of sources and targets, and how long a target may become."""

    name = "translate"

    vocabulary: Vocabulary
    longest: int  # target that training has seen, in characters

    @classmethod
    def of(cls, pairs: Sequence[Pair], data: DataOptions, learnt: Vocabulary | None = None, known: Any = None) -> Pairs:
        vocabulary = Vocabulary.of_texts([TAB, END, *(part for pair in pairs for part in pair)], learnt)
        longest = max(len(pair.output) for pair in pairs)
        return cls(vocabulary, longest if known is None else max(longest, known.longest))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Pairs:
        vocabulary, longest = Vocabulary.of_characters(task), task["longest"]
        if type(longest) is not int or not 0 < longest <= 10**9:
            raise ValueError("the length of its longest target is none")
        if not vocabulary.knows(TAB) or not vocabulary.knows(END):
            raise ValueError("its vocabulary has no tab or no line feed")
        return cls(vocabulary, longest)

    def to_dict(self) -> dict[str, Any]:
        return {**self.vocabulary.to_dict(), "longest": self.longest}

    @property
    def output_size(self) -> int:
        return len(self.vocabulary)

    def outputs_in(self, other: Pairs) -> Array:
        return np.searchsorted(other.vocabulary.codes, self.vocabulary.codes)

    @staticmethod
    def model(checkpoint: Checkpoint) -> Translator:
        return Translator(checkpoint)

    def source_ids(self, source: str, *, skip_unknown: bool = False) -> Array:
        """A source and the tab behind it."""
        return self.vocabulary.encode(source + TAB, skip_unknown=skip_unknown)

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        sources = [self.source_ids(pair.source, skip_unknown=skip_unknown) for pair in pairs]
        targets = [self.vocabulary.encode(pair.output + END, skip_unknown=skip_unknown) for pair in pairs]
        lengths = [len(s) + len(t) - 1 for s, t in zip(sources, targets, strict=True)]
        starts = np.cumsum([0, *lengths])
        whole = [np.concatenate(parts) for parts in zip(sources, targets, strict=True)]
        weights = np.ones(starts[-1], bool)
        for start, source in zip(starts[:-1].tolist(), sources, strict=True):
            weights[start : start + len(source) - 1] = False
        nothing = np.empty(0, np.uint8)
        x = np.concatenate([nothing, *(record[:-1] for record in whole)])
        y = np.concatenate([nothing, *(record[1:] for record in whole)])
        return Records(x, y, weights, starts)


class Translator(RecordModel):
    """A trained translator."""

    kind = Pairs

    def predict(
        self, sources: Sequence[str], *, beam: int = 4, top: int = 1, skip_unknown: bool = False
    ) -> list[list[tuple[str, float]]]:
        """The likeliest targets of each source that a beam search finds, with their log probabilities, best first."""
        ids = [self.coding.source_ids(source, skip_unknown=skip_unknown) for source in sources]
        found = self._decoder().search(ids, beam=max(beam, top), limit=self._limit())
        decode = self.vocabulary.decode
        return [[(decode(target), nats) for target, nats in each[:top]] for each in found]

    def draw(
        self, sources: Sequence[str], config: SamplingOptions, seed: int, *, skip_unknown: bool = False
    ) -> list[tuple[str, float]]:
        """A target of each source drawn from the model, with its log probability; source k has a generator of its own,
        keyed by (seed, k)."""
        ids = [self.coding.source_ids(source, skip_unknown=skip_unknown) for source in sources]
        uniforms = [np.random.default_rng((seed, k)).random for k in range(len(ids))]
        drawn = self._decoder().draw(ids, config, uniforms, limit=self._limit())
        return [(self.vocabulary.decode(target), nats) for target, nats in drawn]

    def _decoder(self) -> Decoder:
        return Decoder(self.checkpoint, end=int(self.vocabulary.encode(END)[0]))

    def _limit(self) -> int:
        """Characters after which a target is broken off."""
        return 2 * int(self.coding.longest) + 10

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [best for ((best, _), *_) in self.predict(texts, beam=1)]

    def evaluate(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """records, chars, loss, exact (share of sources), cer: edit distance over the reference's length. Several
        lines with one source are alternatives, of which the nearest counts."""
        references: dict[str, list[str]] = {}
        for pair in pairs:
            references.setdefault(pair.source, []).append(pair.output)
        answers = self.predict(list(references), skip_unknown=skip_unknown)
        exact, errors, chars = 0, 0, 0
        for ((answer, _), *_), alternatives in zip(answers, references.values(), strict=True):
            distances = [(edit_distance(answer, reference), -len(reference)) for reference in alternatives]
            errors, chars = errors + min(distances)[0], chars - min(distances)[1]
            exact += answer in alternatives
        scored = self.coding.records(pairs, skip_unknown=True)
        return {
            "records": len(references),
            "chars": chars,
            "loss": mean_loss(self.architecture, self.flat, scored, self.new_network),
            "exact": exact / len(references),
            "cer": errors / max(1, chars),
        }


def edit_distance(one: str, other: str) -> int:
    """How many characters must be inserted, deleted or replaced (Levenshtein 1966)."""
    row: list[int] = [*range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + int(a != b))
    return int(row[-1])
