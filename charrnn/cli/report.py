"""charrnn report: runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.terminal import print_stderr
from charrnn.errors import UsageError

Runs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN", help="The runs to show and compare.", show_default="the newest"),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write, .html.", show_default=False)]


def report(output: Output, runs: Runs = None) -> None:
    """Make a web page that shows runs: curves, samples and options.

    [bold]Examples[/bold]

      charrnn report -o report.html
      charrnn report runs/lstm runs/gru runs/rnn -o cells.html

    The page is a single file that needs no server and no network. Several runs are compared, the best first. The page
    shows the samples that train --live and train --sample-every keep.
    """
    check_html_path(output)
    from charrnn.runs.directory import Run, find_run, newest_run
    from charrnn.runs.files import write_atomically
    from charrnn.web.report import build_report

    found = [Run(find_run(path)) for path in runs or []] or [newest_run()]
    write_atomically(output, build_report(found).encode())
    print_stderr(f"saved {output}")


def check_html_path(path: Path) -> None:
    """Raises UsageError if a page cannot be saved under this name."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {path}: must end in .html")
