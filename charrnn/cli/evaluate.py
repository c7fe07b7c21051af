"""charrnn eval: what a text costs under a model."""

from __future__ import annotations

import itertools
import json
import math
from typing import Annotated, Any

import typer

from charrnn.cli.options import CheckpointOption, Json, ModelOption, OnUnknown, RunOption, load_model, one_of
from charrnn.config import refuse_exclusive
from charrnn.errors import CorpusError, UsageError

Text = Annotated[str, typer.Argument(help="Text file, .gz too; - is standard input.", show_default=False)]
PerLine = Annotated[bool, typer.Option("--per-line", help="The loss of each line.")]
PerChar = Annotated[bool, typer.Option("--per-char", help="The loss of each character.")]
Lines = Annotated[bool, typer.Option("--lines", help="Reset the state at each line. [dim]default: as trained[/dim]")]


def evaluate(
    text: Text,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    per_line: PerLine = False,
    per_char: PerChar = False,
    lines: Lines = False,
    on_unknown: OnUnknown = "error",
    json_output: Json = False,
) -> None:
    """The loss of a text under a trained model, in nats per character.

    [bold]Examples[/bold]

      charrnn eval held-out.txt
      charrnn eval names.txt --per-line --json
      echo "To be, or not to be" | charrnn eval - --per-char

    The state is carried through the text. The first character is the context of the second and is not scored itself,
    unless lines are records: then each line's first character is predicted from the start of a record.
    """
    import numpy as np

    one_of("--on-unknown", on_unknown, "error", "skip")
    refuse_exclusive({"per_line": per_line, "per_char": per_char})
    loaded = load_model(run, model, checkpoint)
    ids = _read(text, loaded, skip_unknown=on_unknown == "skip")
    newline = loaded.vocabulary.newline
    lines = lines or loaded.lines
    if lines and newline is None:
        raise UsageError("--lines: the model does not know the line feed")
    nats = loaded.nats(ids, lines=lines)
    scored = ids[len(ids) - len(nats) :]
    if per_char:
        symbols = [chr(code) for code in loaded.vocabulary.codes[scored].tolist()]
        for symbol, value in zip(symbols, nats.tolist(), strict=True):
            typer.echo(json.dumps({"char": symbol, "loss": value}) if json_output else f"{value:8.4f}  {symbol!r}")
        return
    if per_line:
        ends = [] if newline is None else (np.flatnonzero(scored == newline) + 1).tolist()
        bounds = [0, *ends] if ends and ends[-1] == len(scored) else [0, *ends, len(scored)]
        for number, (start, stop) in enumerate(itertools.pairwise(bounds), 1):
            loss = float(nats[start:stop].mean(dtype=np.float64))
            if json_output:
                row: dict[str, Any] = {"line": number, "chars": stop - start, "loss": loss}
                typer.echo(json.dumps(row | {"text": loaded.vocabulary.decode(scored[start:stop]).rstrip("\n")}))
            else:
                typer.echo(f"{loss:8.4f}  {loaded.vocabulary.decode(scored[start:stop]).rstrip()}")
        return
    loss = float(nats.mean(dtype=np.float64))
    row = {"chars": len(nats), "loss": loss, "bpc": loss / math.log(2), "perplexity": math.exp(min(loss, 700))}
    if json_output:
        typer.echo(json.dumps(row))
    else:
        bits = f"{row['bpc']:.4f} bits a character, perplexity {row['perplexity']:.3f}"
        typer.echo(f"{len(nats):,} characters: {loss:.4f} nats, {bits}")


def _read(text: str, loaded: Any, *, skip_unknown: bool) -> Any:
    import numpy as np

    from charrnn.config import TextConfig
    from charrnn.corpus.reading import display_name, read_codes

    chunks = list(read_codes([text], TextConfig(bytes=loaded.vocabulary.is_bytes), []))
    if not chunks:
        raise CorpusError(f"{display_name(text)}: the text is empty")
    return loaded.vocabulary.codes_to_ids(np.concatenate(chunks), skip_unknown=skip_unknown)
