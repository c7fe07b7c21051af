"""A trained model with an encoder and a decoder."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.pairs import PairPass, SourceRecords, join_sources
from charrnn.engines.base import Backend
from charrnn.errors import UsageError
from charrnn.models.beam_search import Hypothesis
from charrnn.nn.arrays import Array
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.base import Alignment, PredictionOptions, TrainedModel, WrongRecord
from charrnn.tasks.encoder_decoder.beam_search import Decoder
from charrnn.tasks.encoder_decoder.coding import SourceCoding, SourceRecord
from charrnn.tasks.encoder_decoder.symbols import END, END_LABEL

DEFAULT_BEAM = 4  # hypotheses
SCORING_STREAMS = 64  # records that are scored at the same time
PREVIEWED = 5  # records shown during training


class SourceModel(TrainedModel):
    """Predicts a target text for a source."""

    prediction_options: ClassVar[tuple[str, ...]] = ("top", "beam", "sampling")
    lists_errors = True
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
        nothing = self.coding.target.encode("")
        drawn = self._decoder().draw(encoded, options, uniforms, limit=self._limit(), prime=nothing)
        return [(self.coding.target.decode(ids), -math.fsum(nats)) for ids, nats in drawn]

    def predict_records(self, inputs: Sequence[Any], options: PredictionOptions) -> list[dict[str, Any]]:
        skip = options.skip_unknown
        sources = self.read_sources(inputs)
        if options.sampling is not None:
            drawn = self.draw(
                sources, options.sampling, options.seed, first_number=options.first_number, skip_unknown=skip
            )
            predictions = [[one] for one in drawn]
        else:
            beam = options.beam or DEFAULT_BEAM
            predictions = self.rank(sources, beam=beam, top=options.top or 1, skip_unknown=skip)
        answers = []
        for source, predicted in zip(sources, predictions, strict=True):
            ranked = predicted if self.coding.has_known(source) else []
            output, log_p = ranked[0] if ranked else (None, None)
            answers.append({"output": output, "log_probability": log_p, **options.top_field(ranked)})
        return answers

    def unknown_symbols(self, text: str) -> list[tuple[int, str]]:
        """See tasks.base.PredictsRecords."""
        return self.coding.unknown_symbols(text)

    def read_input(self, text: str, place: str) -> Any:
        """See tasks.base.PredictsRecords."""
        return text

    def read_sources(self, inputs: Sequence[Any]) -> list[Any]:
        """The sources of some inputs, which are texts or have been read by `read_input`. Raises CorpusError."""
        return list(inputs)

    def align(self, texts: Sequence[str]) -> list[Alignment]:
        """See tasks.base.AlignsSources."""
        if not self.architecture.attends:
            raise UsageError(f"{self.checkpoint.path}: trained with --no-attention", "there is no alignment to show")
        return [self._align(source) for source in self.read_sources(texts)]

    def _align(self, source: Any) -> Alignment:
        """The alignment of a source. Beam search keeps no attention weights, so the decoder reads the target again."""
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
        with threadpool_limits(1):
            for step in range(scoring_pass.steps):
                total += float(network.sums(scoring_pass.batch(step), network.zero_state(streams))[0])
        return total / scoring_pass.predictions

    def evaluate_records(
        self, records: Sequence[SourceRecord], *, skip_unknown: bool = False, errors: int = 0
    ) -> dict[str, Any]:
        """Returns a dict of the metrics of `charrnn eval`.

        `records`: the number of distinct sources.
        `skipped`: the number of skipped symbols of the sources.
        `unanswered`: the number of sources without a known symbol. They have no answer, which counts as wrong.
        `chars`: the number of symbols in the references.
        `unscored`: the number of unknown symbols in the references. They count as errors and are not included in the
            loss.
        `loss`: the mean loss of the other symbols, including the ends.
        `exact`: the fraction of sources with a correct prediction.
        `cer`: the symbol error rate, which is the edit distance divided by the length of the references.
        `wer`: the same for words.
        `errors`: with `errors`, up to this many wrong records, each as a dict of the fields of WrongRecord. The record
            with the largest edit distance in symbols is the first; of several such records, the one with the most
            probable answer.

        Records with the same source are alternative references. The reference that is nearest to the prediction counts
        for `chars` and the error rates.
        """
        references: dict[Any, list[str]] = {}
        for record in records:
            references.setdefault(record.source, []).append(record.target)
        answers = self.rank(list(references), skip_unknown=skip_unknown)
        exact = 0
        unanswered = 0
        wrong: list[tuple[int, float, WrongRecord]] = []  # edit distance, log probability, record
        symbol_errors = ErrorRate()
        word_errors = ErrorRate()
        for ((predicted, log_p), *_), (source, alternatives) in zip(answers, references.items(), strict=True):
            has_answer = self.coding.has_known(source)
            answer = predicted if has_answer else ""
            split = self.coding.target.written_symbols
            compose = self.coding.target.compose
            distance, nearest = symbol_errors.add(split(answer), [split(reference) for reference in alternatives])
            word_errors.add(answer.split(), [compose(reference).split() for reference in alternatives])
            is_exact = has_answer and answer in [self._as_written(reference) for reference in alternatives]
            exact += is_exact
            unanswered += not has_answer
            if errors and not is_exact:
                answered = (answer, math.exp(log_p)) if has_answer else (None, None)
                wrong.append((distance, log_p, WrongRecord(str(source), alternatives[nearest], *answered)))
        wrong.sort(key=lambda row: row[:2], reverse=True)
        return {
            "records": len(references),
            "skipped": sum(len(self.coding.unknown_symbols(source)) for source in references),
            "unanswered": unanswered,
            "chars": symbol_errors.length,
            "unscored": sum(len(self.coding.target.find_unknown(record.target)) for record in records),
            "loss": self.mean_loss(self.coding.records(records, skip_unknown=True)),
            "exact": exact / len(references),
            "cer": symbol_errors.rate,
            "wer": word_errors.rate,
            **({"errors": [row._asdict() for _, _, row in wrong[:errors]]} if errors else {}),
        }

    def _as_written(self, target: str) -> str:
        """A reference as the model writes it: with one separator between two symbols."""
        return (self.coding.target.separator or "").join(self.coding.target.written_symbols(target))

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

    def add(self, answer: list[str], references: list[list[str]]) -> tuple[int, int]:
        """Adds an answer; the nearest of the references counts. Returns its edit distance and its number."""
        distances = [(edit_distance(answer, reference), -len(reference)) for reference in references]
        nearest = min(range(len(distances)), key=distances.__getitem__)
        errors, negative_length = distances[nearest]
        self.errors += errors
        self.length -= negative_length
        return errors, nearest

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.length)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The number of symbols to insert, delete or replace to turn one sequence into the other (Levenshtein 1966).

    Computes a column of the table of distances for each symbol of `b`, with the bit-parallel algorithm of Myers 1999 as
    modified by Hyyrö 2003. Bit i of an integer belongs to row i + 1. `plus` and `minus` say where the distance is
    larger or smaller than in the row above, `row_plus` and `row_minus` where it is larger or smaller than in the
    column before, and `diagonal` where it is the same as in the row above of the column before.
    """
    if not a:
        return len(b)
    places: dict[str, int] = {}  # symbol of `a` -> the bits of its places
    for i, symbol in enumerate(a):
        places[symbol] = places.get(symbol, 0) | 1 << i
    mask = (1 << len(a)) - 1
    last = 1 << len(a) - 1
    plus, minus = mask, 0
    distance = len(a)
    for symbol in b:
        match = places.get(symbol, 0)
        diagonal = (((match & plus) + plus) ^ plus) | match | minus
        row_plus = (minus | ~(diagonal | plus)) & mask
        row_minus = plus & diagonal
        distance += bool(row_plus & last) - bool(row_minus & last)
        row_plus = row_plus << 1 | 1
        plus = (row_minus << 1 | ~(diagonal | row_plus)) & mask
        minus = row_plus & diagonal & mask
    return distance
