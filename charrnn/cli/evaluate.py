"""charrnn eval: what a text costs under a model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Device,
    Json,
    ModelOption,
    OnUnknown,
    RunOption,
    load_model,
    on_device,
    one_of,
    refuse_run,
)
from charrnn.cli.terminal import show_value
from charrnn.errors import CorpusError, UsageError
from charrnn.options import check_exclusive

MOST_LABELS = 20  # whose confusion is shown

File = Annotated[
    str, typer.Argument(help="Text or records as in training, .gz too; - is standard input.", show_default=False)
]
Features = Annotated[str | None, typer.Option(help="The vectors of the lines, .npy or .csv.", show_default=False)]
PerLine = Annotated[bool, typer.Option("--per-line", help="The loss of each line.")]
PerChar = Annotated[bool, typer.Option("--per-char", help="The loss of each character.")]
Top = Annotated[
    int | None,
    typer.Option(min=1, help="With --per-char: so many of the likeliest characters there.", show_default="0"),
]
Lines = Annotated[bool, typer.Option("--lines", help="Reset the state at each line.", show_default="as trained")]


def evaluate(
    file: File,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    per_line: PerLine = False,
    per_char: PerChar = False,
    top: Top = None,
    lines: Lines = False,
    features: Features = None,
    on_unknown: OnUnknown = "error",
    device: Device = "cpu",
    json_output: Json = False,
) -> None:
    """What a text or records cost under a trained model, and how often it is right.

    [bold]Examples[/bold]

      charrnn eval held-out.txt
      charrnn eval names.txt --per-line --json
      echo "To be, or not to be" | charrnn eval - --per-char --top 5
      charrnn eval books.test.tsv --run runs/books-001

    Under a language model the state is carried through the text; its first character follows the start symbol. A loss
    is in nats a character; bpc is the same in bits, loss / ln 2.
    """
    one_of("--on-unknown", on_unknown, "error", "skip")
    check_exclusive({"per_line": per_line, "per_char": per_char})
    if top is not None and not per_char:
        raise UsageError("--top goes with --per-char")
    refuse_run(file)
    loaded, skip = on_device(load_model(run, model, checkpoint), device), on_unknown == "skip"
    of_text = loaded.checkpoint.task["name"] == "lm" and not loaded.architecture.features
    if (per_line or per_char or lines) and not of_text:
        raise UsageError("--per-line, --per-char and --lines go with a language model of a text")
    if loaded.architecture.features:
        result = _captions(file, loaded, features, skip=skip)
        typer.echo(json.dumps(result) if json_output else "\n".join(_shown(result)))
        return
    if features is not None:
        raise UsageError("--features: this model was trained without")
    if of_text:
        _text(file, loaded, per_line, per_char, top, lines=lines, skip=skip, json_output=json_output)
        return
    result = _records(file, loaded, skip=skip)
    typer.echo(json.dumps(result) if json_output else "\n".join(_shown(result)))


def _captions(file: str, model: Any, features: str | None, *, skip: bool) -> dict[str, Any]:
    from charrnn.corpus.lines import read_lines
    from charrnn.corpus.numbers import read_vectors
    from charrnn.options import DataOptions

    if features is None:
        raise UsageError("this model writes from vectors", "give those of the lines with --features")
    lines, vectors = [line.text for line in read_lines([file], DataOptions(), [])], read_vectors(features)
    if len(lines) != len(vectors):
        raise CorpusError(f"{features}: {len(vectors)} rows for {len(lines)} lines of {file}")
    result: dict[str, Any] = model.evaluate(lines, vectors, skip_unknown=skip)
    return result


def _records(file: str, model: Any, *, skip: bool) -> dict[str, Any]:
    data = model.read(file)
    if not data:
        raise CorpusError(f"{file}: no records")
    series = model.checkpoint.task["name"] == "series"
    result: dict[str, Any] = model.evaluate(data) if series else model.evaluate(data, skip_unknown=skip)
    return result


def _shown(result: dict[str, Any]) -> Iterator[str]:
    """Numbers, one a line; a confusion matrix below them."""
    for name, value in result.items():
        if isinstance(value, dict):
            yield f"{name.replace('_', ' ')}: " + ", ".join(
                f"{show_value(column)} {number:.4g}" for column, number in value.items()
            )
        elif name not in ("labels", "confusion"):
            yield f"{name.replace('_', ' ')}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}"
    if "confusion" in result:
        if len(result["confusion"]) > MOST_LABELS:
            yield f"confusion of {len(result['confusion'])} labels: see --json"
            return
        labels, rows = [show_value(label) for label in result["labels"]], result["confusion"]
        width = max(9, *map(len, labels))
        yield "true label, then how often each was predicted:"
        yield " ".join([" " * width, *(label.rjust(width) for label in labels[: len(rows[0])])])
        for label, row in zip(labels, rows, strict=True):
            unseen = "" if any(label == known for known in labels[: len(row)]) else "  (not in training)"
            yield " ".join([label.rjust(width), *(str(count).rjust(width) for count in row)]) + unseen


def _text(
    file: str,
    loaded: Any,
    per_line: bool,
    per_char: bool,
    top: int | None,
    *,
    lines: bool,
    skip: bool,
    json_output: bool,
) -> None:
    """The loss of a text under a language model."""
    import numpy as np

    from charrnn.tasks.language.scoring import text_metrics

    ids = read_ids(file, loaded, skip_unknown=skip)
    newline = loaded.vocabulary.newline
    lines = lines or loaded.lines
    if lines and newline is None:
        raise UsageError("--lines: the model does not know the line feed")
    if top is not None:
        for symbol, value, others in loaded.guesses(ids, top, lines=lines):
            row: dict[str, Any] = {"char": symbol, "loss": value, "top": others}
            shown = "  ".join(f"{other!r} {p:.3f}" for other, p in others)
            typer.echo(json.dumps(row) if json_output else f"{value:8.4f}  {symbol!r:8}  {shown}")
        return
    nats = loaded.nats(ids, lines=lines)
    if per_char:
        symbols = [chr(code) for code in loaded.vocabulary.codes[ids].tolist()]
        for symbol, value in zip(symbols, nats.tolist(), strict=True):
            typer.echo(json.dumps({"char": symbol, "loss": value}) if json_output else f"{value:8.4f}  {symbol!r}")
        return
    if per_line:
        ends = [] if newline is None else (np.flatnonzero(ids == newline) + 1).tolist()
        bounds = [0, *ends] if ends and ends[-1] == len(ids) else [0, *ends, len(ids)]
        for number, (start, stop) in enumerate(itertools.pairwise(bounds), 1):
            loss, text = float(nats[start:stop].mean(dtype=np.float64)), loaded.vocabulary.decode(ids[start:stop])
            if json_output:
                row = {"line": number, "chars": stop - start, "loss": loss, "text": text.rstrip("\n")}
                typer.echo(json.dumps(row))
            else:
                typer.echo(f"{loss:8.4f}  {show_value(text.rstrip())}")
        if json_output:
            return
    row = text_metrics(nats)
    if json_output:
        typer.echo(json.dumps(row))
    else:
        bits = f"{row['bpc']:.4f} bits a character, perplexity {row['perplexity']:.3f}"
        typer.echo(f"{len(nats):,} characters: {row['loss']:.4f} nats, {bits}")


def read_ids(file: str, loaded: Any, *, skip_unknown: bool) -> Any:
    """A text as a language model reads it."""
    import numpy as np

    from charrnn.corpus.reading import display_name, read_codes
    from charrnn.options import DataOptions

    chunks = list(read_codes([file], DataOptions(bytes=loaded.vocabulary.is_bytes), []))
    if not chunks:
        raise CorpusError(f"{display_name(file)}: the text is empty")
    return loaded.vocabulary.codes_to_ids(np.concatenate(chunks), skip_unknown=skip_unknown)
