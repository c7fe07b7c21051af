"""charrnn sample: text from a model."""

from __future__ import annotations

import json
import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Json,
    ModelOption,
    OnUnknown,
    RunArgument,
    RunOption,
    given,
    load_language_model,
    one_of,
    with_settings,
)
from charrnn.cli.terminal import say
from charrnn.errors import UsageError, printable
from charrnn.options import SamplingOptions, check_exclusive
from charrnn.tasks.language.writing import Writing

if TYPE_CHECKING:
    from charrnn.analysis.copies import Copies

SHOWN = 80  # characters of a copied passage
DEFAULT_LENGTH = 500

Prime = Annotated[str | None, typer.Option(help="Text to go on from.", show_default=False)]
PrimeFile = Annotated[str | None, typer.Option(help="File that holds the text to go on from; - is standard input.")]
Length = Annotated[
    int | None,
    typer.Option(
        "--length", "-n", min=0, help="Characters to write; 0 = until interrupted.", show_default=str(DEFAULT_LENGTH)
    ),
]
NumSamples = Annotated[int, typer.Option(min=1, max=10000, help="How many samples, drawn side by side.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed; sample k of several has seed + k.", show_default="a new one")
]
Stop = Annotated[
    list[str] | None,
    typer.Option(help=r"End a sample before this text (\n: the line feed); repeatable.", show_default=False),
]
Features = Annotated[
    str | None, typer.Option(help="Vectors to write from, .npy or .csv: a text a row.", show_default=False)
]
CopiesOption = Annotated[
    bool,
    typer.Option("--copies", help="Say how much of it stands word for word in the training text, and where the most."),
]
HidePrime = Annotated[bool, typer.Option("--hide-prime", help="Do not write the prime.")]


@with_settings(SamplingOptions)
def sample(
    named: RunArgument = None,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    prime: Prime = None,
    prime_file: PrimeFile = None,
    length: Length = None,
    num_samples: NumSamples = 1,
    seed: Seed = None,
    stop: Stop = None,
    hide_prime: HidePrime = False,
    copies: CopiesOption = False,
    features: Features = None,
    on_unknown: OnUnknown = "error",
    json_output: Json = False,
    **settings: Any,
) -> None:
    """Write text with a trained model, character by character.

    [bold]Examples[/bold]

      charrnn sample
      charrnn sample corpus-001 --prime "ROMEO:" --length 1000 --temperature 0.5
      charrnn sample --prime "Once" --stop "\\n" --num-samples 5
      charrnn sample --model best.safetensors --json --seed 7
      charrnn sample --features images.npy --greedy
      charrnn sample --length 2000 --copies

    A model of lines writes a line for each sample. With --json a line for each: prime, text, seed, and nats, the mean
    loss of its characters under the model; with --copies also copies.
    """
    one_of("--on-unknown", on_unknown, "error", "skip")
    check_exclusive({"prime": prime, "prime_file": prime_file})
    check_exclusive({"copies": copies, "model": model})
    if length == 0 and (num_samples > 1 or json_output or copies):
        raise UsageError("--length 0 goes with one sample, as text, without --copies")
    if stop and "" in stop:
        raise UsageError("--stop: an empty text would end every sample at once")
    if named is not None and run is not None:
        raise UsageError(f"{named} and --run {run}: one run, please")
    config: SamplingOptions = select_options(SamplingOptions, given(settings))
    loaded = load_language_model(named or run, model, checkpoint)
    if sys.stderr.isatty():
        say(f"{loaded.checkpoint.path} writes:")
    if prime_file is not None:
        from charrnn.corpus.reading import read_text

        prime = read_text(prime_file)
    prime = prime or ""
    first_seed = secrets.randbits(32) if seed is None else seed
    if loaded.architecture.features:
        if features is None:
            raise UsageError("this model writes from vectors", "give them with --features")
        if copies:
            raise UsageError("--copies goes with a model of a text, not with --features")
        if stop or num_samples > 1 or length == 0:
            raise UsageError("--features: a text for each row, which ends where it ends")
        _captions(loaded, features, prime, config, first_seed, length, hide_prime=hide_prime, json_output=json_output)
        return
    if features is not None:
        raise UsageError("--features: this model was trained without")
    shown, trained, found = "" if hide_prime else prime, None, list["Copies"]()
    if copies:
        from charrnn.analysis.copies import find_copies, together
        from charrnn.tasks.registry import corpus_of

        trained = corpus_of(loaded)
    ids = loaded.vocabulary.encode(prime, skip_unknown=on_unknown == "skip")
    stops = [*(text.replace("\\n", "\n") for text in stop or []), *loaded.stops]
    streams = num_samples == 1 and not json_output
    samples = [_Sample(first_seed + k, stops, shown if streams else None, kept=copies) for k in range(num_samples)]
    for step in loaded.sample_many(
        ids, DEFAULT_LENGTH if length is None else length, [one.seed for one in samples], config
    ):
        for one, (text, nats) in zip(samples, step, strict=True):
            one.add(text, nats)
        if all(one.writing.done for one in samples):
            break
    for number, one in enumerate(samples):
        one.finish()
        if trained is not None:
            found.append(find_copies(one.text, trained))
        if json_output:
            row = {"prime": prime, "text": one.text, "seed": one.seed, "nats": one.mean_nats}
            print(json.dumps(row | ({"copies": found[-1].to_dict()} if found else {})))
        elif not streams:
            ruler = "-" * 40 + "\n" if number and not loaded.lines else ""
            _echo(ruler + shown + one.text + "\n")
    if trained is not None and not json_output:
        say(_told(together(found), "bytes" if trained.vocabulary.is_bytes else "characters"))


def _captions(
    model: Any,
    path: str,
    prime: str,
    config: SamplingOptions,
    first_seed: int,
    length: int | None,
    *,
    hide_prime: bool,
    json_output: bool,
) -> None:
    """A text for each row of the features, a line each."""
    from charrnn.corpus.numbers import read_vectors

    vectors = read_vectors(path)
    seeds = [first_seed + k for k in range(len(vectors))]
    for k, (text, nats) in enumerate(model.write(vectors, config, seeds, prime=prime, length=length)):
        if json_output:
            print(json.dumps({"prime": prime, "text": text, "seed": seeds[k], "nats": nats}))
        else:
            _echo(("" if hide_prime else prime) + text + "\n")


def _told(found: Copies, unit: str) -> str:
    """What was copied, in a line."""
    from charrnn.analysis.copies import PASSAGE

    if found.share is None or found.offset is None:
        return "copied word for word: nothing"
    shown = printable(found.text[:SHOWN]) + ("..." if len(found.text) > SHOWN else "")
    return (
        f"copied word for word: {found.share:.1%} of it, in passages of {PASSAGE} {unit} and more; the longest: "
        f'{found.length:,} {unit}, at offset {found.offset:,} (line {found.line:,}) of the training text: "{shown}"'
    )


def _echo(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Sample:
    """One of the samples: its text as far as it is certain, and what its characters cost. One that streams is written
    at once, behind what is `shown` before it, and kept only where it must be."""

    def __init__(self, seed: int, stops: list[str], shown: str | None, *, kept: bool) -> None:
        self.seed, self.writing, self.streams = seed, Writing(stops), shown is not None
        self.kept = kept or not self.streams
        self.text, self.nats, self.chars = "", 0.0, 0
        if shown is not None:
            _echo(shown)

    def add(self, text: str, nats: float) -> None:
        """The next character."""
        if self.writing.done:
            return
        self.nats, self.chars = self.nats + nats, self.chars + 1
        self._take(self.writing.add(text))

    def finish(self) -> None:
        """No more will come."""
        self._take(self.writing.finish())
        if self.streams:
            _echo("\n")

    def _take(self, certain: str) -> None:
        if self.streams:
            _echo(certain)
        if self.kept:
            self.text += certain

    @property
    def mean_nats(self) -> float | None:
        return self.nats / self.chars if self.chars else None
