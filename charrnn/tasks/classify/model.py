"""Many to one: a text's class. The label is told, and asked for, at the tab behind the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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


@dataclass(frozen=True, eq=False)
class Classes(Coding):
    """The characters of the texts, and the labels."""

    name = "classify"
    defaults = TaskDefaults(cell="gru", max_weights_per_symbol=0.05, chrono_init=True)

    vocabulary: Vocabulary
    labels: tuple[str, ...]  # in alphabetical order

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], data: DataOptions, learnt: Vocabulary | None = None, known: Any = None
    ) -> Classes:
        labels = {pair.output for pair in pairs}
        vocabulary = Vocabulary.of_texts([TAB, *(pair.source for pair in pairs)], learnt)
        if known is not None:
            labels |= set(known.labels)
        if len(labels) < 2:
            raise CorpusError(f"only one class: {labels.pop()!r}", "it takes two to tell apart")
        if len(labels) >= len(pairs) > 2:
            raise CorpusError(
                f"{len(labels)} classes for {len(pairs)} records", "are text and label the right way round?"
            )
        return cls(vocabulary, tuple(sorted(labels)))

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> Classes:
        return cls(Vocabulary.of_characters(task), distinct(task["labels"]))

    def to_dict(self) -> dict[str, Any]:
        return {**self.vocabulary.to_dict(), "labels": list(self.labels)}

    @property
    def output_size(self) -> int:
        return len(self.labels)

    def outputs_in(self, other: Classes) -> Array:
        return np.array([other.labels.index(label) for label in self.labels])

    @staticmethod
    def model(checkpoint: Checkpoint) -> Classifier:
        return Classifier(checkpoint)

    def label_ids(self, pairs: Sequence[Pair]) -> Array:
        """The labels' places (R,); -1 for one that training never saw."""
        places = {label: n for n, label in enumerate(self.labels)}
        return np.array([places.get(pair.output, -1) for pair in pairs])

    def records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> Records:
        texts = [self.vocabulary.encode(pair.source + TAB, skip_unknown=skip_unknown) for pair in pairs]
        starts = np.cumsum([0, *map(len, texts)])
        weights = np.zeros(starts[-1], bool)
        weights[starts[1:] - 1] = True
        targets = np.zeros(starts[-1], np.uint32)
        targets[starts[1:] - 1] = self.label_ids(pairs).clip(0)
        return Records(np.concatenate([np.empty(0, np.uint8), *texts]), targets, weights, starts)


class Classifier(RecordModel):
    """A trained classifier."""

    kind = Classes

    def probabilities(self, texts: Sequence[str], *, skip_unknown: bool = False) -> Array:
        """Of each label (R, V)."""
        records = self.coding.records([Pair(text, "") for text in texts], skip_unknown=skip_unknown)
        logits = scored_outputs(self.architecture, self.flat, records, self.new_network)
        return cross_entropy_forward(logits, np.zeros(len(logits), int))[1]

    def predict(
        self, texts: Sequence[str], *, top: int = 1, skip_unknown: bool = False
    ) -> list[list[tuple[str, float]]]:
        """The likeliest labels of each text with their probabilities, the likeliest first."""
        found = []
        for row in self.probabilities(texts, skip_unknown=skip_unknown):
            best = np.argsort(-row, kind="stable")[:top]
            found.append([(self.coding.labels[n], float(row[n])) for n in best])
        return found

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [best for ((best, _), *_) in self.predict(texts)]

    def evaluate(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """records, loss, accuracy, macro_f1, labels, confusion (rows: the true label; columns: the predicted one).

        A label that training never saw counts as wrong; it has a row, no column, and no part in the loss.
        """
        labels = self.coding.labels
        records = self.coding.records(pairs, skip_unknown=skip_unknown)
        logits = scored_outputs(self.architecture, self.flat, records, self.new_network)
        true, chosen = self.coding.label_ids(pairs), logits.argmax(axis=1)
        known = true >= 0
        nats, _ = cross_entropy_forward(logits[known], true[known])
        strangers = sorted({pair.output for pair, is_known in zip(pairs, known.tolist(), strict=True) if not is_known})
        rows = [*labels, *strangers]
        confusion = np.zeros((len(rows), len(labels)), int)
        for pair, n in zip(pairs, chosen.tolist(), strict=True):
            confusion[rows.index(pair.output), n] += 1
        right = np.append(np.diag(confusion), np.zeros(len(strangers), int))
        predicted = np.append(confusion.sum(axis=0), np.zeros(len(strangers), int))
        there = confusion.sum(axis=1)
        f1 = 2 * right / np.maximum(1, there + predicted)
        return {
            "records": len(pairs),
            "loss": float(nats.mean(dtype=np.float64)) if len(nats) else None,
            "accuracy": float((true == chosen).mean()),
            "macro_f1": float(f1[there > 0].mean()),
            "labels": rows,
            "confusion": confusion.tolist(),
        }
