"""charrnn eval: computes the loss and other metrics of a model on a file."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Device,
    Json,
    ModelOption,
    OnUnknown,
    Runs,
    as_text_model,
    check_choice,
    check_pairs,
    load_model,
    refuse_run_as_file,
)
from charrnn.cli.terminal import format_value, print_json, print_stderr
from charrnn.errors import RunError, UsageError

if TYPE_CHECKING:
    from charrnn.nn.arrays import Array
    from charrnn.tasks.base import TrainedModel
    from charrnn.tasks.language.model import TextModel

MAX_LABELS = 20  # a confusion matrix with more labels is not printed

File = Annotated[
    str,
    typer.Argument(help="File in the training format, optionally .gz; - is standard input.", show_default=False),
]
Features = Annotated[
    str | None, typer.Option(help="Vectors of the lines, .npy or .csv. For --task caption.", show_default=False)
]
PerLine = Annotated[bool, typer.Option("--per-line", help="Print the loss of each line.")]
PerChar = Annotated[bool, typer.Option("--per-char", help="Print the loss of each character.")]
Top = Annotated[
    int | None,
    typer.Option(min=1, help="With --per-char: print this many of the most likely characters.", show_default="0"),
]
Lines = Annotated[bool, typer.Option("--lines", help="Reset the state at each line.", show_default="as in training")]


def evaluate(
    file: File,
    runs: Runs = None,
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
    """Compute the loss and other metrics of a trained model on a file.

    [bold]Examples[/bold]

      charrnn eval held-out.txt
      charrnn eval names.txt --per-line --json
      echo "To be, or not to be" | charrnn eval - --per-char --top 5
      charrnn eval books.test.tsv --run runs/books-001

    The loss is in nats per scored symbol; bpc is the loss in bits, loss / ln 2. A language model carries its state
    through the text. The first character is predicted too, from the start symbol.

    --per-line, --per-char and --lines are for language models.
    """
    from charrnn.tasks.base import EvaluationFile

    check_choice("--on-unknown", on_unknown, "error", "skip")
    check_pairs(per_line=per_line, per_char=per_char)
    if top is not None and not per_char:
        raise UsageError("--top needs --per-char")
    refuse_run_as_file(file)
    loaded = load_model(runs or [], model, checkpoint, device=device)
    skip_unknown = on_unknown == "skip"
    if features is not None and not loaded.architecture.features:
        raise UsageError("--features: this model was trained without features")
    if per_line or per_char or lines:
        text_model = as_text_model(loaded, "--per-line" if per_line else "--per-char" if per_char else "--lines")
        ids = text_model.read_ids(file, skip_unknown=skip_unknown)
        _evaluate_parts(text_model, ids, per_line, per_char, top, lines=lines, json_output=json_output)
    else:
        _print_scores(loaded.evaluate_file(EvaluationFile(file, features, skip_unknown)), json_output=json_output)
    if _is_training_file(file, loaded):
        print_stderr(f"{file}: the model was trained on this file, so the result says little about other files")


def _is_training_file(file: str, model: TrainedModel) -> bool:
    """Whether the run of a model was trained on a file. False if the run is not known."""
    from charrnn.runs.directory import Run

    with contextlib.suppress(RunError):
        corpus = Run(model.checkpoint.path.parent).read_config().corpus
        return file != "-" and any(os.path.realpath(path) == os.path.realpath(file) for path in corpus)
    return False


def _evaluate_parts(
    model: TextModel, ids: Array, per_line: bool, per_char: bool, top: int | None, *, lines: bool, json_output: bool
) -> None:
    """Prints the loss of each character or line of a text. If only `lines` is true, prints the loss of the text.

    lines: whether the state is reset at each line. Otherwise it is reset as in training.
    """
    from charrnn.tasks.language.scoring import text_metrics

    if lines and model.vocabulary.newline is None:
        raise UsageError("--lines: the line feed is not in the vocabulary")
    reset_at_lines = lines or model.lines
    if top is not None:
        for symbol, loss, most_likely in model.most_likely(ids, top, lines=reset_at_lines):
            if json_output:
                print_json({"char": symbol, "loss": loss, "top": most_likely})
            else:
                others = "  ".join(f"{other!r} {p:.3f}" for other, p in most_likely)
                print(f"{loss:8.4f}  {symbol!r:8}  {others}")
        return
    nats = model.nats(ids, lines=reset_at_lines)
    if per_char:
        symbols = [chr(code) for code in model.vocabulary.codes[ids].tolist()]
        for symbol, loss in zip(symbols, nats.tolist(), strict=True):
            if json_output:
                print_json({"char": symbol, "loss": loss})
            else:
                print(f"{loss:8.4f}  {symbol!r}")
        return
    if per_line:
        _print_lines(model, ids, nats, json_output=json_output)
    if not (per_line and json_output):
        _print_scores(text_metrics(nats), json_output=json_output)


def _print_lines(model: TextModel, ids: Array, nats: Array, *, json_output: bool) -> None:
    import numpy as np

    newline = model.vocabulary.newline
    ends = [] if newline is None else (np.flatnonzero(ids == newline) + 1).tolist()
    bounds = [0, *ends] if ends and ends[-1] == len(ids) else [0, *ends, len(ids)]
    for number, (start, stop) in enumerate(itertools.pairwise(bounds), 1):
        loss = float(nats[start:stop].mean(dtype=np.float64))
        text = model.vocabulary.decode(ids[start:stop])
        if json_output:
            print_json({"line": number, "chars": stop - start, "loss": loss, "text": text.rstrip("\n")})
        else:
            print(f"{loss:8.4f}  {format_value(text.rstrip())}")


def _print_scores(scores: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        print_json(scores)
        return
    for line in _score_lines(scores):
        print(line)


def _score_lines(scores: dict[str, Any]) -> Iterator[str]:
    """The scores, one per line, and the confusion matrix."""
    if set(scores) == {"chars", "loss", "bpc", "perplexity"}:
        yield (
            f"{scores['chars']:,} characters: {scores['loss']:.4f} nats, {scores['bpc']:.4f} bits per character, "
            f"perplexity {scores['perplexity']:.3f}"
        )
        return
    for name, value in scores.items():
        title = name.replace("_", " ")
        if isinstance(value, dict):
            columns = ", ".join(f"{format_value(column)} {number:.4g}" for column, number in value.items())
            yield f"{title}: {columns}"
        elif isinstance(value, float):
            yield f"{title}: {value:.4f}"
        elif name not in ("labels", "confusion"):
            yield f"{title}: {format_value(value)}"
    if "confusion" in scores:
        yield from _confusion_lines(scores["labels"], scores["confusion"])


def _confusion_lines(labels: list[str], confusion: list[list[int]]) -> Iterator[str]:
    """Yields a row for each true label. Labels that are not in the training data come last and have no column."""
    if len(confusion) > MAX_LABELS:
        yield f"confusion matrix of {len(confusion)} labels: see --json"
        return
    names = [format_value(label) for label in labels]
    num_known = len(confusion[0])
    width = max(9, *map(len, names))
    yield "confusion matrix: a row for each true label, a column for each predicted label"
    yield " ".join([" " * width, *(name.rjust(width) for name in names[:num_known])])
    for number, (name, counts) in enumerate(zip(names, confusion, strict=True)):
        note = "" if number < num_known else "  (not in the training data)"
        yield " ".join([name.rjust(width), *(str(count).rjust(width) for count in counts)]) + note
