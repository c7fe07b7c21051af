"""charrnn page: a language model as one web page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import CheckpointOption, ModelOption, RunOption, load_language_model
from charrnn.cli.terminal import say
from charrnn.cli.view import ENOUGH, SEARCHED, validation_part
from charrnn.errors import CorpusError, UsageError

OFFERED = 0.3  # correlation, for a unit to be worth a look

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write, .html.", show_default=False)]
Float32 = Annotated[bool, typer.Option("--float32", help="All bits of the weights; twice the size.")]


def page(
    output: Output,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    float32: Float32 = False,
) -> None:
    """Make a web page that holds a model: it writes, with no network and no server.

    [bold]Examples[/bold]

      charrnn page -o shakespeare.html
      charrnn page --run runs/corpus-001 --float32 -o page.html

    The page is one file. Open it from the disk, send it to a friend, or put it on any web site. Where the run's corpus
    is at hand, it offers the units that view --find finds.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {output}: must end in .html")
    loaded = load_language_model(run, model, checkpoint)
    if loaded.architecture.features:
        raise UsageError("this model writes from vectors, which a page cannot give it", "train one without --features")
    from charrnn.runs.files import write_atomically
    from charrnn.web.page import page as make

    data = make(loaded, float32=float32, units=_units(loaded)).encode()
    write_atomically(output, data)
    weights = f"{loaded.architecture.parameters:,} weights as {'float32' if float32 else 'float16'}"
    say(f"wrote {output}: {len(data) / 1e6:.1f} MB, {weights}")


def _units(model: Any) -> list[dict[str, Any]]:
    """Units that have learnt something with a name; none where there is no text to find them with."""
    from charrnn.analysis.reading import Reading
    from charrnn.analysis.units import find_units

    try:
        ids = validation_part(model)[:SEARCHED]
    except CorpusError:
        return []
    found = find_units(Reading(model, ids)) if len(ids) >= ENOUGH else []
    return [asdict(one) for one in found if abs(one.correlation) >= OFFERED]
