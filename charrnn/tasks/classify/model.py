"""A trained classifier of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.tasks.base import PredictionOptions, WrongRecord
from charrnn.tasks.class_scores import NO_ANSWER, class_scores, extended_names
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.records import Pair, RecordModel, mean_known
from charrnn.tasks.scoring import most_likely, scored_outputs, scored_pieces


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
        records = self.coding.records([Pair(text, "") for text in texts], skip_unknown=skip_unknown)
        answers: list[list[tuple[str, float]]] = [[] for _ in texts]
        for numbers, logits in scored_pieces(self, records):
            _, probabilities = cross_entropy_forward(logits, np.zeros(len(logits), int))
            for number, row in zip(numbers.tolist(), probabilities, strict=True):
                best = np.argsort(-row, kind="stable")[:top]
                answers[number] = [(self.coding.labels[n], float(row[n])) for n in best]
        return answers

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        answers = []
        predictions = self.rank(texts, top=options.top or 1, skip_unknown=options.skip_unknown)
        for text, predicted in zip(texts, predictions, strict=True):
            ranked = predicted if self.has_known(text) else []
            label, probability = ranked[0] if ranked else (None, None)
            answers.append({"label": label, "probability": probability, **options.top_field(ranked)})
        return answers

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [best for ((best, _), *_) in self.rank(texts)]

    def evaluate_records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False, errors: int = 0) -> dict[str, Any]:
        """Returns a dict of the values of `RecordModel.evaluate_records` and those of `class_scores`.

        A label that was not in the training data counts as wrong and is not included in the loss. The wrong record
        with the most probable answer is the worst.
        """
        labels = self.coding.labels
        names, expected = extended_names(labels, [pair.output for pair in pairs])
        choices = most_likely(self, self.coding.records(pairs, skip_unknown=skip_unknown))
        has_answer = np.array([self.has_known(pair.source) for pair in pairs], bool)
        answered = np.where(has_answer, choices.best, NO_ANSWER)
        is_known = expected < len(labels)
        return {
            **self.count_records(pairs),
            "unscored": int((~is_known).sum()),
            "loss": mean_known(choices.nats, is_known),
            **class_scores(names, expected, answered),
            "labels": list(labels),
            **self._list_errors(pairs, answered, expected, choices.probability, errors),
        }

    def _list_errors(
        self, pairs: Sequence[Pair], answered: Array, expected: Array, probability: Array, number: int
    ) -> dict[str, Any]:
        """The field `errors` of an evaluation, {} if no errors are to be listed."""
        if not number:
            return {}
        wrong = np.flatnonzero(answered != expected)
        probability = np.where(answered == NO_ANSWER, 0, probability)
        order = wrong[np.argsort(-probability[wrong], kind="stable")][:number]
        rows = []
        for n in order.tolist():
            answer: tuple[str | None, float | None] = (None, None)
            if answered[n] != NO_ANSWER:
                answer = (self.coding.labels[answered[n]], float(probability[n]))
            rows.append(WrongRecord(pairs[n].source, pairs[n].output, *answer)._asdict())
        return {"errors": rows}
