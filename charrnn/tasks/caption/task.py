"""One to many: a line of text from a vector.

A learnt projection of the vector is the first step's input (Vinyals et al. 2015; Karpathy & Fei-Fei 2015), then come
the characters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.corpus.lines import read_lines
from charrnn.corpus.numbers import Standard, read_vectors
from charrnn.corpus.reading import display_name
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, NewNetwork, new_stepper
from charrnn.models.sampling import choose
from charrnn.models.transfer import transfer
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.nn.ops import linear_forward
from charrnn.nn.parameters import flatten
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import TaskDefaults
from charrnn.tasks.origin import initial_vocabulary
from charrnn.tasks.scoring import mean_loss
from charrnn.tasks.windowed import WindowTask, deal

END = "\n"
ROWS = 256  # texts that are written side by side
SHOWN = 5


class Caption(NamedTuple):
    """A line, and the number of its row of the vectors."""

    source: int
    text: str


@dataclass(frozen=True, eq=False)
class CaptionCoding:
    """What a model of captions knows besides its weights."""

    vocabulary: Vocabulary
    scale: Standard  # of the vectors
    longest: int  # text that training has seen, in characters

    @classmethod
    def from_dict(cls, task: dict[str, Any], width: int) -> CaptionCoding:
        """As it stands in a checkpoint. Raises KeyError, TypeError or ValueError."""
        vocabulary, longest = Vocabulary.of_characters(task), task["longest"]
        if type(longest) is not int or not 0 <= longest <= 10**9 or not vocabulary.knows(END):
            raise ValueError("the length of its texts is none")
        return cls(vocabulary, Standard.from_dict(task["features"], width), longest)

    def to_dict(self) -> dict[str, Any]:
        about = {"lines": True, "features": self.scale.to_dict(), "longest": self.longest}
        return {"name": "lm", **self.vocabulary.to_dict(), **about}

    def architecture(self, model: ModelOptions) -> Architecture:
        size = len(self.vocabulary)
        return Architecture.of(model, input_size=size, features=len(self.scale.mean), output_size=size)

    def records(self, captions: Sequence[Caption], vectors: Array, *, skip_unknown: bool = False) -> Records:
        """A line feed stands where the vector is read; each character predicts the next, the last one the line end."""
        end = self.vocabulary.encode(END)
        texts = [
            np.concatenate([end, self.vocabulary.encode(caption.text, skip_unknown=skip_unknown), end])
            for caption in captions
        ]
        starts = np.cumsum([0, *(len(text) - 1 for text in texts)])
        x = np.concatenate([np.empty(0, end.dtype), *(text[:-1] for text in texts)])
        y = np.concatenate([np.empty(0, end.dtype), *(text[1:] for text in texts)])
        rows = self.scale.apply(vectors[[caption.source for caption in captions]])
        return Records(x, y, np.ones(len(x), bool), starts, rows)


class CaptionTask(WindowTask):
    """Lines and their vectors."""

    unit = "lines"

    defaults = TaskDefaults(weight_decay=0.5, learning_rate_scale=0.5, max_weights_per_symbol=3, chrono_init=True)

    def __init__(
        self, coding: CaptionCoding, parts: dict[str, list[Caption]], vectors: Array, notices: list[str]
    ) -> None:
        self.coding, self.vectors = coding, vectors
        every = sorted(caption for part in parts.values() for caption in part)
        digest = hashlib.sha256(np.ascontiguousarray(vectors).data)
        digest.update("\n".join(caption.text for caption in every).encode("utf-8", "surrogatepass"))
        super().__init__(parts, lambda part: coding.records(part, vectors), digest.hexdigest(), notices)

    @classmethod
    def read(cls, config: RunConfig, start: Checkpoint | None = None) -> CaptionTask:
        """From the files. Raises CorpusError, UsageError."""
        text, notices = config.data, list[str]()
        assert text.features is not None
        if text.val_file is not None:
            raise UsageError("--val-file goes without --features", "see --val-fraction")
        captions = [Caption(n, line.text) for n, line in enumerate(read_lines(config.corpus, text, notices))]
        vectors = read_vectors(text.features)
        names = ", ".join(map(display_name, config.corpus))
        if not captions:
            raise CorpusError(f"{names}: the corpus is empty")
        if len(vectors) != len(captions):
            raise CorpusError(f"{text.features}: {len(vectors)} rows for {len(captions)} lines of {names}")
        parts = deal(captions, text, config.train.seed, notices)
        vocabulary = Vocabulary.of_texts([END, *(caption.text for caption in captions)], initial_vocabulary(start))
        scale = Standard.of(vectors[[caption.source for caption in parts["train"]]])
        longest = max(len(caption.text) for caption in captions)
        if start is not None and start.architecture.features:
            if start.architecture.features != vectors.shape[1]:
                raise UsageError("--init-from: a model of other features")
            scale = start.read_task(lambda task: Standard.from_dict(task["features"], vectors.shape[1]))
        return cls(CaptionCoding(vocabulary, scale, longest), parts, vectors, notices)

    @property
    def vocabulary_size(self) -> int:
        return len(self.coding.vocabulary)

    def describe(self) -> str:
        vectors = f"vectors of {self.vectors.shape[1]}"
        return f"corpus: {self.vocabulary_size} distinct characters, {vectors}, {self.shares()}"

    def metadata(self) -> dict[str, Any]:
        return self.coding.to_dict()

    def architecture(self, model: ModelOptions) -> Architecture:
        return self.coding.architecture(model)

    def initial_weights(self, start: Checkpoint, architecture: Architecture, seed: int) -> dict[str, Array]:
        places = np.searchsorted(self.coding.vocabulary.codes, start.read_task(Vocabulary.from_dict).codes)
        return transfer(start.weights, architecture, seed, places, places if start.task["name"] == "lm" else None)

    def metrics(self, tally: Array) -> dict[str, Any]:
        return {}

    def sample(self, checkpoint: Checkpoint, seed: int) -> str:
        shown = (self.parts["val"] or self.parts["train"])[:SHOWN]
        rows = self.vectors[[caption.source for caption in shown]]
        written = Captioner(checkpoint).write(rows, SamplingOptions(), [seed] * len(shown))
        return "\n".join(f"{caption.text} -> {text}" for caption, (text, _) in zip(shown, written, strict=True))

    def test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        captions = self.parts["test"]
        if not captions:
            return None
        rows = self.vectors[[caption.source for caption in captions]]
        return Captioner(checkpoint).evaluate([caption.text for caption in captions], rows)


class Captioner:
    """A trained model that writes a line from a vector."""

    new_network: NewNetwork = Network  # what reads lines

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for a damaged checkpoint."""
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.coding = checkpoint.read_task(self._known)
        self.vocabulary = self.coding.vocabulary

    def _known(self, task: dict[str, Any]) -> CaptionCoding:
        coding = CaptionCoding.from_dict(task, self.architecture.features)
        if coding.architecture(self.architecture) != self.architecture:
            raise ValueError("what it says of its task does not fit its weights")
        return coding

    def write(
        self,
        vectors: Any,
        config: SamplingOptions,
        seeds: Sequence[int | None],
        *,
        prime: str = "",
        length: int | None = None,
    ) -> list[tuple[str, float]]:
        """A text for each row (N, F), behind the prime, with its mean nats a character, the line end's among them.
        `length`: characters after which it is broken off (default: twice the longest known).

        Raises CorpusError for vectors that are none of this model's, or a prime with unknown characters.
        """
        rows, written = self._checked(vectors), list[tuple[str, float]]()
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            written += self._write(rows[part], config, seeds[part], prime, length or 2 * self.coding.longest + 10)
        return written

    def _write(
        self, rows: Array, config: SamplingOptions, seeds: Sequence[int | None], prime: str, length: int
    ) -> list[tuple[str, float]]:
        named, end = self.checkpoint.weights, int(self.vocabulary.encode(END)[0])
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        stepper = new_stepper(self.architecture, named, len(rows))
        logits = stepper.step_vectors(linear_forward(rows, named["features.weight"], named["features.bias"]))
        for i in self.vocabulary.encode(prime).tolist():
            logits = stepper.step([i] * len(rows))
        ids: list[list[int]] = [[] for _ in rows]
        nats: list[list[float]] = [[] for _ in rows]
        live = list(range(len(rows)))
        for _ in range(length):
            chosen = np.full(len(rows), end)
            chosen[live], costs = choose(logits[live], config, np.array([uniforms[n]() for n in live]))
            for n, i, cost in zip(live, chosen[live].tolist(), costs.tolist(), strict=True):
                nats[n].append(cost)
                if i != end:
                    ids[n].append(i)
            live = [n for n in live if chosen[n] != end]
            if not live:
                break
            logits = stepper.step(chosen)
        texts = [self.vocabulary.decode(each) for each in ids]
        return [(text, math.fsum(costs) / len(costs)) for text, costs in zip(texts, nats, strict=True)]

    def score(self, text: str, vector: Any) -> float:
        """Mean nats per character of a line, its end among them, given its vector."""
        return float(self.evaluate([text], [vector])["loss"])

    def evaluate(self, texts: Sequence[str], vectors: Any, *, skip_unknown: bool = False) -> dict[str, Any]:
        """records, chars, loss, bpc and perplexity of lines with their vectors."""
        rows = self._checked(vectors, standardise=False)
        captions = [Caption(n, text) for n, text in enumerate(texts)]
        records = self.coding.records(captions, rows, skip_unknown=skip_unknown)
        flat = flatten(self.architecture.specs(), self.checkpoint.weights)
        loss = mean_loss(self.architecture, flat, records, self.new_network)
        about = {"records": len(captions), "chars": len(records.x), "loss": loss}
        return about | {"bpc": bits(loss), "perplexity": math.exp(min(loss, 700))}

    def _checked(self, vectors: Any, *, standardise: bool = True) -> Array:
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.architecture.features:
            there = "x".join(map(str, rows.shape))
            raise CorpusError(f"features {there}: the model reads rows of {self.architecture.features} numbers")
        return self.coding.scale.apply(rows) if standardise else rows
