"""A trained model with an encoder and a decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from charrnn.corpus.pairs import PairPass, SourceRecords, join_sources
from charrnn.engines.base import Backend
from charrnn.errors import UsageError
from charrnn.nn.arrays import Array
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.base import Alignment, PredictionOptions, TrainedModel
from charrnn.tasks.encoder_decoder.beam_search import Decoder, Hypothesis
from charrnn.tasks.encoder_decoder.coding import SourceCoding, SourceRecord
from charrnn.tasks.encoder_decoder.symbols import END, END_LABEL

DEFAULT_BEAM = 4  # hypotheses
SCORING_STREAMS = 64  # records that are scored at the same time
PREVIEWED = 5  # records shown during training


class SourceModel(TrainedModel):
    """Predicts a target text for a source."""

    prediction_options: ClassVar[tuple[str, ...]] = ("top", "beam", "sampling")
    coding: SourceCoding

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        super().__init__(checkpoint, backend)
        self.coding = checkpoint.parse_task(self._parse_coding)

    @staticmethod
    @abstractmethod
    def parse_coding(task: dict[str, Any]) -> SourceCoding:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""

    def _parse_coding(self, task: dict[str, Any]) -> SourceCoding:
        coding = self.parse_coding(task)
        if coding.architecture(self.architecture) != self.architecture:
            raise ValueError("the task metadata does not match the weights")
        return coding

    def rank(
        self, sources: Sequence[Any], *, beam: int = DEFAULT_BEAM, top: int = 1, skip_unknown: bool = False
    ) -> list[list[tuple[str, float]]]:
        """Finds the `top` most likely targets of each source by beam search.

        Returns the targets of each source with their log probabilities, in descending order of probability.
        """
        encoded = self._encode(sources, skip_unknown)
        results = self._decoder().search(encoded, beam=max(beam, top), limit=self._limit())
        return [[self._decode(hypothesis) for hypothesis in hypotheses[:top]] for hypotheses in results]

    def draw(
        self,
        sources: Sequence[Any],
        options: SamplingOptions,
        seed: int,
        *,
        first_number: int = 0,
        skip_unknown: bool = False,
    ) -> list[tuple[str, float]]:
        """Draws a target for each source. Returns the targets with their log probabilities.

        The target of source k depends only on the source, the seed and the number first_number + k.
        """
        encoded = self._encode(sources, skip_unknown)
        uniforms = [random_generator(seed, Purpose.RECORD, first_number + k).random for k in range(len(encoded))]
        drawn = self._decoder().draw(encoded, options, uniforms, limit=self._limit())
        return [self._decode(hypothesis) for hypothesis in drawn]

    def predict_records(self, texts: Sequence[str], options: PredictionOptions) -> list[dict[str, Any]]:
        skip = options.skip_unknown
        sources = self.read_sources(texts)
        if options.sampling is not None:
            drawn = self.draw(
                sources, options.sampling, options.seed, first_number=options.first_number, skip_unknown=skip
            )
            return [{"output": output, "log_probability": log_p} for output, log_p in drawn]
        beam = options.beam or DEFAULT_BEAM
        answers = []
        for ranked in self.rank(sources, beam=beam, top=options.top or 1, skip_unknown=skip):
            output, log_p = ranked[0]
            answers.append({"output": output, "log_probability": log_p, **options.top_field(ranked)})
        return answers

    def read_sources(self, texts: Sequence[str]) -> list[Any]:
        """The sources that the inputs of `charrnn predict` stand for. Raises CorpusError."""
        return list(texts)

    def align(self, texts: Sequence[str]) -> list[Alignment]:
        """See tasks.base.AlignsSources."""
        if not self.architecture.attends:
            raise UsageError(f"{self.checkpoint.path}: trained with --no-attention", "there is no alignment to show")
        return [self._align(source) for source in self.read_sources(texts)]

    def _align(self, source: Any) -> Alignment:
        """The beam search keeps no attention weights, so the decoder reads its best target again."""
        encoded = self.coding.encode_source(source)
        (hypotheses,) = self._decoder().search([encoded], beam=DEFAULT_BEAM, limit=self._limit())
        ids, _ = hypotheses[0]
        decoder = self.backend.decoder(self.architecture, self.parameters, join_sources([encoded], 1), 1)
        weights = []
        for i in [END, *ids.tolist()]:
            decoder.step([i])
            assert decoder.alignment is not None
            weights.append(decoder.alignment[0, 0].copy())
        target = [self.coding.target.decode([i]) for i in ids.tolist()]
        return Alignment(self.coding.source_labels(source), [*target, END_LABEL], np.array(weights))

    def answers(self, sources: Sequence[Any]) -> list[str]:
        """Finds a target for each source by greedy decoding."""
        return [best for ((best, _), *_) in self.rank(sources, beam=1)]

    def preview(self, records: Sequence[SourceRecord]) -> str:
        """The first few records with the model's answers, and the correct targets in brackets."""
        shown = records[:PREVIEWED]
        lines = zip(shown, self.answers([record.source for record in shown]), strict=True)
        return "\n".join(f"{record.source} -> {answer} ({record.target})" for record, answer in lines)

    def score(self, source: Any, target: str) -> float:
        """The mean loss of the symbols of a target, including its end. Raises CorpusError for an unknown symbol."""
        return self.mean_loss(self.coding.records([SourceRecord(source, target)]))

    def mean_loss(self, records: SourceRecords) -> float:
        """The mean loss of all symbols of the targets, including their ends."""
        streams = min(SCORING_STREAMS, len(records))
        scoring_pass = PairPass(records, streams)
        network = self.backend.network(
            self.architecture,
            self.parameters,
            streams,
            int(records.target_lengths.max()),
            int(records.source_lengths.max()),
        )
        total = 0.0
        for step in range(scoring_pass.steps):
            total += float(network.sums(scoring_pass.batch(step), network.zero_state(streams))[0])
        return total / scoring_pass.predictions

    def evaluate_records(self, records: Sequence[SourceRecord], *, skip_unknown: bool = False) -> dict[str, Any]:
        """Returns a dict of `records`, `chars`, `loss`, `exact`, `cer` and `wer`.

        `records` is the number of distinct sources, `chars` the number of symbols in the references, and `exact` the
        fraction of sources with a correct prediction. `cer` is the symbol error rate: the edit distance divided by the
        length of the references. `wer` is the same for words.

        Records with the same source are alternative references. The reference that is nearest to the prediction counts.
        Unknown symbols of the references are not included in the loss.
        """
        references: dict[Any, list[str]] = {}
        for record in records:
            references.setdefault(record.source, []).append(record.target)
        answers = self.rank(list(references), skip_unknown=skip_unknown)
        exact = 0
        symbol_errors = ErrorRate()
        word_errors = ErrorRate()
        for ((answer, _), *_), alternatives in zip(answers, references.values(), strict=True):
            split = self.coding.target.split
            symbol_errors.add(split(answer), [split(reference) for reference in alternatives])
            word_errors.add(answer.split(), [reference.split() for reference in alternatives])
            exact += answer in [self._normalise(reference) for reference in alternatives]
        return {
            "records": len(references),
            "chars": symbol_errors.length,
            "loss": self.mean_loss(self.coding.records(records, skip_unknown=True)),
            "exact": exact / len(references),
            "cer": symbol_errors.rate,
            "wer": word_errors.rate,
        }

    def _normalise(self, target: str) -> str:
        """A reference as the model writes it: with one separator between two symbols."""
        return (self.coding.target.separator or "").join(self.coding.target.split(target))

    def _encode(self, sources: Sequence[Any], skip_unknown: bool) -> list[Array]:
        return [self.coding.encode_source(source, skip_unknown=skip_unknown) for source in sources]

    def _decode(self, hypothesis: Hypothesis) -> tuple[str, float]:
        ids, log_p = hypothesis
        return self.coding.target.decode(ids), log_p

    def _decoder(self) -> Decoder:
        return Decoder(self.backend, self.architecture, self.parameters, END)

    def _limit(self) -> int:
        """The maximum length of a target, in symbols."""
        return 2 * self.coding.longest + 10


class ErrorRate:
    """The edit distance of answers from their references, divided by the length of the references."""

    def __init__(self) -> None:
        self.errors = 0
        self.length = 0

    def add(self, answer: list[str], references: list[list[str]]) -> None:
        """Adds an answer; the nearest of the references counts."""
        distances = [(edit_distance(answer, reference), -len(reference)) for reference in references]
        errors, negative_length = min(distances)
        self.errors += errors
        self.length -= negative_length

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.length)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The number of symbols to insert, delete or replace to turn one sequence into the other (Levenshtein 1966)."""
    row = [*range(len(b) + 1)]
    for i, symbol_a in enumerate(a, 1):
        diagonal = row[0]
        row[0] = i
        for j, symbol_b in enumerate(b, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + int(symbol_a != symbol_b))
            diagonal = row[j]
            row[j] = cost
    return int(row[-1])
