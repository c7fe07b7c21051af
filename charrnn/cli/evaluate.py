"""charrnn eval: computes the loss and other metrics of a model on a file."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
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
from charrnn.cli.terminal import Bar, format_value
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.nn.arrays import Array
    from charrnn.tasks.language.model import ScoredSection, TextModel

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
    window: Window = None,
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
    through the text. The first character is predicted too, from the start symbol. With --window N, the text is instead
    scored in windows of N characters, as for models with a limited context.

    --per-line, --per-char, --lines and --window are for language models.
    """
    from charrnn.tasks.base import EvaluationFile

    check_choice("--on-unknown", on_unknown, "error", "skip")
    check_pairs(per_line=per_line, per_char=per_char)
    if top is not None and not per_char:
        raise UsageError("--top needs --per-char")
    check_pairs(top=top, window=window)
    refuse_run_as_file(file)
    loaded = load_model(runs or [], model, checkpoint, device=device)
    skip_unknown = on_unknown == "skip"
    if features is not None and not loaded.architecture.features:
        raise UsageError("--features: this model was trained without features")
    user_options = {"--per-line": per_line, "--per-char": per_char, "--lines": lines, "--window": window is not None}
    needing_text = [name for name, is_given in user_options.items() if is_given]
    if needing_text or hasattr(loaded, "score_sections"):
        from charrnn.tasks.language.scoring import text_metrics

        text_model = as_text_model(loaded, *needing_text[:1])
        if lines and text_model.vocabulary.newline is None:
            raise UsageError("--lines: the line feed is not in the vocabulary")
        chunks = text_model.read_chunks(file, skip_unknown=skip_unknown)
        if per_char:
            _print_characters(text_model, chunks, top, lines=lines or None, window=window, json_output=json_output)
            return
        sections = _show_progress(text_model, text_model.score_sections(chunks, lines=lines or None, window=window))
        if per_line:
            sections = _print_lines(text_model, sections, json_output=json_output)
        scores = text_metrics(section.nats for section in sections)
        if not (per_line and json_output):
            _print_scores(scores, json_output=json_output)
        return
    _print_scores(loaded.evaluate_file(EvaluationFile(file, features, skip_unknown)), json_output=json_output)


def _show_progress(model: TextModel, sections: Iterator[ScoredSection]) -> Iterator[ScoredSection]:
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
        for symbol, loss, most_likely in model.most_likely(np.concatenate([*chunks]), top, lines=lines):
            if json_output:
                print(json.dumps({"char": symbol, "loss": loss, "top": most_likely}))
            else:
                others = "  ".join(f"{other!r} {p:.3f}" for other, p in most_likely)
                print(f"{loss:8.4f}  {symbol!r:8}  {others}")
        return
    for ids, nats in model.score_sections(chunks, lines=lines, window=window):
        symbols = [chr(code) for code in model.vocabulary.codes[ids].tolist()]
        for symbol, loss in zip(symbols, nats.tolist(), strict=True):
            print(json.dumps({"char": symbol, "loss": loss}) if json_output else f"{loss:8.4f}  {symbol!r}")


def _print_lines(model: TextModel, sections: Iterator[ScoredSection], *, json_output: bool) -> Iterator[ScoredSection]:
    """Prints the mean loss of each line of a text. Yields the lines."""
    import numpy as np

    for number, line in enumerate(_split_lines(sections, model.vocabulary.newline), 1):
        ids, nats = line
        loss = float(nats.mean(dtype=np.float64))
        text = model.vocabulary.decode(ids)
        if json_output:
            print(json.dumps({"line": number, "chars": len(ids), "loss": loss, "text": text.rstrip("\n")}))
        else:
            print(f"{loss:8.4f}  {format_value(text.rstrip())}")
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
        print(json.dumps(scores))
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
