"""charrnn sample: generates text."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Json,
    ModelOption,
    OnUnknown,
    RunArgument,
    Runs,
    as_text_model,
    check_choice,
    check_pairs,
    given_options,
    load_model,
)
from charrnn.cli.parameters import with_options
from charrnn.cli.terminal import print_json, print_stderr, write_text
from charrnn.corpus.escapes import readable, to_bytes
from charrnn.errors import UsageError, printable
from charrnn.options import SamplingOptions, select_options
from charrnn.tasks.language.writing import StoppableText

if TYPE_CHECKING:
    from charrnn.analysis.copies import Copies
    from charrnn.tasks.base import DescribesVectors
    from charrnn.tasks.language.model import TextModel

MAX_PASSAGE = 80  # characters shown of a copied passage
DEFAULT_LENGTH = 500
MAX_STREAMS = 256  # samples that are generated at the same time
MAX_DRAWS = 20  # with --unique: maximum number of draws per requested sample
RULER = "-" * 40 + "\n"

Prime = Annotated[str | None, typer.Option(help=r"Text to continue (\n is the line feed).", show_default=False)]
PrimeFile = Annotated[str | None, typer.Option(help="File with the text to continue; - is standard input.")]
Length = Annotated[
    int | None,
    typer.Option(
        "--length",
        "-n",
        min=0,
        help="Number of characters; 0 = until interrupted.",
        show_default=str(DEFAULT_LENGTH),
    ),
]
NumSamples = Annotated[int, typer.Option(min=1, help=f"Number of samples, {MAX_STREAMS} of them at the same time.")]
Unique = Annotated[
    bool, typer.Option("--unique", help="Replace samples that repeat an earlier one by further samples.")
]
Beam = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="Search for a likely text with this many hypotheses, instead of sampling.",
        show_default="off",
        rich_help_panel="Sampling",
    ),
]
NoRepeatNgram = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Never write this many characters in a row that the text already contains.",
        show_default="no limit",
        rich_help_panel="Sampling",
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed of the first sample; sample k has seed + k.", show_default="random")
]
Stop = Annotated[
    list[str] | None,
    typer.Option(help=r"End a sample before this text (\n is the line feed). Repeatable.", show_default=False),
]
Features = Annotated[
    str | None,
    typer.Option(
        help="Vectors to describe, .npy or .csv: one text for each row. For --task caption.", show_default=False
    ),
]
CopiesOption = Annotated[
    bool,
    typer.Option("--copies", help="Report the passages of the samples that are copied from the training text."),
]
HidePrime = Annotated[bool, typer.Option("--hide-prime", help="Do not print the prime.")]


@with_options(SamplingOptions)
def sample(
    named_run: RunArgument = None,
    runs: Runs = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    prime: Prime = None,
    prime_file: PrimeFile = None,
    length: Length = None,
    num_samples: NumSamples = 1,
    unique: Unique = False,
    no_repeat_ngram: NoRepeatNgram = None,
    beam: Beam = None,
    seed: Seed = None,
    stop: Stop = None,
    hide_prime: HidePrime = False,
    copies: CopiesOption = False,
    features: Features = None,
    on_unknown: OnUnknown = "error",
    json_output: Json = False,
    **options: Any,
) -> None:
    """Generate text with a trained model, character by character.

    [bold]Examples[/bold]

      charrnn sample
      charrnn sample corpus-001 --prime "ROMEO:" --length 1000 --temperature 0.5
      charrnn sample --prime "Once" --stop "\\n" --num-samples 5
      charrnn sample --model best.safetensors --json --seed 7
      charrnn sample --features images.npy --greedy
      charrnn sample --length 2000 --copies

    Characters are printed as they are generated. Several samples are separated by a line of dashes. A model trained
    with --lines generates one line for each sample.

    A model trained with --bytes reads and writes raw bytes, also with --prime-file.

    --json prints one object per sample, with the fields prime, text, seed, nats (the mean loss of its characters) and,
    with --copies, copies. For a model of bytes, base64 has the exact bytes of the text; in text, U+FFFD stands for
    those that are not UTF-8.
    """
    check_choice("--on-unknown", on_unknown, "error", "skip")
    check_pairs(prime=prime, prime_file=prime_file, copies=copies, model=model)
    if length == 0 and (num_samples > 1 or json_output or copies):
        raise UsageError("--length 0 cannot be combined with --num-samples, --json or --copies")
    if stop and "" in stop:
        raise UsageError("--stop: the text is empty")
    if named_run is not None and runs:
        raise UsageError(f"{named_run} and --run {runs[0]}: two runs are given", "to average several runs, use --run")
    sampling_options = given_options(options)
    sampling = select_options(SamplingOptions, sampling_options)
    samples = num_samples > 1 or unique or no_repeat_ngram or seed is not None or sampling_options
    if beam is not None and (samples or stop or copies or features is not None or length == 0):
        raise UsageError("--beam finds one text and cannot be combined with other options than --prime and --length")
    loaded = load_model(
        [named_run] if named_run is not None else runs or [], model, checkpoint, methods=["sample_many", "write"]
    )
    from charrnn.tasks.base import DescribesVectors

    if prime_file is not None:
        from charrnn.corpus.reading import TextReader, read_text

        if isinstance(loaded, DescribesVectors):
            prime = "".join(TextReader().texts(prime_file))
        else:
            prime = read_text(prime_file, as_text_model(loaded).vocabulary)
    else:
        prime = _unescape(prime or "")
    first_seed = secrets.randbits(32) if seed is None else seed
    prefix = "" if hide_prime else prime
    if isinstance(loaded, DescribesVectors):
        if features is None:
            raise UsageError("this model writes texts for vectors", "give the vectors with --features")
        if copies or stop or num_samples > 1 or unique or no_repeat_ngram or length == 0:
            others = "--copies, --stop, --num-samples, --unique, --no-repeat-ngram or --length 0"
            raise UsageError(f"--features cannot be combined with {others}")
        _describe(loaded, features, prime, sampling, first_seed, length, prefix=prefix, json_output=json_output)
        return
    text_model = as_text_model(loaded)
    if features is not None:
        raise UsageError("--features: this model was trained without features")
    corpus = None
    if copies:
        from charrnn.analysis.copies import find_copies, merge_copies
        from charrnn.cli.progress import reading_bar
        from charrnn.tasks.registry import read_corpus

        with reading_bar():
            corpus = read_corpus(text_model)  # before anything is printed
    ids = text_model.vocabulary.encode(prime, skip_unknown=on_unknown == "skip")
    is_streamed = num_samples == 1 and not json_output
    length = DEFAULT_LENGTH if length is None else length
    if beam is not None:
        text, nats = text_model.search(ids, length, beam)
        if json_output:
            print_json(_json_row(text_model, prime, text, None, nats))
        else:
            write_text(f"{prefix}{text}\n")
        return
    stops = [*map(_unescape, stop or []), *(text_model.stops if length else [])]  # --length 0: no stop at line ends
    if is_streamed:
        write_text(prefix)

    def draw(seeds: Sequence[int]) -> list[Sample]:
        batch = [Sample(seed, stops, is_printed=is_streamed, is_kept=copies or not is_streamed) for seed in seeds]
        steps = text_model.sample_many(ids, length, list(seeds), sampling, no_repeat_ngram=no_repeat_ngram or 0)
        for step in steps:
            for one, (text, nats) in zip(batch, step, strict=True):
                one.add(text, nats)
            if all(one.is_done for one in batch):
                break
        for one in batch:
            one.finish()
        return batch

    found: list[Copies] = []
    number = 0
    for number, one in enumerate(_draw_samples(draw, first_seed, num_samples, unique=unique)):
        if corpus is not None:
            found.append(find_copies(one.text, corpus))
        if json_output:
            row = _json_row(text_model, prime, one.text, one.seed, one.mean_nats)
            print_json(row | ({"copies": found[number].to_dict()} if found else {}))
        elif is_streamed:
            write_text("\n")
        else:
            ruler = RULER if number and not text_model.lines else ""
            write_text(f"{ruler}{prefix}{one.text}\n")
    if number + 1 < num_samples:
        print_stderr(f"only {number + 1} different samples in {MAX_DRAWS * num_samples} draws")
    if corpus is not None and not json_output:
        unit = "bytes" if corpus.vocabulary.is_bytes else "characters"
        print_stderr(_describe_copies(merge_copies(found), unit))


def _json_row(model: TextModel, prime: str, text: str, seed: int | None, nats: float | None) -> dict[str, Any]:
    """A text that was written, as a JSON object."""
    row = {"prime": readable(prime), "text": readable(text), "seed": seed, "nats": nats}
    if model.vocabulary.is_bytes:
        row["base64"] = base64.b64encode(to_bytes(text)).decode()
    return row


def _unescape(text: str) -> str:
    """A text of the command line, in which backslash and n stand for the line feed."""
    return text.replace("\\n", "\n")


def _draw_samples(
    draw: Callable[[Sequence[int]], list[Sample]], first_seed: int, number: int, *, unique: bool
) -> Iterator[Sample]:
    """Yields samples with consecutive seeds. draw: seeds -> samples.

    unique: whether to leave out samples with the text of an earlier one. There may then be fewer than `number` samples.
    """
    texts = set[str]()
    yielded = 0
    drawn = 0
    while yielded < number and drawn < (MAX_DRAWS if unique else 1) * number:
        seeds = range(first_seed + drawn, first_seed + drawn + min(MAX_STREAMS, number - yielded))
        drawn += len(seeds)
        for sample in draw(seeds):
            if unique:
                if sample.text in texts:
                    continue
                texts.add(sample.text)
            yielded += 1
            yield sample


def _describe(
    model: DescribesVectors,
    path: str,
    prime: str,
    sampling: SamplingOptions,
    first_seed: int,
    length: int | None,
    *,
    prefix: str,
    json_output: bool,
) -> None:
    """Prints a text for each row of a file of vectors."""
    from charrnn.corpus.numbers import read_vectors

    vectors = read_vectors(path)
    seeds = [first_seed + k for k in range(len(vectors))]
    texts = model.write(vectors, sampling, seeds, prime=prime, length=length)
    for seed, (text, nats) in zip(seeds, texts, strict=True):
        if json_output:
            print_json({"prime": prime, "text": text, "seed": seed, "nats": nats})
        else:
            write_text(f"{prefix}{text}\n")


def _describe_copies(copies: Copies, unit: str) -> str:
    """Describes the copied passages in one line. unit: the unit of their lengths."""
    from charrnn.analysis.copies import PASSAGE

    if copies.share is None or copies.offset is None:
        return "copied from the training text: nothing"
    passage = printable(copies.text[:MAX_PASSAGE]) + ("..." if len(copies.text) > MAX_PASSAGE else "")
    return (
        f"copied from the training text: {copies.share:.1%} of the text is in passages of at least {PASSAGE} {unit}; "
        f"the longest passage has {copies.length:,} {unit}, at offset {copies.offset:,} (line {copies.line:,}): "
        f'"{passage}"'
    )


class Sample:
    """A sample that is being generated. Its text ends before the first stop text."""

    def __init__(self, seed: int, stops: list[str], *, is_printed: bool, is_kept: bool) -> None:
        """is_printed: whether the text is printed as it is generated. is_kept: whether it is collected in `text`."""
        self.seed = seed
        self.is_printed = is_printed
        self.is_kept = is_kept
        self.text = ""
        self._stoppable = StoppableText(stops)
        self._nats = 0.0
        self._num_chars = 0

    @property
    def is_done(self) -> bool:
        return self._stoppable.done

    def add(self, text: str, nats: float) -> None:
        """Appends a character with its loss, unless the sample is done."""
        if not self.is_done:
            self._nats += nats
            self._num_chars += 1
            self._release(self._stoppable.add(text))

    def finish(self) -> None:
        """Prints and collects the rest of the text, which could have been the start of a stop text."""
        self._release(self._stoppable.finish())

    def _release(self, text: str) -> None:
        if self.is_printed:
            write_text(text)
        if self.is_kept:
            self.text += text

    @property
    def mean_nats(self) -> float | None:
        return self._nats / self._num_chars if self._num_chars else None
