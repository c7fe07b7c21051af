"""A trained language model, which writes and scores text."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.vocabulary import TextPlace, Vocabulary
from charrnn.engines.base import Backend, Stepper
from charrnn.errors import CorpusError, RunError, UsageError, converting_errors
from charrnn.models.architecture import Architecture
from charrnn.models.beam_search import BeamSearch
from charrnn.models.sampling import choose
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile, TrainedModel, skips_unknown
from charrnn.tasks.data import DataFiles, write_text
from charrnn.tasks.language.scoring import TextScorer, text_metrics
from charrnn.tasks.language.streams import NO_STARTS
from charrnn.tasks.language.writing import NgramGuard, StoppableText, excluded_symbols

RECORD_END = "\n"


class ScoredSection(NamedTuple):
    """A section of a text."""

    ids: Array  # (n,)
    nats: Array  # (n,), the loss of each character


class EncodedFile:
    """The ids of the characters of a text file. Iterating over its chunks can raise CorpusError."""

    def __init__(self, path: str, vocabulary: Vocabulary, *, skip_unknown: bool) -> None:
        self.path = path
        self.vocabulary = vocabulary
        self.skip_unknown = skip_unknown
        self.num_skipped = 0  # characters so far that are not in the vocabulary

    def __iter__(self) -> Iterator[Array]:
        from charrnn.corpus.reading import display_name, vocabulary_reader  # not needed to write text

        start = TextPlace(display_name(self.path))
        place = start
        self.num_skipped = 0
        for codes in vocabulary_reader(self.vocabulary).codes(self.path):
            ids = self.vocabulary.codes_to_ids(codes, skip_unknown=self.skip_unknown, place=place)
            self.num_skipped += len(codes) - len(ids)
            yield ids
            place = place.advance(codes)
        if place == start:
            raise CorpusError(f"{start.file}: the text is empty")


class TextModel(TrainedModel):
    """A trained language model. Losses are in nats per character."""

    def __init__(self, checkpoint: Checkpoint, backend: Backend | None = None) -> None:
        super().__init__(checkpoint, backend)
        self.vocabulary, self.lines = checkpoint.parse_task(self._parse)
        self._stepper: Stepper | None = None  # of `step`

    def _parse(self, task: dict[str, Any]) -> tuple[Vocabulary, bool]:
        vocabulary = Vocabulary.from_dict(task)
        lines = task["lines"]
        if task["name"] != "lm" or not isinstance(lines, bool):
            raise ValueError("not a language model")
        size = len(vocabulary)
        if Architecture.from_options(self.architecture, input_size=size, output_size=size) != self.architecture:
            raise ValueError("the vocabulary does not match the weights")
        return vocabulary, lines

    def record_end(self, lines: bool | None = None) -> int | None:
        """The id after which the state is reset, or None.

        lines: whether each line is a record (default: as in training).
        """
        if self.lines if lines is None else lines:
            return self.vocabulary.newline
        return self.vocabulary.document_end

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a sample. A model of lines writes one line, a model of documents one document."""
        if self.lines:
            return (RECORD_END,)
        return () if self.vocabulary.separator is None else (self.vocabulary.separator,)

    def prepend_start(self, ids: Array) -> Array:
        """Prepends the start symbol to ids. Each text is read from the zero state, with the start symbol first."""
        return np.concatenate([[self.vocabulary.start], ids]).astype(np.intp)

    @staticmethod
    def write_data(folder: Path, data: Any) -> DataFiles:
        return write_text(folder, data)

    @converting_errors()
    def sample(self, prime: str = "", **options: Any) -> str:
        """Returns a text that continues `prime`. The prime itself is not repeated. options: those of `stream`."""
        if options.get("length") == 0:
            raise UsageError("length 0: the text would not end", "use stream(), which yields an endless text in pieces")
        return "".join(self.stream(prime, **options))

    def stream(
        self,
        prime: str = "",
        *,
        length: int = 500,
        seed: int | None = None,
        stop: Sequence[str] = (),
        on_unknown: str = "error",
        no_repeat_ngram: int = 0,
        **options: Any,
    ) -> Iterator[str]:
        """Yields a text that continues `prime`, in pieces, as it is written.

        length: number of characters; 0 for an endless text.
        stop: the text ends before the first of these texts. A model of lines or documents also ends the text at the
            end of the line or document, unless the text is endless.
        on_unknown: "error" or "skip", for characters of the prime that are not in the vocabulary.
        no_repeat_ngram: see `sample_many`.
        options: the fields of SamplingOptions.

        A byte model can write bytes that are not UTF-8. They are escaped: `"".join(sample).encode("utf-8",
        "surrogateescape")` gives the bytes. Raises CorpusError for an unknown character, UsageError for an option out
        of range.
        """
        if length < 0:
            raise UsageError(f"length {length}: must be at least 0")
        ids = self.vocabulary.encode(prime, skip_unknown=skips_unknown(on_unknown))
        text = StoppableText([*stop, *(self.stops if length else [])])
        sampling = SamplingOptions.from_dict(options)
        for (piece, _), *_ in self.sample_many(ids, length, [seed], sampling, no_repeat_ngram=no_repeat_ngram):
            yield text.add(piece)
            if text.done:
                return
        if rest := text.finish():
            yield rest

    def sample_many(
        self,
        prime: Array,
        length: int,
        seeds: list[int | None],
        options: SamplingOptions,
        *,
        no_repeat_ngram: int = 0,
    ) -> Iterator[list[tuple[str, float]]]:
        """Writes several samples at once. Yields a list for each character, with the (text, nats) of each sample.

        prime: ids. seeds: one for each sample, so that a sample does not depend on the others. A byte model writes one
        byte at a time; the text is empty until the bytes form a character.
        no_repeat_ngram: if it is 2 or more, no sample has this many characters in a row that it or the prime already
        contains.
        """
        stepper = self._new_stepper(len(seeds))
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        symbols = self.vocabulary.symbols()
        decoders = [codecs.getincrementaldecoder("utf-8")("surrogateescape") for _ in seeds]
        logits = self._read(stepper, self.prepend_start(prime), len(seeds))
        guards = [NgramGuard(no_repeat_ngram, prime.tolist()) for _ in seeds if no_repeat_ngram]
        written = 0
        while True:
            excluded = excluded_symbols(guards, logits.shape[1])
            ids, nats = choose(logits, options, np.array([uniform() for uniform in uniforms]), excluded)
            for guard, i in zip(guards, ids.tolist(), strict=False):
                guard.add(i)
            written += 1
            is_last = written == length
            texts = [symbols[i] for i in ids.tolist()]
            if self.vocabulary.is_bytes:
                texts = [
                    decoder.decode(text.encode("latin-1"), is_last)
                    for decoder, text in zip(decoders, texts, strict=True)
                ]
            yield list(zip(texts, nats.tolist(), strict=True))
            if is_last:
                return
            logits = self._step(stepper, ids)

    def search(self, prime: Array, length: int, beam: int) -> tuple[str, float]:
        """Finds a likely text of at most `length` characters by beam search, with `beam` hypotheses.

        prime: ids. A text of a model of lines or documents ends at the end of the line or document, if that is reached.
        Other texts have exactly `length` characters. Returns the text and its mean nats per character.
        """
        stepper = self._new_stepper(beam)
        logits = self._read(stepper, self.prepend_start(prime), beam)
        record_end = self.record_end()
        end = -1 if record_end is None else record_end
        ((ids, log_p), *_), *_ = BeamSearch(stepper, np.array([length]), beam, end).run(logits)
        num_predicted = len(ids) + (len(ids) < length)  # the end of a shorter text is also predicted
        return self.vocabulary.decode(ids), -log_p / num_predicted

    def score(self, text: str) -> float:
        """Mean nats per character of a text. Raises CorpusError for unknown characters and for an empty text."""
        return float(self.nats(self.vocabulary.encode(text)).mean(dtype=np.float64))

    def nats(self, ids: Array, *, lines: bool | None = None, window: int | None = None) -> Array:
        """The loss in nats of each character of a text, given the characters before it.

        lines: whether the state is reset at each line (default: as in training).
        window: if given, the state is also reset after every `window` characters.

        Raises CorpusError if the text is empty.
        """
        return np.concatenate([section.nats for section in self.score_sections([ids], lines=lines, window=window)])

    def score_sections(
        self,
        chunks: Iterable[Array],
        *,
        lines: bool | None = None,
        window: int | None = None,
        file_starts: Array = NO_STARTS,
    ) -> Iterator[ScoredSection]:
        """Scores a text, given in chunks of ids, section by section. See `nats`.

        file_starts: the positions of characters before which the state is also reset, in ascending order.
        """
        scorer = TextScorer(
            self.backend, self.architecture, self.parameters, self.record_end(lines), window, file_starts
        )
        last = None  # the last id of the section before
        with threadpool_limits(1):
            for ids in _resize_chunks(chunks, scorer.size):
                first = self.vocabulary.start if last is None else last
                nats = scorer.nats(np.concatenate([[first], ids]).astype(np.intp))
                if not np.isfinite(nats).all():
                    raise RunError(f"{self.checkpoint.path}: a loss is not finite because the weights are too large")
                yield ScoredSection(ids, nats)
                last = ids[-1]
        if last is None:
            raise CorpusError("the text is empty")

    def most_likely(
        self, ids: Array, top: int, *, lines: bool | None = None
    ) -> Iterator[tuple[str, float, list[tuple[str, float]]]]:
        """Yields each character of a text with its nats and the `top` most likely characters at its position.

        The most likely characters are given with their probabilities, in descending order.
        """
        stepper = self._new_stepper(1)
        record_end = self.record_end(lines)
        symbols = self.vocabulary.symbols()
        previous = self.vocabulary.start
        for i in ids.tolist():
            if previous == record_end:
                stepper.reset([0])
            (nats,), (p,) = cross_entropy_forward(stepper.step([previous]).copy(), np.array([i]))
            best = np.argsort(-p, kind="stable")[:top].tolist()
            yield symbols[i], float(nats), [(symbols[k], float(p[k])) for k in best]
            previous = i

    def step(self, text: str = "", *, reset: bool = False, top: int | None = None) -> dict[str, float]:
        """Reads a text and returns the probabilities of the next character.

        reset: whether to start from the zero state. Otherwise, the text continues the text of the previous call.
        top: number of most likely characters to return, in descending order (default: all, in vocabulary order).
        """
        ids = self.vocabulary.encode(text)
        if self._stepper is None or reset:
            self._stepper = self._new_stepper(1)
            ids = self.prepend_start(ids)
        if len(ids):
            self._logits = self._read(self._stepper, ids, 1)
        _, (p,) = cross_entropy_forward(self._logits.copy(), np.array([0]))
        places = np.arange(len(p)) if top is None else np.argsort(-p, kind="stable")[:top]
        symbols = self.vocabulary.symbols()
        return {symbols[i]: float(p[i]) for i in places.tolist()}

    def state(self) -> Array:
        """The state after the last `step`, for `restore`: (L, num_states, 1, H), or (1, 1, 1, N) of an ensemble."""
        if self._stepper is None:
            self.step(reset=True)
        assert self._stepper is not None
        return self._stepper.state()

    def restore(self, state: Array) -> None:
        """Sets the state from which `step` continues. Raises UsageError for a state of another shape."""
        self._stepper = self._stepper or self._new_stepper(1)
        expected = self._stepper.state().shape
        if state.shape != expected:
            raise UsageError(f"restore: the state has shape {state.shape}", f"it must be {expected}")
        self._logits = self._stepper.restore(state)

    def read_file(self, path: str, *, skip_unknown: bool = False) -> EncodedFile:
        """The ids of the characters of a text file, in chunks."""
        return EncodedFile(path, self.vocabulary, skip_unknown=skip_unknown)

    def evaluate_file(self, file: EvaluationFile) -> dict[str, Any]:
        text = self.read_file(file.path, skip_unknown=file.skip_unknown)
        scores = text_metrics(section.nats for section in self.score_sections(text))
        return {**scores, "skipped": text.num_skipped}

    def _new_stepper(self, streams: int) -> Stepper:
        return self.backend.stepper(self.architecture, self.parameters, streams)

    def _read(self, stepper: Stepper, ids: Array, streams: int) -> Array:
        """Reads the same ids in all streams. Returns the logits (B, V) of the next character."""
        for i in ids.tolist():
            logits = self._step(stepper, np.full(streams, i))
        return logits

    def _step(self, stepper: Stepper, ids: Array) -> Array:
        """Reads one character of each stream. Returns the next logits (B, V), valid until the next call."""
        record_end = self.record_end()
        if record_end is not None:
            stepper.reset(np.flatnonzero(ids == record_end).tolist())
        return stepper.step(ids)


def _resize_chunks(chunks: Iterable[Array], size: int) -> Iterator[Array]:
    """Joins and splits chunks, so that all have `size` elements, except the last one, which is not empty."""
    parts: list[Array] = []
    missing = size  # elements
    for chunk in chunks:
        rest = chunk
        while len(rest) >= missing:
            yield np.concatenate([*parts, rest[:missing]])
            rest = rest[missing:]
            parts = []
            missing = size
        if len(rest):
            parts.append(rest)
            missing -= len(rest)
    if parts:
        yield np.concatenate(parts)
