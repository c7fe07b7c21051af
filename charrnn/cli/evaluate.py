"""charrnn eval: computes the loss and other metrics of a model on a file."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Columns,
    Device,
    Header,
    Json,
    ModelOption,
    OnUnknown,
    Runs,
    as_text_model,
    check_pairs,
    load_model,
    refuse_run_as_file,
)
from charrnn.cli.terminal import Bar, format_value, print_json, print_stderr
from charrnn.corpus.escapes import readable, to_bytes
from charrnn.errors import RunError, UsageError, format_count, printable
from charrnn.options import DataOptions

if TYPE_CHECKING:
    from charrnn.nn.arrays import Array
    from charrnn.tasks.base import TrainedModel
    from charrnn.tasks.language.model import EncodedFile, ScoredSection, TextModel

MAX_CLASSES = 20  # classes and confusions that are printed
TABLE_FIELDS = ("labels", "classes", "confusion", "errors")  # of the scores; they are printed as tables
COUNT_NOTES = {  # numbers in the scores that are printed if they are not zero, with their meaning
    "skipped": "symbols of the inputs that are not in the vocabulary",
    "unanswered": "inputs without a known symbol; they count as wrong",
    "unscored": "labels, tags or symbols of the outputs that are not in the training data; they count as wrong",
}

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
Errors = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="All tasks with records: list this many records with wrong answers, the worst first.",
        show_default="0",
    ),
]
Lines = Annotated[bool, typer.Option("--lines", help="Reset the state at each line.", show_default="as in training")]
Window = Annotated[
    int | None,
    typer.Option(min=1, help="Reset the state after each window of this many characters.", show_default="never"),
]


def evaluate(
    file: File,
    runs: Runs = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    per_line: PerLine = False,
    per_char: PerChar = False,
    top: Top = None,
    lines: Lines = False,
    errors: Errors = None,
    window: Window = None,
    features: Features = None,
    columns: Columns = None,
    header: Header = False,
    on_unknown: OnUnknown = "error",
    device: Device = "cpu",
    json_output: Json = False,
) -> None:
    """Compute the loss and other metrics of a trained model on a file.

    [bold]Examples[/bold]

      charrnn eval held-out.txt
      charrnn eval names.txt --per-line --json
      echo "To be, or not to be" | charrnn eval - --per-char --top 5
      charrnn eval books.test.tsv --run runs/books-001 --errors 20

    The loss is in nats per scored symbol; bpc is the loss in bits, loss / ln 2. A language model carries its state
    through the text. The first character is predicted too, from the start symbol. With --window N, the text is instead
    scored in windows of N characters, as for models with a limited context.

    --per-line, --per-char, --lines and --window are for language models. With --per-line --json, a model of bytes also
    prints the exact bytes of each line as base64. With --on-unknown skip, `skipped` is the number of characters that
    are not in the vocabulary.
    """
    from charrnn.tasks.base import EvaluationFile, GeneratesText, skips_unknown

    skip_unknown = skips_unknown(on_unknown)
    check_pairs(per_line=per_line, per_char=per_char)
    if top is not None and not per_char:
        raise UsageError("--top needs --per-char")
    check_pairs(top=top, window=window)
    refuse_run_as_file(file)
    loaded = load_model(runs or [], model, checkpoint, device=device)
    data = DataOptions(columns=columns, header=header)
    evaluation_file = EvaluationFile(file, features, skip_unknown, data, errors or 0)
    evaluation_file.check_supported(loaded)
    given = {"--per-line": per_line, "--per-char": per_char, "--lines": lines, "--window": window is not None}
    needing_text = [name for name, is_given in given.items() if is_given]
    if needing_text or isinstance(loaded, GeneratesText):
        text_model = as_text_model(loaded, *needing_text[:1])
        text = text_model.read_file(file, skip_unknown=skip_unknown)
        _evaluate_text(text_model, text, per_line, per_char, top, lines, window, json_output=json_output)
    else:
        _print_scores(loaded.evaluate_file(evaluation_file), json_output=json_output)
    if _is_training_file(file, loaded):
        print_stderr(f"{file}: the model was trained on this file, so the result says little about other files")


def _is_training_file(file: str, model: TrainedModel) -> bool:
    """Whether the run of a model was trained on a file. False if the run is not known."""
    from charrnn.runs.directory import Run

    with contextlib.suppress(RunError):
        corpus = Run(model.checkpoint.path.parent).read_config().corpus
        return file != "-" and any(os.path.realpath(path) == os.path.realpath(file) for path in corpus)
    return False


def _evaluate_text(
    model: TextModel,
    text: EncodedFile,
    per_line: bool,
    per_char: bool,
    top: int | None,
    lines: bool,
    window: int | None,
    *,
    json_output: bool,
) -> None:
    """Prints the loss of a text, or of each of its lines or characters."""
    from charrnn.tasks.language.scoring import text_metrics

    if lines and model.vocabulary.newline is None:
        raise UsageError("--lines: the line feed is not in the vocabulary")
    if per_char:
        _print_characters(model, text, top, lines=lines or None, window=window, json_output=json_output)
        print_skipped(text)
        return
    sections = _show_progress(model.score_sections(text, lines=lines or None, window=window))
    if per_line:
        sections = _print_lines(model, sections, json_output=json_output)
    scores = text_metrics(section.nats for section in sections)
    if per_line and json_output:
        print_skipped(text)
    else:
        _print_scores({**scores, "skipped": text.num_skipped}, json_output=json_output)


def print_skipped(text: EncodedFile) -> None:
    """Says on stderr how many characters of a text were skipped, if there are any."""
    if text.num_skipped:
        print_stderr(f"skipped {format_count(text.num_skipped, 'character')} outside the vocabulary")


def _show_progress(sections: Iterator[ScoredSection]) -> Iterator[ScoredSection]:
    """Yields the sections of a text. On a terminal, the number of characters that have been scored is shown."""
    bar = Bar(quiet=False)
    bar.open(None)
    chars = 0
    start = time.monotonic()
    try:
        for section in sections:
            chars += len(section.nats)
            bar.move(chars, f"{chars:,} characters, {chars / (time.monotonic() - start) / 1000:.1f}k/s")
            yield section
    finally:
        bar.close()


def _print_characters(
    model: TextModel,
    chunks: Iterable[Array],
    top: int | None,
    *,
    lines: bool | None,
    window: int | None,
    json_output: bool,
) -> None:
    """Prints the loss of each character and, if `top` is given, the most likely characters there."""
    import numpy as np

    if top is not None:
        for symbol, loss, most_likely in model.most_likely(np.concatenate(list(chunks)), top, lines=lines):
            if json_output:
                print_json({"char": symbol, "loss": loss, "top": most_likely})
            else:
                others = "  ".join(f"{other!r} {p:.3f}" for other, p in most_likely)
                print(f"{loss:8.4f}  {symbol!r:8}  {others}")
        return
    symbols = model.vocabulary.symbols()
    for ids, nats in model.score_sections(chunks, lines=lines, window=window):
        for i, loss in zip(ids.tolist(), nats.tolist(), strict=True):
            if json_output:
                print_json({"char": symbols[i], "loss": loss})
            else:
                print(f"{loss:8.4f}  {symbols[i]!r}")


def _print_lines(model: TextModel, sections: Iterator[ScoredSection], *, json_output: bool) -> Iterator[ScoredSection]:
    """Prints the mean loss of each line of a text. Yields the lines."""
    import numpy as np

    for number, line in enumerate(_split_lines(sections, model.vocabulary.newline), 1):
        ids, nats = line
        loss = float(nats.mean(dtype=np.float64))
        text = model.vocabulary.decode(ids)
        if json_output:
            unended = text.rstrip("\n")
            row = {"line": number, "chars": len(ids), "loss": loss, "text": readable(unended)}
            if model.vocabulary.is_bytes:
                row["base64"] = base64.b64encode(to_bytes(unended)).decode()
            print_json(row)
        else:
            print(f"{loss:8.4f}  {format_value(readable(text).rstrip())}")
        yield line


def _split_lines(sections: Iterator[ScoredSection], newline: int | None) -> Iterator[ScoredSection]:
    """Yields the lines of a text that is given in sections."""
    import numpy as np

    from charrnn.tasks.language.model import ScoredSection

    unfinished: list[ScoredSection] = []
    for ids, nats in sections:
        ends = [] if newline is None else (np.flatnonzero(ids == newline) + 1).tolist()
        bounds = [0, *ends] if ends[-1:] == [len(ids)] else [0, *ends, len(ids)]
        for start, stop in itertools.pairwise(bounds):
            unfinished.append(ScoredSection(ids[start:stop], nats[start:stop]))
            if ids[stop - 1] == newline:
                yield ScoredSection(*map(np.concatenate, zip(*unfinished, strict=True)))
                unfinished = []
    if unfinished:
        yield ScoredSection(*map(np.concatenate, zip(*unfinished, strict=True)))


def _print_scores(scores: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        print_json(scores)
        return
    for line in _score_lines(scores):
        print(line)


def _score_lines(scores: dict[str, Any]) -> Iterator[str]:
    """Yields the scores, one per line, then a table of the classes, their confusions, and the wrong records."""
    if "perplexity" in scores:
        characters = format_count(scores["chars"], "character")
        yield (
            f"{characters}: {scores['loss']:.4f} nats, {scores['bpc']:.4f} bits per character, "
            f"perplexity {scores['perplexity']:.3f}"
        )
        scores = {"skipped": scores["skipped"]}
    for name, value in scores.items():
        title = name.replace("_", " ")
        if name in COUNT_NOTES:
            if value:
                yield f"{title}: {value:,} ({COUNT_NOTES[name]})"
        elif name in TABLE_FIELDS:
            continue
        elif isinstance(value, dict):
            columns = ", ".join(f"{format_value(column)} {_format_number(number)}" for column, number in value.items())
            yield f"{title}: {columns}"
        else:
            yield f"{title}: {value:.4f}" if isinstance(value, float) else f"{title}: {format_value(value)}"
    if "classes" in scores:
        yield from _class_lines(scores["classes"])
        yield from _confusion_lines(scores["labels"], scores["classes"], scores["confusion"])
    if "errors" in scores:
        yield "wrong records, the worst first: input, expected, answered, probability"
        for row in scores["errors"]:
            answer = ["", ""] if row["answered"] is None else [row["answered"], f"{row['probability']:.4g}"]
            yield "\t".join(map(printable, [row["input"], row["expected"], *answer]))


def _format_number(number: float) -> str:
    """A number with at least four digits, and with all digits before the decimal point."""
    return f"{number:.4g}" if abs(number) < 1000 else f"{number:.0f}"


def _class_lines(classes: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A table of the most frequent classes."""
    shown = dict(itertools.islice(classes.items(), MAX_CLASSES))
    names = [format_value(name) for name in shown]
    width = max(len("class"), *map(len, names))
    yield " ".join(["class".ljust(width), *(title.rjust(9) for title in ("count", "precision", "recall", "f1"))])
    for name, scores in zip(names, shown.values(), strict=True):
        shares = ["-" if share is None else f"{share:.4f}" for share in list(scores.values())[1:]]
        yield " ".join([name.ljust(width), f"{scores['count']:9,}", *(share.rjust(9) for share in shares)])
    if len(classes) > len(shown):
        yield f"... and {len(classes) - len(shown):,} less frequent classes"


def _confusion_lines(
    labels: list[str], classes: dict[str, dict[str, Any]], confusion: list[tuple[str, str, int]]
) -> Iterator[str]:
    """A matrix of the classes, or a list of the most frequent confusions if there are many classes.

    labels: the classes of the model. Other classes come last and have no column.
    """
    if len(classes) > MAX_CLASSES:
        wrong = [row for row in confusion if row[0] != row[1]][:MAX_CLASSES]
        yield "most frequent confusions: count, true class, predicted class"
        for true, predicted, count in wrong:
            yield f"{count:9,}  {format_value(true)}  {format_value(predicted)}"
        return
    known = [name for name in labels if name in classes]
    unknown = [name for name in classes if name not in set(labels)]
    counts = {(true, predicted): count for true, predicted, count in confusion}
    width = max(9, *(len(format_value(name)) for name in classes))
    yield "confusion matrix: a row for each true class, a column for each predicted class"
    yield " ".join([" " * width, *(format_value(name).rjust(width) for name in known)])
    for true in [*known, *unknown]:
        row = [str(counts.get((true, predicted), 0)).rjust(width) for predicted in known]
        note = "  (not in the training data)" if true in unknown else ""
        yield " ".join([format_value(true).rjust(width), *row]) + note
