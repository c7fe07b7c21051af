"""A trained tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.nn.losses import cross_entropy_forward
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.records import Pair, RecordModel
from charrnn.tasks.scoring import scored_outputs
from charrnn.tasks.tag.coding import TagCoding

UNKNOWN_TAG = "?"  # the answer for a character that is not in the vocabulary


class Tagger(RecordModel):
    """Predicts a tag for each character of a text."""

    coding_class = TagCoding
    prediction_options = ()

    def tag(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[str]:
        """The most likely tags of each text, one for each character."""
        pairs = [Pair(text, UNKNOWN_TAG * len(text)) for text in texts]
        logits = scored_outputs(self, self.coding.records(pairs, skip_unknown=skip_unknown))
        tags = iter([self.coding.tags[n] for n in logits.argmax(axis=1).tolist()])
        return ["".join(next(tags) if c in self.vocabulary else UNKNOWN_TAG for c in text) for text in texts]

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        return [{"tags": tags} for tags in self.tag(texts, skip_unknown=options.skip_unknown)]

    def answers(self, texts: Sequence[str]) -> list[str]:
        return self.tag(texts)

    def evaluate_records(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """Returns a dict of `records`, `chars`, `loss`, `accuracy` and `record_accuracy`.

        `accuracy` is the fraction of characters with the correct tag, `record_accuracy` the fraction of records in
        which all tags are correct. A tag that was not in the training data counts as wrong and is not included in the
        loss.
        """
        if skip_unknown:
            pairs = [self.coding.without_unknown(pair) for pair in pairs]
        logits = scored_outputs(self, self.coding.records(pairs))
        true = self.coding.tag_ids(pairs)
        is_right = logits.argmax(axis=1) == true
        is_known = true >= 0
        nats, _ = cross_entropy_forward(logits[is_known], true[is_known])
        wrong_before = np.concatenate([[0], np.cumsum(~is_right)])  # the number of wrong tags before each character
        ends = np.cumsum([0, *(len(pair.source) for pair in pairs)])
        wrong_in_record = np.diff(wrong_before[ends])
        return {
            "records": len(pairs),
            "chars": len(true),
            "loss": float(nats.mean(dtype=np.float64)) if len(nats) else None,
            "accuracy": float(is_right.mean()) if len(is_right) else None,
            "record_accuracy": float((wrong_in_record == 0).mean()),
        }
