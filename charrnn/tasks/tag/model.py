"""Many to many, aligned: a tag for each character. It is told `delay` steps later, when the network has read on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.lines import Line
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.options import DataOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.records import TAB, Coding, Pair, RecordModel, distinct
from charrnn.tasks.scoring import scored_outputs
from charrnn.tasks.tag.ngrams import Strings
from charrnn.tasks.tag.symbols import LONGEST, Grams

DELAY = 5  # at most, where --delay does not say
COUNTED = 1 << 22  # steps at most, to see which symbols and strings there are
UNTAGGED = "?"  # stands for the tag of a character that the model does not know


@dataclass(frozen=True, eq=False)
class Tags(Coding):
    """The symbols of the texts, the tags, and how many steps a tag comes after its character."""

    name = "tag"
    defaults = TaskDefaults(embedding_size=64, max_weights_per_symbol=0.5, weight_decay=0.15, dropout=0.4)

    vocabulary: Vocabulary
    grams: Grams  # what a step reads: a character, often with those before it
    strings: Strings  # what adds to a tag directly: what stands around its character
    tags: str  # in code-point order
    delay: int

    @classmethod
    def of(cls, pairs: Sequence[Pair], data: DataOptions, learnt: Vocabulary | None = None, known: Any = None) -> Tags:
        tags = {tag for pair in pairs for tag in pair.output}
        vocabulary = Vocabulary.of_texts([TAB, *(pair.source for pair in pairs)], learnt)
        delay = data.delay
        if known is not None:
            tags |= set(known.tags)
            delay = known.delay if delay is None else delay
        if len(tags) < 2:
            raise CorpusError(f"only one tag: {tags.pop()!r}", "it takes two to tell apart")
        if delay is None:
            delay = min(DELAY, max(len(pair.source) for pair in pairs) - 1)
        edge = int(vocabulary.encode(TAB)[0])
        if known is None:
            ends = np.cumsum([len(pair.source) + delay for pair in pairs])
            steps = _steps(vocabulary, pairs[: int(np.searchsorted(ends, COUNTED)) + 1], delay)
            grams = Grams.of(vocabulary, edge, *steps)
            strings = Strings.of(vocabulary, edge, delay, *steps)
        else:  # what a model knows stays: a run goes on as it was, whatever would be counted today
            grams = Grams(vocabulary, edge, known.grams.longer)
            strings = known.strings.of_more(vocabulary, edge, delay)
        return cls(vocabulary, grams, strings, "".join(sorted(tags)), delay)

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Tags:
        tags, delay = distinct(task["labels"]), task["delay"]
        if any(len(tag) != 1 for tag in tags) or type(delay) is not int or not 0 <= delay <= 10**6:
            raise ValueError("its tags or its delay are none")
        vocabulary, longer = Vocabulary.of_characters(task), task.get("grams", [])  # older ones have none
        if not vocabulary.knows(TAB):
            raise ValueError("its vocabulary has no tab")
        edge = int(vocabulary.encode(TAB)[0])
        grams = Grams(vocabulary, edge, distinct(longer) if longer else ())
        if any(not 2 <= len(text) <= LONGEST or not all(map(vocabulary.knows, text)) for text in grams.longer):
            raise ValueError("its symbols are none")
        strings = Strings.from_list(vocabulary, edge, delay, task.get("strings", []))
        return cls(vocabulary, grams, strings, "".join(tags), delay)

    def to_dict(self) -> dict[str, Any]:
        words = {"labels": list(self.tags), "delay": self.delay, "grams": list(self.grams.longer)}
        if self.strings.texts:
            words["strings"] = list(self.strings.texts)
        return {**self.vocabulary.to_dict(), **words}

    @staticmethod
    def check(line: Line) -> Pair:
        pair = Coding.check(line)
        if len(pair.source) != len(pair.output):
            what = f"{line.place}: {len(pair.source)} characters and {len(pair.output)} tags"
            raise CorpusError(what, "each character has one")
        return pair

    @property
    def input_size(self) -> int:
        return len(self.grams)

    @property
    def output_size(self) -> int:
        return len(self.tags)

    @property
    def sizes(self) -> dict[str, int]:
        return {**super().sizes, "direct_size": self.strings.size, "direct_at_once": self.strings.at_once}

    def inputs_in(self, other: Tags) -> Array:
        return np.append(super().inputs_in(other), other.grams.ids_of(self.grams.longer))

    def outputs_in(self, other: Tags) -> Array:
        return np.array([other.tags.index(tag) for tag in self.tags])

    @staticmethod
    def model(checkpoint: Checkpoint) -> Tagger:
        return Tagger(checkpoint)

    def tag_ids(self, pairs: Sequence[Pair]) -> Array:
        """The tags' places, of all records end to end; -1 for one that training never saw."""
        places = {tag: n for n, tag in enumerate(self.tags)}
        return np.array([places.get(tag, -1) for pair in pairs for tag in pair.output], np.int64)

    def known_part(self, pair: Pair) -> Pair:
        """What is left of a record without the characters that are not known."""
        known = [self.vocabulary.knows(character) for character in pair.source]
        kept = [(c, t) for c, t, is_known in zip(pair.source, pair.output, known, strict=True) if is_known]
        return Pair("".join(c for c, _ in kept), "".join(t for _, t in kept))

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        if skip_unknown:
            pairs = [self.known_part(pair) for pair in pairs]
        ids, starts = _steps(self.vocabulary, pairs, self.delay)
        weights = np.ones(starts[-1], bool)
        for start in starts[:-1].tolist():
            weights[start : start + self.delay] = False
        targets = np.zeros(starts[-1], np.uint32)
        targets[weights] = self.tag_ids(pairs).clip(0)
        levels = self.grams.levels(ids, starts)
        strings = self.strings.found(ids, starts) if self.strings.texts else None
        return Records(levels[-1], targets, weights, starts, levels=levels, lag=self.delay, strings=strings)


def _steps(vocabulary: Vocabulary, pairs: Sequence[Pair], delay: int) -> tuple[Array, Array]:
    """The ids of the records' characters, each with `delay` tabs behind it, and where each begins and the last ends."""
    texts = [vocabulary.encode(pair.source + TAB * delay) for pair in pairs]
    return np.concatenate([np.empty(0, np.uint8), *texts]), np.cumsum([0, *map(len, texts)])


class Tagger(RecordModel):
    """A trained tagger."""

    kind = Tags

    def predict(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[str]:
        """The likeliest tags of each text, one a character."""
        pairs = [Pair(text, UNTAGGED * len(text)) for text in texts]
        records = self.coding.records(pairs, skip_unknown=skip_unknown)
        logits = scored_outputs(self.architecture, self.flat, records, self.new_network)
        tags = iter([self.coding.tags[n] for n in logits.argmax(axis=1).tolist()])
        knows = self.coding.vocabulary.knows
        return ["".join(next(tags) if knows(c) else UNTAGGED for c in text) for text in texts]

    def answers(self, texts: Sequence[str]) -> list[str]:
        return self.predict(texts)

    def evaluate(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """records, chars, loss, accuracy (of a character), record_accuracy (of a text's tags all together)."""
        if skip_unknown:
            pairs = [self.coding.known_part(pair) for pair in pairs]
        logits = scored_outputs(self.architecture, self.flat, self.coding.records(pairs), self.new_network)
        true = self.coding.tag_ids(pairs)
        right, known = logits.argmax(axis=1) == true, true >= 0
        nats, _ = cross_entropy_forward(logits[known], true[known])
        ends = np.cumsum([len(pair.source) for pair in pairs])
        wrong = np.diff(np.concatenate([[0], np.cumsum(~right)])[np.concatenate([[0], ends])])
        return {
            "records": len(pairs),
            "chars": len(true),
            "loss": float(nats.mean(dtype=np.float64)) if len(nats) else None,
            "accuracy": float(right.mean()) if len(right) else None,
            "record_accuracy": float((wrong == 0).mean()),
        }
