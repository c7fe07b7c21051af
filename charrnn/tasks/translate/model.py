"""A trained translator of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charrnn.options import SamplingOptions
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.records import Pair, RecordModel
from charrnn.tasks.scoring import mean_loss
from charrnn.tasks.translate.beam_search import Decoder
from charrnn.tasks.translate.coding import END, PairCoding

DEFAULT_BEAM = 4  # hypotheses


class Translator(RecordModel):
    """Predicts a target text for a source text."""

    coding_class = PairCoding
    prediction_options = ("top", "beam", "sampling")

    def predict(
        self, sources: Sequence[str], *, beam: int = DEFAULT_BEAM, top: int = 1, skip_unknown: bool = False
    ) -> list[list[tuple[str, float]]]:
        """The `top` most likely targets of each source that a beam search finds, with their log probabilities, in
        descending order."""
        ids = [self.coding.source_ids(source, skip_unknown=skip_unknown) for source in sources]
        results = self._decoder().search(ids, beam=max(beam, top), limit=self._limit())
        decode = self.vocabulary.decode
        return [[(decode(target), log_p) for target, log_p in hypotheses[:top]] for hypotheses in results]

    def draw(
        self,
        sources: Sequence[str],
        options: SamplingOptions,
        seed: int,
        *,
        first_number: int = 0,
        skip_unknown: bool = False,
    ) -> list[tuple[str, float]]:
        """Draws a target for each source. Returns the targets with their log probabilities.

        The target of source k depends only on the source, the seed and the number first_number + k.
        """
        ids = [self.coding.source_ids(source, skip_unknown=skip_unknown) for source in sources]
        uniforms = [random_generator(seed, Purpose.RECORD, first_number + k).random for k in range(len(ids))]
        drawn = self._decoder().draw(ids, options, uniforms, limit=self._limit())
        return [(self.vocabulary.decode(target), log_p) for target, log_p in drawn]

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        skip = options.skip_unknown
        if options.sampling is not None:
            drawn = self.draw(
                texts, options.sampling, options.seed, first_number=options.first_number, skip_unknown=skip
            )
            return [{"output": output, "log_probability": log_p} for output, log_p in drawn]
        beam = options.beam or DEFAULT_BEAM
        answers = []
        for ranked in self.predict(texts, beam=beam, top=options.top or 1, skip_unknown=skip):
            output, log_p = ranked[0]
            answers.append({"output": output, "log_probability": log_p, **options.top_field(ranked)})
        return answers

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [best for ((best, _), *_) in self.predict(texts, beam=1)]

    def evaluate(self, pairs: Sequence[Pair], *, skip_unknown: bool = False) -> dict[str, Any]:
        """The fields records (number of distinct sources), chars, loss, exact (fraction of sources with a right answer)
        and cer (character error rate: edit distance divided by the length of the reference).

        Records with the same source are alternative references. The reference nearest to the answer counts. Unknown
        characters of the references have no part in the loss.
        """
        references: dict[str, list[str]] = {}
        for pair in pairs:
            references.setdefault(pair.source, []).append(pair.output)
        answers = self.predict(list(references), skip_unknown=skip_unknown)
        exact = 0
        errors = 0
        chars = 0
        for ((answer, _), *_), alternatives in zip(answers, references.values(), strict=True):
            nearest = min(alternatives, key=lambda reference: (edit_distance(answer, reference), -len(reference)))
            errors += edit_distance(answer, nearest)
            chars += len(nearest)
            exact += answer in alternatives
        return {
            "records": len(references),
            "chars": chars,
            "loss": mean_loss(self, self.coding.records(pairs, skip_unknown=True)),
            "exact": exact / len(references),
            "cer": errors / max(1, chars),
        }

    def _decoder(self) -> Decoder:
        end = int(self.vocabulary.encode(END)[0])
        return Decoder(self.backend, self.architecture, self.parameters, end)

    def _limit(self) -> int:
        """The maximum length of a target, in characters."""
        return 2 * int(self.coding.longest) + 10


def edit_distance(a: str, b: str) -> int:
    """The number of characters to insert, delete or replace to turn one text into the other (Levenshtein 1966)."""
    row = [*range(len(b) + 1)]
    for i, character_a in enumerate(a, 1):
        diagonal = row[0]
        row[0] = i
        for j, character_b in enumerate(b, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + int(character_a != character_b))
            diagonal = row[j]
            row[j] = cost
    return int(row[-1])
