"""charrnn view: a text, character by character, by what the network makes of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import (
    OUTPUT,
    CheckpointOption,
    Json,
    ModelOption,
    OnUnknown,
    RunOption,
    extra,
    load_language_model,
    one_of,
)
from charrnn.cli.evaluate import read_ids
from charrnn.cli.heat import Scale, colour_system, coloured, plain
from charrnn.cli.plot import FORMATS
from charrnn.cli.terminal import make_console, say
from charrnn.errors import CorpusError, UsageError
from charrnn.options import check_exclusive

SHOWN, SEARCHED = 2_000, 50_000  # characters of the validation part
ENOUGH = 2_000  # characters, for correlations that mean something
DRAWN = 12  # units in a picture of those found
HIGHEST = 6  # nats on the scale
SHOWN_PANEL = "What is shown"

Text = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT]",
        help="The text, .gz too; - is standard input. [dim]default: the start of the run's validation part[/dim]",
        show_default=False,
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        metavar="L.N",
        help="Show unit N of layer L, both counted from 0.",
        show_default="surprise",
        rich_help_panel=SHOWN_PANEL,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        help="What of the unit: h, c, i, f, o, g, r, z or n, as the cell has them.",
        show_default="tanh(c) of an LSTM, else h",
        rich_help_panel=SHOWN_PANEL,
    ),
]
Find = Annotated[
    bool,
    typer.Option("--find", help="Units that have learnt something with a name.", rich_help_panel=SHOWN_PANEL),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Draw units against characters, .png or .svg.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Colour = Annotated[str, typer.Option(help="Colours: always, auto (on a terminal) or never.", rich_help_panel=OUTPUT)]


def view(
    text: Text = None,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    unit: UnitOption = None,
    part: Part = None,
    find: Find = False,
    output: Output = None,
    colour: Colour = "auto",
    on_unknown: OnUnknown = "error",
    json_output: Json = False,
) -> None:
    """A text, character by character, coloured by what the network makes of it.

    [bold]Examples[/bold]

      charrnn view
      charrnn view --find
      charrnn view letter.txt --unit 0.17
      charrnn view --unit 0.17 --output unit.png
      charrnn view letter.txt --json

    By default by surprise: the nats that each character costs, given all before it. Of a unit: its activity once the
    character has been read. Without TEXT the first 2,000 characters of the run's validation part are shown, and the
    first 50,000 searched.

    --find names the unit that goes with each of a list of things most closely on the first half of the text, and how
    closely it does on the second (Pearson's correlation). --output draws those, or the --unit.

    Without colours, as in a pipe, the numbers are digits under the characters. With --json a line for each character
    (char, nats, value of the unit), with --find for each unit (probe, layer, unit, correlation).
    """
    one_of("--on-unknown", on_unknown, "error", "skip")
    one_of("--colour", colour, "always", "auto", "never")
    check_exclusive({"unit": unit, "find": find})
    if part is not None and unit is None:
        raise UsageError("--part goes with --unit")
    if output is not None and output.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {output}: must end in {' or '.join(FORMATS)}")
    chosen = None if unit is None else _unit(unit)
    loaded = load_language_model(run, model, checkpoint)
    if loaded.architecture.features:
        raise UsageError(f"{loaded.checkpoint.path}: a model that writes from vectors, which a text has not")
    from charrnn.analysis.reading import Reading

    searches = find or (output is not None and chosen is None)
    if text is None:
        ids = validation_part(loaded)[: SEARCHED if searches else SHOWN]
    else:
        ids = read_ids(text, loaded, skip_unknown=on_unknown == "skip")
    if not len(ids):
        raise CorpusError("no character of the text is known to the model")
    reading = Reading(loaded, ids)
    found = _found(reading) if searches else []
    if find:
        _table(found, json_output=json_output)
    if output is not None:
        _draw(reading, chosen, found, part, output)
    elif not find:
        _show(reading, chosen, part, colour, json_output=json_output)


def _unit(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text)
    if parts is None:
        raise UsageError(f"--unit {text}: not of the form LAYER.UNIT, as 0.17")
    return int(parts[1]), int(parts[2])


def validation_part(model: Any) -> Any:
    """The validation part of the run's corpus, as ids."""
    from charrnn.tasks.registry import corpus_of

    way_out = "name a TEXT to look at"
    try:
        corpus = corpus_of(model)
    except CorpusError as error:
        raise CorpusError(error.message, way_out) from None
    ids = corpus.val[int(corpus.begun) :]  # without the start symbol: every text begins with it
    if not len(ids):
        raise CorpusError(f"{model.checkpoint.path.parent}: nothing of its corpus was kept to validate on", way_out)
    return ids


def _found(reading: Any) -> list[Any]:
    from charrnn.analysis.units import find_units

    if len(reading.text) < ENOUGH:
        what = f"{len(reading.text):,} characters: too few to trust a correlation; some {SEARCHED:,} are enough"
        say(what)
    found = find_units(reading)
    if not found:
        raise CorpusError("the text has nothing to find a unit for", "name a longer TEXT")
    return found


def _table(found: list[Any], *, json_output: bool) -> None:
    if json_output:
        for one in found:
            typer.echo(json.dumps(dataclasses.asdict(one)))
        return
    from rich.table import Table

    table = Table("what", "unit", "correlation")
    for one in found:
        table.add_row(one.probe, f"{one.layer}.{one.unit}", f"{one.correlation:+.2f}")
    make_console().print(table)
    say(f"look at one with --unit {found[0].layer}.{found[0].unit}")


def _draw(reading: Any, chosen: tuple[int, int] | None, found: list[Any], part: str | None, path: Path) -> None:
    from charrnn.analysis.units import draw_units
    from charrnn.plots.figures import save

    names = {} if chosen is None else {chosen: f"{chosen[0]}.{chosen[1]}"}
    for one in found[:DRAWN]:  # a unit once, by what it goes with most closely
        names.setdefault((one.layer, one.unit), f"{one.probe}  {one.layer}.{one.unit}")
    values = reading.of_units(list(names), part)
    with extra("plot", "matplotlib"):
        save(draw_units(reading.text, values, list(names.values()), reading.known(part)), path)
    say(f"wrote {path}")


def _show(reading: Any, chosen: tuple[int, int] | None, part: str | None, colour: str, *, json_output: bool) -> None:
    from charrnn.analysis.units import limits

    nats = reading.nats()
    values = nats if chosen is None else reading.of_units([chosen], part)[:, 0]
    if json_output:
        columns = {"char": reading.text, "nats": nats.tolist()}
        if chosen is not None:
            columns["value"] = values.tolist()
        for row in zip(*columns.values(), strict=True):
            typer.echo(json.dumps(dict(zip(columns, row, strict=True))))
        return
    if chosen is None:
        scale = Scale(f"nats a character, mean {nats.mean():.2f}", 0, HIGHEST, HIGHEST + 1, 1, open=True)
    else:
        name = reading.known(part)
        low, high = limits(name, values)
        scale = Scale(f"{name} of unit {chosen[0]}.{chosen[1]}", low, high, 5, high / 10)
    width, system = max(20, shutil.get_terminal_size().columns), colour_system(colour)
    if system is None:
        lines = plain(reading.text, values.tolist(), scale, width)
    else:
        lines = coloured(reading.text, values.tolist(), scale, system, width)
    for line in lines:
        typer.echo(line, color=True)
