"""charrnn page: a language model as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import CheckpointOption, ModelOption, RunOption, load_language_model
from charrnn.cli.screen import say
from charrnn.errors import UsageError

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write, .html.", show_default=False)]
Float32 = Annotated[bool, typer.Option("--float32", help="All bits of the weights; twice the size.")]


def page(
    output: Output,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    float32: Float32 = False,
) -> None:
    """Make a web page that holds a model: it writes, and shows what it expects, with no network and no server.

    [bold]Examples[/bold]

      charrnn page -o shakespeare.html
      charrnn page --run runs/corpus-001 --float32 -o page.html

    The page is one file. Open it from the disk, send it to a friend, or put it on any web site.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {output}: must end in .html")
    loaded = load_language_model(run, model, checkpoint)
    if loaded.architecture.features:
        raise UsageError("this model writes from vectors, which a page cannot give it", "train one without --features")
    from charrnn.pictures.page import page as make
    from charrnn.storage.files import write_atomically

    data = make(loaded, float32=float32).encode()
    write_atomically(output, data)
    weights = f"{loaded.architecture.parameters:,} weights as {'float32' if float32 else 'float16'}"
    say(f"wrote {output}: {len(data) / 1e6:.1f} MB, {weights}")
