"""A trained tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.tasks.base import PredictionOptions, WrongRecord
from charrnn.tasks.class_scores import NO_ANSWER, class_scores, extended_names
from charrnn.tasks.records import Pair, RecordModel, mean_known
from charrnn.tasks.scoring import most_likely
from charrnn.tasks.tag.coding import TagCoding

UNKNOWN_TAG = "?"  # the answer for a character that is not in the vocabulary


class Tagger(RecordModel):
    """Predicts a tag for each character of a text."""

    coding_class = TagCoding
    prediction_options = ()

    def tag(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[str]:
        """The most likely tags of each text, one for each character."""
        pairs = [Pair(text, UNKNOWN_TAG * len(text)) for text in texts]
        choices = most_likely(self, self.coding.records(pairs, skip_unknown=skip_unknown))
        tags = iter([self.coding.tags[n] for n in choices.best.tolist()])
        return ["".join(next(tags) if c in self.vocabulary else UNKNOWN_TAG for c in text) for text in texts]

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        predictions = self.tag(texts, skip_unknown=options.skip_unknown)
        return [{"tags": tags if self.has_known(text) else None} for text, tags in zip(texts, predictions, strict=True)]

    def answers(self, texts: Sequence[str]) -> list[str]:
        return self.tag(texts)

    def evaluate_records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False, errors: int = 0) -> dict[str, Any]:
        """Returns `chars`, `record_accuracy`, and the values of `RecordModel.evaluate_records` and `class_scores`.

        `chars` is the number of characters, `accuracy` the fraction of characters with the correct tag, and
        `record_accuracy` the fraction of records in which all tags are correct. A tag that was not in the training
        data, and a character that is not in the vocabulary, count as wrong and are not included in the loss.

        The record with the most wrong tags is the worst; of several such records, the one with the most probable tags.
        """
        names, expected = extended_names(self.coding.tags, [tag for pair in pairs for tag in pair.output])
        has_answer = self._is_known("".join(pair.source for pair in pairs))
        choices = most_likely(self, self.coding.records(pairs, skip_unknown=skip_unknown))
        answered = np.full(len(expected), NO_ANSWER)
        answered[has_answer] = choices.best
        is_known = expected < len(self.coding.tags)
        wrong_before = np.concatenate([[0], np.cumsum(answered != expected)])  # number of wrong tags before each one
        ends = np.cumsum([0, *(len(pair.source) for pair in pairs)])
        num_wrong = np.diff(wrong_before[ends])
        is_right = (num_wrong == 0) & (np.diff(ends) > 0)
        log_p = np.zeros(len(expected) + 1)
        log_p[1:][has_answer] = np.log(choices.probability)
        log_p = np.diff(np.cumsum(log_p)[ends])  # of the answered tags of each record
        return {
            **self.count_records(pairs),
            "chars": len(expected),
            "unscored": int((~is_known).sum()),
            "loss": mean_known(choices.nats, is_known[has_answer]),
            "record_accuracy": float(is_right.mean()),
            **class_scores(names, expected, answered),
            "labels": list(self.coding.tags),
            **self._list_errors(pairs, num_wrong, log_p, skip_unknown=skip_unknown, number=errors),
        }

    def _list_errors(
        self, pairs: Sequence[Pair], num_wrong: Array, log_p: Array, *, skip_unknown: bool, number: int
    ) -> dict[str, Any]:
        """The field `errors` of an evaluation, {} if no errors are to be listed."""
        if not number:
            return {}
        order = [n for n in np.lexsort((-log_p, -num_wrong)).tolist() if num_wrong[n]][:number]
        texts = [pairs[n].source for n in order]
        answers = self.predict_records(texts, PredictionOptions(skip_unknown=skip_unknown))
        rows = []
        for n, answer in zip(order, answers, strict=True):
            tags = answer["tags"]
            probability = float(np.exp(log_p[n])) if tags else None
            rows.append(WrongRecord(pairs[n].source, pairs[n].output, tags, probability)._asdict())
        return {"errors": rows}

    def _is_known(self, text: str) -> Array:
        """Whether each character of a text is in the vocabulary."""
        is_known = np.ones(len(text), bool)
        is_known[[position for position, _ in self.vocabulary.find_unknown(text)]] = False
        return is_known
