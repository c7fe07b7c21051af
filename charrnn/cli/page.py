"""charrnn page: a language model as a web page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import CheckpointOption, ModelOption, RunOption, load_text_model, refuse_to_overwrite
from charrnn.cli.report import check_html_path
from charrnn.cli.terminal import print_stderr
from charrnn.cli.view import MIN_SEARCHED_CHARS, SEARCHED_CHARS, validation_ids
from charrnn.errors import CorpusError

if TYPE_CHECKING:
    from charrnn.tasks.language.model import TextModel

MIN_CORRELATION = 0.3  # the page does not offer units with a smaller absolute correlation

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write, .html.", show_default=False)]
Float32 = Annotated[
    bool, typer.Option("--float32", help="Store the weights as float32 instead of float16, which doubles the size.")
]

Title = Annotated[str | None, typer.Option(help="Title of the page.", show_default="names the corpus")]


def page(
    output: Output,
    title: Title = None,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    float32: Float32 = False,
) -> None:
    """Make a web page that contains a model and generates text.

    [bold]Examples[/bold]

      charrnn page -o shakespeare.html
      charrnn page --run runs/corpus-001 --float32 -o page.html

    The page is a single file that needs no server and no network. If the corpus of the run is available, the page
    offers the units that view --find finds.
    """
    check_html_path(output)
    loaded = load_text_model(run, model, checkpoint)
    refuse_to_overwrite(output, [loaded.checkpoint.path.parent])
    from charrnn.runs.files import write_atomically
    from charrnn.web.page import build_page

    data = build_page(loaded, title=title, float32=float32, units=_find_units(loaded)).encode()
    write_atomically(output, data)
    weights = f"{loaded.architecture.num_parameters:,} weights as {'float32' if float32 else 'float16'}"
    print_stderr(f"saved {output}: {len(data) / 1e6:.1f} MB, {weights}")


def _find_units(model: TextModel) -> list[dict[str, Any]]:
    """The units that the page offers; none if the corpus is not available or too small."""
    from charrnn.analysis.reading import TextReading
    from charrnn.analysis.units import find_units

    try:
        ids = validation_ids(model)[:SEARCHED_CHARS]
    except CorpusError:
        return []
    matches = find_units(TextReading(model, ids)) if len(ids) >= MIN_SEARCHED_CHARS else []
    return [asdict(match) for match in matches if abs(match.correlation) >= MIN_CORRELATION]
