"""How labelled texts are encoded: as the characters of the text and a tab. Only the tab has a target, the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, format_count
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.records import SHOWN_NAMES, TAB, Coding, Pair, describe_counts, parse_names

SWAPPED = "if the label comes before the text, use --columns 2,1"


@dataclass(frozen=True, eq=False)
class LabelCoding(Coding):
    """The vocabulary of the texts, and the labels."""

    name = "classify"
    defaults = TaskDefaults(cell="gru", max_weights_per_symbol=0.05, chrono_init=True)

    vocabulary: Vocabulary
    labels: tuple[str, ...]  # in code-point order

    @classmethod
    def from_records(
        cls, pairs: Sequence[Pair], data: DataOptions, vocabulary: Vocabulary | None = None, source: Any = None
    ) -> LabelCoding:
        labels = {pair.output for pair in pairs}
        if source is not None:
            labels |= set(source.labels)
        if len(labels) < 2:
            raise CorpusError(f"only one label: {labels.pop()!r}", "at least two are needed")
        if len(labels) >= len(pairs) > 2:
            problem = f"{format_count(len(labels), 'label')} for {format_count(len(pairs), 'record')}"
            raise CorpusError(problem, SWAPPED)
        vocabulary = Vocabulary.of_texts([TAB, *(pair.source for pair in pairs)], vocabulary, data.normalize)
        return cls(vocabulary, tuple(sorted(labels)))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> LabelCoding:
        return cls(Vocabulary.of_characters(task), parse_names(task["labels"]))

    def to_dict(self) -> dict[str, Any]:
        return {**self.vocabulary.to_dict(), "labels": list(self.labels)}

    @property
    def output_size(self) -> int:
        return len(self.labels)

    def outputs_in(self, other: LabelCoding) -> Array:
        return np.array([other.labels.index(label) for label in self.labels])

    def describe_outputs(self, pairs: Sequence[Pair]) -> str:
        return describe_counts("labels", Counter(pair.output for pair in pairs))

    def output_notices(self, pairs: Sequence[Pair]) -> list[str]:
        counts = Counter(pair.output for pair in pairs)
        similar: dict[str, list[str]] = {}
        for label in counts:
            similar.setdefault("".join(label.split()).casefold(), []).append(label)
        groups = [group for group in similar.values() if len(group) > 1]
        notices = []
        if groups:
            shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:SHOWN_NAMES])
            notices.append(f"warning: labels that differ only in blanks or case are different labels: {shown}")
        single = [label for label, number in counts.items() if number == 1]
        if 2 * len(counts) > len(pairs):
            notices.append(f"warning: {len(counts):,} labels for {len(pairs):,} records; {SWAPPED}")
        elif single:
            shown = ", ".join(map(repr, single[:SHOWN_NAMES])) + (", ..." if len(single) > SHOWN_NAMES else "")
            notices.append(f"warning: {len(single):,} of {len(counts):,} labels occur only once: {shown}")
        return notices

    def label_ids(self, pairs: Sequence[Pair]) -> Array:
        """The indices of the labels (R,); -1 for a label that was not in the training data."""
        ids = {label: n for n, label in enumerate(self.labels)}
        return np.array([ids.get(pair.output, -1) for pair in pairs])

    def check_output(self, pair: Pair) -> None:
        if pair.output not in self.labels:
            raise CorpusError(f"the label {pair.output!r} was not in the training data")

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        texts = [self.vocabulary.encode(pair.source + TAB, skip_unknown=skip_unknown) for pair in pairs]
        starts = np.cumsum([0, *map(len, texts)])
        tabs = starts[1:] - 1
        loss_mask = np.zeros(starts[-1], bool)
        loss_mask[tabs] = True
        targets = np.zeros(starts[-1], np.uint32)
        targets[tabs] = self.label_ids(pairs).clip(0)
        return Records(np.concatenate([np.empty(0, np.uint8), *texts]), targets, loss_mask, starts)
