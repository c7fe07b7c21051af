"""How tagged texts are encoded: as the characters of the text and `delay` tabs.

The tag of a character is the target of the step `delay` steps later. Therefore the network has read the `delay`
characters that follow before it predicts the tag.
With a delay of 2, the text `abc` with the tags `x.y` becomes

    inputs   a  b  c  <TAB>  <TAB>
    targets  -  -  x  .      y        (- is not scored)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.record_files import TextRecord
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Augment, Records
from charrnn.errors import CorpusError, format_count
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.records import TAB, Coding, Pair, describe_counts, parse_names
from charrnn.tasks.tag.ngrams import NgramFeatures
from charrnn.tasks.tag.symbols import MAX_LENGTH, InputSymbols

DEFAULT_DELAY = 5  # steps; less if no text is that long
MAX_DELAY = 10**6
COUNTED_STEPS = 1 << 22  # symbols and n-grams are counted in about this many steps at the start of the data
NGRAM_SHARE = 0.6  # share of the n-gram head in new networks; a checkpoint stores its own share
SHORTER_SYMBOLS = 0.5  # fraction of training steps that read a shorter symbol than the longest one


@dataclass(frozen=True, eq=False)
class TagCoding(Coding):
    """The vocabulary, input symbols and n-grams of the texts, the tags and the delay."""

    name = "tag"
    defaults = TaskDefaults(embedding_size=64, max_weights_per_symbol=0.5, weight_decay=0.15, dropout_scale=0.4)

    vocabulary: Vocabulary
    symbols: InputSymbols
    ngrams: NgramFeatures
    tags: str  # in code-point order
    delay: int

    @classmethod
    def from_records(
        cls, pairs: Sequence[Pair], data: DataOptions, vocabulary: Vocabulary | None = None, source: Any = None
    ) -> TagCoding:
        tags = {tag for pair in pairs for tag in pair.output}
        delay = data.delay
        if source is not None:
            tags |= set(source.tags)
            delay = source.delay if delay is None else delay
        if len(tags) < 2:
            raise CorpusError(f"only one tag: {tags.pop()!r}", "at least two are needed")
        if delay is None:
            delay = min(DEFAULT_DELAY, max(len(pair.source) for pair in pairs) - 1)
        vocabulary = Vocabulary.of_texts([TAB, *(pair.source for pair in pairs)], vocabulary)
        edge = int(vocabulary.encode(TAB)[0])
        if source is None:
            ends = np.cumsum([len(pair.source) + delay for pair in pairs])
            counted = pairs[: int(np.searchsorted(ends, COUNTED_STEPS)) + 1]
            ids, starts = _join_texts(vocabulary, counted, delay)
            symbols = InputSymbols.from_records(vocabulary, edge, ids, starts)
            ngrams = NgramFeatures.from_records(vocabulary, edge, delay, ids, starts)
        else:  # the parameters of the other model belong to its symbols and n-grams
            symbols = InputSymbols(vocabulary, edge, source.symbols.longer)
            ngrams = source.ngrams.with_vocabulary(vocabulary, edge, delay)
        return cls(vocabulary, symbols, ngrams, "".join(sorted(tags)), delay)

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> TagCoding:
        tags = parse_names(task["labels"])
        delay = task["delay"]
        if any(len(tag) != 1 for tag in tags) or type(delay) is not int or not 0 <= delay <= MAX_DELAY:
            raise ValueError("invalid tags or delay in the checkpoint")
        vocabulary = Vocabulary.of_characters(task)
        if TAB not in vocabulary:
            raise ValueError("the vocabulary in the checkpoint has no tab")
        edge = int(vocabulary.encode(TAB)[0])
        longer = parse_names(task["symbols"]) if task["symbols"] else ()
        for text in longer:
            if not 2 <= len(text) <= MAX_LENGTH or not all(character in vocabulary for character in text):
                raise ValueError("invalid input symbols in the checkpoint")
        symbols = InputSymbols(vocabulary, edge, longer)
        ngrams = NgramFeatures.from_list(vocabulary, edge, delay, task["ngrams"])
        return cls(vocabulary, symbols, ngrams, "".join(tags), delay)

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.vocabulary.to_dict(),
            "labels": list(self.tags),
            "delay": self.delay,
            "symbols": list(self.symbols.longer),
            "ngrams": list(self.ngrams.texts),
        }

    @staticmethod
    def parse(record: TextRecord) -> Pair:
        pair = Coding.parse(record)
        _check_lengths(pair, f"{record.place}: ")
        return pair

    @property
    def input_size(self) -> int:
        return len(self.symbols)

    @property
    def output_size(self) -> int:
        return len(self.tags)

    @property
    def sizes(self) -> dict[str, Any]:
        return {
            **super().sizes,
            "ngram_size": self.ngrams.size,
            "ngrams_per_step": self.ngrams.per_character,
            "ngram_share": NGRAM_SHARE,
        }

    def inputs_in(self, other: TagCoding, source: Checkpoint) -> Array:
        return np.append(super().inputs_in(other, source), other.symbols.ids_of(self.symbols.longer))

    def outputs_in(self, other: TagCoding) -> Array:
        return np.array([other.tags.index(tag) for tag in self.tags])

    def check_output(self, pair: Pair) -> None:
        _check_lengths(pair)
        unknown = sorted(set(pair.output) - set(self.tags))
        if unknown:
            raise CorpusError(f"the tag {unknown[0]!r} was not in the training data")

    def describe_outputs(self, pairs: Sequence[Pair]) -> str:
        return describe_counts("tags", Counter(tag for pair in pairs for tag in pair.output))

    def tag_ids(self, pairs: Sequence[Pair]) -> Array:
        """The indices of the tags of all records, concatenated; -1 for a tag that was not in the training data."""
        ids = {tag: n for n, tag in enumerate(self.tags)}
        return np.array([ids.get(tag, -1) for pair in pairs for tag in pair.output], np.int64)

    def without_unknown(self, pair: Pair) -> Pair:
        """The record without characters that are not in the vocabulary, and without their tags."""
        kept = [(c, tag) for c, tag in zip(pair.source, pair.output, strict=True) if c in self.vocabulary]
        return Pair("".join(c for c, _ in kept), "".join(tag for _, tag in kept))

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        if skip_unknown:
            pairs = [self.without_unknown(pair) for pair in pairs]
        ids, starts = _join_texts(self.vocabulary, pairs, self.delay)
        loss_mask = np.ones(starts[-1], bool)
        for start in starts[:-1].tolist():
            loss_mask[start : start + self.delay] = False
        targets = np.zeros(starts[-1], np.uint32)
        targets[loss_mask] = self.tag_ids(pairs).clip(0)
        levels = self.symbols.levels(ids, starts)
        return Records(
            levels[-1], targets, loss_mask, starts, target_delay=self.delay, augment=self._augment(levels, ids, starts)
        )

    def _augment(self, levels: Array, ids: Array, starts: Array) -> Augment:
        """Returns a function that adds n-grams to a batch.

        In training, the function also makes some steps read shorter symbols, so that all symbols are learned.
        """
        located = self.ngrams.locate(ids, starts)

        def augment(batch: Batch, places: Array, rng: np.random.Generator | None) -> Batch:
            x = batch.x
            if rng is not None:
                longest = len(levels) - 1
                is_shorter = rng.random(places.shape) < SHORTER_SYMBOLS
                level = np.where(is_shorter, rng.integers(0, longest, places.shape), longest)
                x = levels[level, places]
            return replace(batch, x=x, ngrams=located.features(places))

        return augment


def _check_lengths(pair: Pair, place: str = "") -> None:
    if len(pair.source) != len(pair.output):
        problem = f"{place}{format_count(len(pair.source), 'character')} and {format_count(len(pair.output), 'tag')}"
        raise CorpusError(problem, "each character needs one tag")


def _join_texts(vocabulary: Vocabulary, pairs: Sequence[Pair], delay: int) -> tuple[Array, Array]:
    """The ids (N,) of all texts, each followed by `delay` tabs, and the starts (R + 1,) of the records."""
    texts = [vocabulary.encode(pair.source + TAB * delay) for pair in pairs]
    return np.concatenate([np.empty(0, np.uint8), *texts]), np.cumsum([0, *map(len, texts)])
