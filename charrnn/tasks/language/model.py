"""A trained language model in the hands of its user: sample text, score text, or step through it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, RunError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, NewNetwork, new_stepper
from charrnn.models.sampling import choose
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.nn.parameters import flatten
from charrnn.nn.stepper import Stepper
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.scoring import text_nats
from charrnn.tasks.language.writing import Writing

RECORD_END = "\n"


class TextModel:
    """A model with its vocabulary. Losses are nats per character."""

    new_network: NewNetwork = Network  # what reads a text

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for a checkpoint of another task, or a damaged one."""
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.vocabulary, self.lines = checkpoint.read_task(self._known)
        self._stepper: Stepper | None = None  # of `step`

    def _known(self, task: dict[str, Any]) -> tuple[Vocabulary, bool]:
        vocabulary, lines = Vocabulary.from_dict(task), task["lines"]
        if task["name"] != "lm" or not isinstance(lines, bool):
            raise ValueError("not a language model")
        size = len(vocabulary)
        if Architecture.of(self.architecture, input_size=size, output_size=size) != self.architecture:
            raise ValueError("its vocabulary does not fit its weights")
        return vocabulary, lines

    def record_end(self, lines: bool | None = None) -> int | None:
        """The id after which the state starts anew; lines: whether each line is a record (default: as trained)."""
        return self.vocabulary.newline if (self.lines if lines is None else lines) else None

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends a sample besides its length: a model of lines writes a line."""
        return (RECORD_END,) if self.lines else ()

    def started(self, ids: Array) -> Array:
        """The one rule for how a text begins: ids behind the start symbol, read from the zero state."""
        return np.concatenate([[self.vocabulary.start], ids]).astype(np.intp)

    def sample(
        self,
        prime: str = "",
        *,
        length: int = 500,
        seed: int | None = None,
        stop: Sequence[str] = (),
        on_unknown: str = "error",
        **choice: Any,
    ) -> Iterator[str]:
        """Yields `length` characters (0: without end) that go on from `prime`, which is not repeated.

        It ends before the first of the texts in `stop`, and a model of lines at its line's end. on_unknown: error, or
        skip, for characters of the prime. `choice`: temperature, top_k, top_p, min_p, greedy (see SamplingOptions). Raises
        CorpusError for a character that the model does not know, UsageError for a choice out of range.
        """
        ids = self.vocabulary.encode(prime, skip_unknown=on_unknown == "skip")
        writing = Writing([*stop, *self.stops])
        for (text, _), *_ in self.sample_many(ids, length, [seed], SamplingOptions.from_dict(choice)):
            yield writing.add(text)
            if writing.done:
                return
        if rest := writing.finish():
            yield rest

    def sample_many(
        self, prime: Array, length: int, seeds: list[int | None], config: SamplingOptions
    ) -> Iterator[list[tuple[str, float]]]:
        """Samples side by side: yields for each character a (text, nats) of each stream. `prime` is ids.

        Each stream has a generator of its own, so a sample does not depend on which others are drawn beside it. The
        text of a byte model is empty until its bytes make a whole character.
        """
        stepper = new_stepper(self.architecture, self.checkpoint.weights, len(seeds))
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        symbols = [chr(code) for code in self.vocabulary.codes.tolist()]
        decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in seeds]
        logits = self._read(stepper, self.started(prime), len(seeds))
        written = 0
        while True:
            ids, nats = choose(logits, config, np.array([uniform() for uniform in uniforms]))
            written += 1
            pieces = [(symbols[i], cost) for i, cost in zip(ids.tolist(), nats.tolist(), strict=True)]
            if self.vocabulary.is_bytes:
                last = written == length
                decoded = (
                    d.decode(text.encode("latin-1"), last) for d, (text, _) in zip(decoders, pieces, strict=True)
                )
                pieces = [(text, cost) for text, (_, cost) in zip(decoded, pieces, strict=True)]
            yield pieces
            if written == length:
                return
            logits = self._step(stepper, ids)

    def score(self, text: str) -> float:
        """Mean nats per character of `text`, each given all before it, the first the start symbol.

        Raises CorpusError for unknown characters and for an empty text.
        """
        return float(self.nats(self.vocabulary.encode(text)).mean(dtype=np.float64))

    def nats(self, ids: Array, *, lines: bool | None = None) -> Array:
        """The nats of each character of a text. With `lines` (default: as trained) the state resets at each line."""
        if not len(ids):
            raise CorpusError("the text is empty")
        nats = self.part_nats(self.started(ids), self.record_end(lines))
        if not np.isfinite(nats).all():
            raise RunError(f"{self.checkpoint.path}: its weights are so large that a loss is not finite")
        return nats

    def part_nats(self, ids: Array, record_end: int | None) -> Array:
        """The nats of each prediction ids[1:], the state starting from zero at each `record_end`."""
        with threadpool_limits(1):
            flat = flatten(self.architecture.specs(), self.checkpoint.weights)
            return text_nats(self.architecture, flat, ids, record_end, self.new_network)

    def guesses(
        self, ids: Array, top: int, *, lines: bool | None = None
    ) -> Iterator[tuple[str, float, list[tuple[str, float]]]]:
        """For each character of a text: itself, its nats, and the `top` likeliest in its place with their
        probabilities."""
        stepper, record_end = new_stepper(self.architecture, self.checkpoint.weights, 1), self.record_end(lines)
        symbols = [chr(code) for code in self.vocabulary.codes.tolist()]
        for before, i in pairwise(self.started(ids).tolist()):
            if before == record_end:
                stepper.reset([0])
            (nats,), (p,) = cross_entropy_forward(stepper.step([before]).copy(), np.array([i]))
            likeliest = np.argsort(-p, kind="stable")[:top].tolist()
            yield symbols[i], float(nats), [(symbols[k], float(p[k])) for k in likeliest]

    def step(self, text: str = "", *, reset: bool = False, top: int | None = None) -> dict[str, float]:
        """Moves the model's state over `text` (from the start with `reset`); the next character's probabilities: of all
        that it knows, or of the `top` likeliest, the likeliest first."""
        ids = self.vocabulary.encode(text)
        if self._stepper is None or reset:
            self._stepper, ids = new_stepper(self.architecture, self.checkpoint.weights, 1), self.started(ids)
        if len(ids):
            self._logits = self._read(self._stepper, ids, 1)
        _, (p,) = cross_entropy_forward(self._logits.copy(), np.array([0]))
        places = np.arange(len(p)) if top is None else np.argsort(-p, kind="stable")[:top]
        symbols = map(chr, self.vocabulary.codes[places].tolist())
        return dict(zip(symbols, p[places].tolist(), strict=True))

    def state(self) -> Array:
        """Where `step` stands (L, num_states, 1, H), to `restore` it: several texts side by side with one model."""
        if self._stepper is None:
            self.step(reset=True)
        assert self._stepper is not None
        return self._stepper.state()

    def restore(self, state: Array) -> None:
        """Back to where `step` stood. Raises UsageError for a state of another network."""
        expected = self.architecture.state_shape(1)
        if state.shape != expected:
            raise UsageError(f"restore: a state of shape {state.shape}", f"this network's is {expected}")
        self._stepper = self._stepper or new_stepper(self.architecture, self.checkpoint.weights, 1)
        self._logits = self._stepper.start(state)

    def _read(self, stepper: Stepper, ids: Array, streams: int) -> Array:
        """The logits (B, V) once all streams have read `ids`."""
        for i in ids.tolist():
            logits = self._step(stepper, np.full(streams, i))
        return logits

    def _step(self, stepper: Stepper, ids: Array) -> Array:
        """One character for each stream -> the next logits (B, V), valid until the next call."""
        if self.lines:
            stepper.reset(np.flatnonzero(ids == self.vocabulary.newline).tolist())
        return stepper.step(ids)
