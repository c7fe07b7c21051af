"""A trained language model in the hands of its user: sample text, score text, or step through it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.config import SampleConfig
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError
from charrnn.inference.sampling import choose
from charrnn.inference.scoring import text_nats
from charrnn.models.architecture import Architecture
from charrnn.models.network import new_stepper
from charrnn.nn.arrays import Array
from charrnn.nn.params import flatten
from charrnn.nn.stepper import Stepper
from charrnn.storage.checkpoint import Checkpoint


class TextModel:
    """A model with its vocabulary. Losses are nats per character."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for a checkpoint of another task, or a damaged one."""
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.vocabulary, self.lines = checkpoint.read_task(self._known)
        self._stepper: Stepper | None = None

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

    def sample(self, prime: str = "", *, length: int = 500, seed: int | None = None, **choice: Any) -> Iterator[str]:
        """Yields `length` characters (0: without end) that go on from `prime`, which is not repeated.

        `choice`: temperature, top_k, top_p, min_p, greedy (see SampleConfig). Raises CorpusError for a character that
        the model does not know, UsageError for a choice out of range.
        """
        for (text, _), *_ in self.sample_many(
            self.vocabulary.encode(prime), length, [seed], SampleConfig.from_dict(choice)
        ):
            yield text

    def sample_many(
        self, prime: Array, length: int, seeds: list[int | None], config: SampleConfig
    ) -> Iterator[list[tuple[str, float]]]:
        """Samples side by side: yields for each character a (text, nats) of each stream. `prime` is ids.

        Each stream has a generator of its own, so a sample does not depend on which others are drawn beside it. The
        text of a byte model is empty until its bytes make a whole character.
        """
        stepper, uniforms = (
            new_stepper(self.architecture, self.checkpoint.weights, len(seeds)),
            [np.random.default_rng(seed).random for seed in seeds],
        )
        if not len(prime) or self.lines:
            prime = np.concatenate([[self.vocabulary.start], prime]).astype(np.intp)
        symbols = [chr(code) for code in self.vocabulary.codes.tolist()]
        decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in seeds]
        logits = self._read(stepper, prime, len(seeds))
        written = 0
        while True:
            chosen = [choose(row, config, uniform()) for row, uniform in zip(logits, uniforms, strict=True)]
            written += 1
            pieces = [(symbols[i], nats) for i, nats in chosen]
            if self.vocabulary.is_bytes:
                last = written == length
                decoded = (
                    d.decode(text.encode("latin-1"), last) for d, (text, _) in zip(decoders, pieces, strict=True)
                )
                pieces = [(text, nats) for text, (_, nats) in zip(decoded, pieces, strict=True)]
            yield pieces
            if written == length:
                return
            logits = self._step(stepper, [i for i, _ in chosen])

    def score(self, text: str) -> float:
        """Mean nats per character of `text`, each character given all before it (the first is not scored).

        Raises CorpusError for unknown characters and for a text without a second character.
        """
        return float(self.nats(self.vocabulary.encode(text)).mean(dtype=np.float64))

    def nats(self, ids: Array, *, lines: bool | None = None) -> Array:
        """The nats of each prediction ids[1:]. With `lines` (default: as trained) the state resets at each line, and
        the first character is predicted too, from the start of its record."""
        record_end = self.record_end(lines)
        if record_end is not None:
            ids = np.concatenate([[record_end], ids])
        if len(ids) < 2:
            raise CorpusError("the text has no second character to predict")
        return self.part_nats(ids, record_end)

    def part_nats(self, ids: Array, record_end: int | None) -> Array:
        """The nats of each prediction ids[1:], the state starting from zero at each `record_end`."""
        with threadpool_limits(1):
            return text_nats(
                self.architecture, flatten(self.architecture.specs(), self.checkpoint.weights), ids, record_end
            )

    def step(self, text: str = "", *, reset: bool = False) -> dict[str, float]:
        """Moves the model's state over `text` (from the start with `reset`); the next character's probabilities."""
        if self._stepper is None or reset:
            self._stepper = new_stepper(self.architecture, self.checkpoint.weights, 1)
            start = [self.vocabulary.start]
        else:
            start = []
        ids = np.concatenate([np.array(start, np.intp), self.vocabulary.encode(text)]).astype(np.intp)
        if not len(ids):
            raise CorpusError("step: no character to move over")
        logits = self._read(self._stepper, ids, 1)[0]
        p = np.exp(logits - logits.max())
        symbols = (chr(code) for code in self.vocabulary.codes.tolist())
        return dict(zip(symbols, (p / p.sum()).tolist(), strict=True))

    def _read(self, stepper: Stepper, ids: Array, streams: int) -> Array:
        """The logits (B, V) once all streams have read `ids`."""
        for i in ids.tolist():
            logits = self._step(stepper, [i] * streams)
        return logits

    def _step(self, stepper: Stepper, ids: list[int]) -> Array:
        """One character for each stream -> the next logits (B, V), valid until the next call."""
        if self.lines:
            stepper.reset([n for n, i in enumerate(ids) if i == self.vocabulary.newline])
        return stepper.step(ids)
