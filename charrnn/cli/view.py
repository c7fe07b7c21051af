"""charrnn view: shows the loss or the value of a unit at each character of a text."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Json,
    ModelOption,
    OnUnknown,
    RunOption,
    as_text_model,
    check_choice,
    check_pairs,
    load_model,
    needs_extra,
    refuse_to_overwrite,
)
from charrnn.cli.evaluate import print_skipped
from charrnn.cli.heat import Scale, coloured_lines, digit_lines, select_colours
from charrnn.cli.parameters import OUTPUT_PANEL
from charrnn.cli.plot import check_figure_path
from charrnn.cli.terminal import print_json, print_stderr, print_table
from charrnn.errors import CorpusError, UsageError, format_count

if TYPE_CHECKING:
    from charrnn.analysis.reading import TextReading, Unit
    from charrnn.analysis.units import UnitMatch
    from charrnn.nn.arrays import Array
    from charrnn.tasks.base import AlignsSources
    from charrnn.tasks.language.model import TextModel

SHOWN_CHARS = 2_000  # of the validation part, if no text is given
SEARCHED_CHARS = 50_000
MIN_SEARCHED_CHARS = 2_000  # correlations on fewer characters are not reliable
MAX_DRAWN_UNITS = 12  # maximum number of units in a figure
SHOWN_ALIGNMENTS = 10  # maximum number of lines of the file whose alignments are shown
MAX_NATS = 6  # upper end of the scale of losses
VALUES_PANEL = "Values"

Text = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="Text file, optionally .gz; - is standard input.",
        show_default="the start of the run's validation part",
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        metavar="L.N",
        help="Show unit N of layer L, both counted from 0.",
        show_default="the loss",
        rich_help_panel=VALUES_PANEL,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        help="Quantity of the unit: h, c, i, f, o, g, r, z or n, as in the equations of the cell.",
        show_default="tanh(c) of an LSTM, else h",
        rich_help_panel=VALUES_PANEL,
    ),
]
Find = Annotated[
    bool,
    typer.Option(
        "--find",
        help="Find units that respond to properties of the text, such as quotations.",
        rich_help_panel=VALUES_PANEL,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Draw the units as a figure, .png or .svg.",
        show_default=False,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Colour = Annotated[
    str, typer.Option(help="Use colours: always, auto (on a terminal) or never.", rich_help_panel=OUTPUT_PANEL)
]


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
    """Show what a network computes at each character of a text.

    [bold]Examples[/bold]

      charrnn view
      charrnn view --find
      charrnn view letter.txt --unit 0.17
      charrnn view --unit 0.17 --output unit.png
      charrnn view letter.txt --json
      echo "the third of May 1921" | charrnn view - --run dates-001

    By default, each character is coloured by its loss in nats, given all characters before it. With --unit, the colour
    shows the value of the unit after the character has been read. Without TEXT, the first 2,000 characters of the run's
    validation part are shown, and --find searches the first 50,000. If the output is not a terminal with colours, the
    values are shown as digits below the characters.

    --find lists properties of the text, each with the unit that correlates most with it on the first half of the text,
    and Pearson's correlation on the second half. --output draws these units, or the --unit.

    For a translator or a transcriber, TEXT contains one input per line. The alignments of the first inputs are shown:
    a row for each target symbol, with the attention weights of the source steps as shades. --output draws them.

    --json prints one object per character, with the fields char, nats and, with --unit, value. With --find, it prints
    one object per unit, with the fields probe, layer, unit and correlation. For alignments, it prints one object per
    input, with the fields source, target (labels) and weights (a row for each target symbol).
    """
    from charrnn.tasks.base import AlignsSources

    check_choice("--on-unknown", on_unknown, "error", "skip")
    check_choice("--colour", colour, "always", "auto", "never")
    check_pairs(unit=unit, find=find)
    if part is not None and unit is None:
        raise UsageError("--part needs --unit")
    if output is not None:
        check_figure_path(output)
    selected = None if unit is None else _parse_unit(unit)
    runs = [] if run is None else [run]
    # Alignments need a TEXT. Without a TEXT, the newest run of a language model is therefore used.
    shows_units = text is None or unit is not None or find
    methods = ["sample_many"] if shows_units else ["sample_many", "align"]
    any_model = load_model(runs, model, checkpoint, methods=methods)
    if output is not None:
        refuse_to_overwrite(output, [any_model.checkpoint.path.parent])
    if isinstance(any_model, AlignsSources):
        if unit is not None or find:
            problem = f"{any_model.checkpoint.path}: trained with --task {any_model.task}"
            raise UsageError(problem, "--unit and --find require --task lm")
        _show_alignments(any_model, text, output, json_output=json_output)
        return
    loaded = as_text_model(any_model)
    import numpy as np

    from charrnn.analysis.reading import TextReading

    is_search = find or (output is not None and selected is None)
    if text is None:
        ids = validation_ids(loaded)[: SEARCHED_CHARS if is_search else SHOWN_CHARS]
    else:
        file = loaded.read_file(text, skip_unknown=on_unknown == "skip")
        ids = np.concatenate(list(file))
        if not len(ids):
            raise CorpusError("no character of the text is in the vocabulary")
        print_skipped(file)
    reading = TextReading(loaded, ids)
    matches = _find_units(reading) if is_search else []
    if find:
        _print_matches(matches, json_output=json_output)
    if output is not None:
        _draw(reading, selected, matches, part, output)
    elif not find:
        _print_text(reading, selected, part, colour, json_output=json_output)


def _show_alignments(model: AlignsSources, text: str | None, output: Path | None, *, json_output: bool) -> None:
    """Prints or draws the alignments of the first lines of a file."""
    from charrnn.cli.alignments import print_alignments, save_alignments
    from charrnn.corpus.lines import read_lines

    if text is None:
        raise UsageError("no inputs to align", "give a TEXT with one input per line")
    lines = [line.text for line in itertools.islice(read_lines([text], "utf-8", []), SHOWN_ALIGNMENTS)]
    if not lines:
        raise CorpusError(f"{text}: no lines")
    alignments = model.align([line.partition("\t")[0] for line in lines])
    if output is None:
        print_alignments(alignments, shutil.get_terminal_size().columns, json_output=json_output)
    else:
        save_alignments(alignments, output)


def validation_ids(model: TextModel) -> Array:
    """The validation part of the corpus of the run, without the start symbol. Raises CorpusError."""
    from charrnn.cli.progress import reading_bar
    from charrnn.tasks.registry import read_corpus

    remedy = "give a TEXT"
    try:
        with reading_bar():
            ids = read_corpus(model).val[1:]
    except CorpusError as error:
        raise CorpusError(error.message, remedy) from None
    if not len(ids):
        raise CorpusError(f"{model.checkpoint.path.parent}: this run has no validation part", remedy)
    return ids


def _parse_unit(text: str) -> Unit:
    match = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text)
    if match is None:
        raise UsageError(f"--unit {text}: must be LAYER.UNIT, for example 0.17")
    return int(match[1]), int(match[2])


def _find_units(reading: TextReading) -> list[UnitMatch]:
    from charrnn.analysis.units import find_units

    if len(reading.text) < MIN_SEARCHED_CHARS:
        characters = format_count(len(reading.text), "character")
        print_stderr(f"correlations on {characters} are not reliable; use at least {SEARCHED_CHARS:,}")
    matches = find_units(reading)
    if not matches:
        raise CorpusError("the text has none of the properties that --find looks for", "give a longer TEXT")
    return matches


def _print_matches(matches: list[UnitMatch], *, json_output: bool) -> None:
    if json_output:
        for match in matches:
            print_json(dataclasses.asdict(match))
        return
    from rich.table import Table

    table = Table("property", "unit", "correlation")
    for match in matches:
        table.add_row(match.probe, f"{match.layer}.{match.unit}", f"{match.correlation:+.2f}")
    print_table(table)
    print_stderr(f"to show a unit: --unit {matches[0].layer}.{matches[0].unit}")


def _draw(reading: TextReading, selected: Unit | None, matches: list[UnitMatch], part: str | None, path: Path) -> None:
    """Saves a figure of the selected unit, or of the units that were found."""
    from charrnn.plots.figures import save_figure
    from charrnn.plots.units import draw_units

    labels = {} if selected is None else {selected: f"{selected[0]}.{selected[1]}"}
    for match in matches[:MAX_DRAWN_UNITS]:  # a unit that was found several times is drawn once
        labels.setdefault((match.layer, match.unit), f"{match.probe}  {match.layer}.{match.unit}")
    values = reading.unit_values(list(labels), part)
    with needs_extra("plot", "matplotlib"):
        save_figure(draw_units(reading.text, values, list(labels.values()), reading.quantity_name(part)), path)
    print_stderr(f"saved {path}")


def _print_text(
    reading: TextReading, selected: Unit | None, part: str | None, colour: str, *, json_output: bool
) -> None:
    from charrnn.plots.units import quantity_limits

    nats = reading.nats()
    values = nats if selected is None else reading.unit_values([selected], part)[:, 0]
    if json_output:
        columns = {"char": reading.text, "nats": nats.tolist()}
        if selected is not None:
            columns["value"] = values.tolist()
        for row in zip(*columns.values(), strict=True):
            print_json(dict(zip(columns, row, strict=True)))
        return
    if selected is None:
        caption = f"nats per character, mean {nats.mean():.2f}"
        scale = Scale(caption, 0, MAX_NATS, ticks=MAX_NATS + 1, digit_step=1, open_ended=True)
    else:
        name = reading.quantity_name(part)
        low, high = quantity_limits(name, values)
        scale = Scale(f"{name} of unit {selected[0]}.{selected[1]}", low, high, ticks=5, digit_step=high / 10)
    width = max(20, shutil.get_terminal_size().columns)
    colours = select_colours(colour)
    if colours is None:
        lines = digit_lines(reading.text, values.tolist(), scale, width)
    else:
        lines = coloured_lines(reading.text, values.tolist(), scale, colours, width)
    for line in lines:
        print(line)
