"""charrnn sample: text from a model."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from charrnn.cli.options import (
    CheckpointOption,
    Json,
    ModelOption,
    OnUnknown,
    RunOption,
    given,
    load_language_model,
    one_of,
    with_settings,
)
from charrnn.config import SampleConfig, part, refuse_exclusive
from charrnn.errors import UsageError

Prime = Annotated[str | None, typer.Option(help="Text to go on from.", show_default=False)]
PrimeFile = Annotated[str | None, typer.Option(help="File that holds the text to go on from; - is standard input.")]
Length = Annotated[int, typer.Option("--length", "-n", min=0, help="Characters to write; 0 = until interrupted.")]
NumSamples = Annotated[int, typer.Option(min=1, max=10000, help="How many samples, drawn side by side.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed; sample k of several has seed + k.", show_default="a new one")
]
Stop = Annotated[list[str] | None, typer.Option(help="End a sample before this text; repeatable.", show_default=False)]
Features = Annotated[
    str | None, typer.Option(help="Vectors to write from, .npy or .csv: a text a row.", show_default=False)
]
HidePrime = Annotated[bool, typer.Option("--hide-prime", help="Do not write the prime.")]


@with_settings(SampleConfig)
def sample(
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    prime: Prime = None,
    prime_file: PrimeFile = None,
    length: Length = 500,
    num_samples: NumSamples = 1,
    seed: Seed = None,
    stop: Stop = None,
    hide_prime: HidePrime = False,
    features: Features = None,
    on_unknown: OnUnknown = "error",
    json_output: Json = False,
    **settings: Any,
) -> None:
    """Write text with a trained model, character by character.

    [bold]Examples[/bold]

      charrnn sample
      charrnn sample --run runs/corpus-001 --prime "ROMEO:" --length 1000 --temperature 0.8
      charrnn sample --prime "Once" --stop "." --num-samples 5
      charrnn sample --model best.safetensors --json --seed 7
      charrnn sample --features images.npy --greedy

    With --json a line for each sample: prime, text, seed, and nats, the mean loss of its characters under the model.
    """
    one_of("--on-unknown", on_unknown, "error", "skip")
    refuse_exclusive({"prime": prime, "prime_file": prime_file})
    if length == 0 and (num_samples > 1 or json_output):
        raise UsageError("--length 0 goes with one sample, as text")
    if stop and "" in stop:
        raise UsageError("--stop: an empty text would end every sample at once")
    config: SampleConfig = part(SampleConfig, given(settings))
    loaded = load_language_model(run, model, checkpoint)
    if prime_file is not None:
        from charrnn.corpus.reading import read_text

        prime = read_text(prime_file)
    prime = prime or ""
    if loaded.architecture.features:
        if features is None:
            raise UsageError("this model writes from vectors", "give them with --features")
        _captions(loaded, features, prime, config, seed, hide_prime=hide_prime, json_output=json_output)
        return
    if features is not None:
        raise UsageError("--features: this model was trained without")
    ids = loaded.vocabulary.encode(prime, skip_unknown=on_unknown == "skip")
    first_seed = secrets.randbits(32) if seed is None else seed
    seeds: list[int | None] = [first_seed + k for k in range(num_samples)]
    shown = "" if hide_prime else prime
    writers = [_Writer(stop or [], _echo if num_samples == 1 and not json_output else None) for _ in seeds]
    if num_samples == 1 and not json_output:
        _echo(shown)
    for step in loaded.sample_many(ids, length, seeds, config):
        for writer, (text, nats) in zip(writers, step, strict=True):
            writer.add(text, nats)
        if all(writer.done for writer in writers):
            break
    for number, writer in enumerate(writers):
        writer.finish()
        if json_output:
            row = {"prime": prime, "text": "".join(writer.text), "seed": first_seed + number, "nats": writer.mean_nats}
            print(json.dumps(row))
        elif num_samples > 1:
            _echo(("-" * 40 + "\n" if number else "") + shown + "".join(writer.text) + "\n")
    if num_samples == 1 and not json_output:
        _echo("\n")


def _captions(
    model: Any, path: str, prime: str, config: SampleConfig, seed: int | None, *, hide_prime: bool, json_output: bool
) -> None:
    """A text for each row of the features, a line each."""
    from charrnn.corpus.numbers import read_vectors

    vectors = read_vectors(path)
    first_seed = secrets.randbits(32) if seed is None else seed
    seeds = [first_seed + k for k in range(len(vectors))]
    for k, (text, nats) in enumerate(model.write(vectors, config, seeds, prime=prime)):
        if json_output:
            print(json.dumps({"prime": prime, "text": text, "seed": seeds[k], "nats": nats}))
        else:
            _echo(("" if hide_prime else prime) + text + "\n")


def _echo(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Writer:
    """One sample: passes its text on as soon as no stop text can still begin in it."""

    def __init__(self, stops: list[str], write: Callable[[str], None] | None) -> None:
        self.stops, self.write = stops, write
        self.held, self.done = "", False
        self.text: list[str] = []
        self.nats: list[float] = []

    def add(self, text: str, nats: float) -> None:
        if self.done:
            return
        self.nats.append(nats)
        self.held += text
        for stop in self.stops:
            if stop in self.held:
                self.held = self.held[: self.held.index(stop)]
                self.done = True
        begun = max((n for s in self.stops for n in range(1, len(s)) if self.held.endswith(s[:n])), default=0)
        if self.done:
            begun = 0
        self._release(len(self.held) - begun)

    def finish(self) -> None:
        self._release(len(self.held))

    def _release(self, size: int) -> None:
        out, self.held = self.held[:size], self.held[size:]
        if self.write is not None:
            self.write(out)
        else:
            self.text.append(out)

    @property
    def mean_nats(self) -> float | None:
        return sum(self.nats) / len(self.nats) if self.nats else None
