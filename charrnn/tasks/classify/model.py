"""A trained classifier of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.records import Pair, RecordModel
from charrnn.tasks.scoring import scored_outputs


class Classifier(RecordModel):
    """Predicts a label for a text."""

    coding_class = LabelCoding
    prediction_options = ("top",)

    def probabilities(self, texts: Sequence[str], *, skip_unknown: bool = False) -> Array:
        """The probability of each label for each text (R, V)."""
        records = self.coding.records([Pair(text, "") for text in texts], skip_unknown=skip_unknown)
        logits = scored_outputs(self, records)
        return cross_entropy_forward(logits, np.zeros(len(logits), int))[1]

    def rank(self, texts: Sequence[str], *, top: int = 1, skip_unknown: bool = False) -> list[list[tuple[str, float]]]:
        """The `top` most likely labels of each text with their probabilities, in descending order."""
        answers = []
        for row in self.probabilities(texts, skip_unknown=skip_unknown):
            best = np.argsort(-row, kind="stable")[:top]
            answers.append([(self.coding.labels[n], float(row[n])) for n in best])
        return answers

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        answers = []
        for ranked in self.rank(texts, top=options.top or 1, skip_unknown=options.skip_unknown):
            label, probability = ranked[0]
            answers.append({"label": label, "probability": probability, **options.top_field(ranked)})
        return answers

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [best for ((best, _), *_) in self.rank(texts)]

    def evaluate_records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """Returns a dict of `records`, `loss`, `accuracy`, `macro_f1`, `labels` and `confusion`.

        `confusion` has a row for each true label and a column for each predicted label. A label that was not in the
        training data counts as wrong. It has a row but no column, and is not included in the loss.
        """
        labels = self.coding.labels
        logits = scored_outputs(self, self.coding.records(pairs, skip_unknown=skip_unknown))
        true = self.coding.label_ids(pairs)
        predicted = logits.argmax(axis=1)
        is_known = true >= 0
        nats, _ = cross_entropy_forward(logits[is_known], true[is_known])
        unknown = sorted({pair.output for pair, known in zip(pairs, is_known.tolist(), strict=True) if not known})
        rows = [*labels, *unknown]
        row_of = {label: n for n, label in enumerate(rows)}
        confusion = np.zeros((len(rows), len(labels)), int)
        for pair, n in zip(pairs, predicted.tolist(), strict=True):
            confusion[row_of[pair.output], n] += 1
        no_column = np.zeros(len(unknown), int)
        num_right = np.append(np.diag(confusion), no_column)
        num_predicted = np.append(confusion.sum(axis=0), no_column)
        num_true = confusion.sum(axis=1)
        f1 = 2 * num_right / np.maximum(1, num_true + num_predicted)
        return {
            "records": len(pairs),
            "loss": float(nats.mean(dtype=np.float64)) if len(nats) else None,
            "accuracy": float((true == predicted).mean()),
            "macro_f1": float(f1[num_true > 0].mean()),
            "labels": rows,
            "confusion": confusion.tolist(),
        }
