"""charrnn plot: losses as pictures."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import extra, one_of
from charrnn.errors import UsageError

FORMATS = (".png", ".svg")

Runs = Annotated[list[Path] | None, typer.Argument(help="The runs to compare.", show_default=False)]
X = Annotated[str, typer.Option("--x", help="What the losses are drawn against: chars, steps or seconds.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write, .png or .svg.", show_default="plot.png")
]
Terminal = Annotated[bool, typer.Option("--terminal", help="Draw in the terminal.")]
SweepOption = Annotated[
    str | None,
    typer.Option(help="Draw a sweep instead: its folder, journal file or storage URL.", show_default=False),
]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Which study, if several are kept there.", show_default=False)
]


def plot(
    runs: Runs = None,
    x: X = "chars",
    output: Output = None,
    terminal: Terminal = False,
    sweep: SweepOption = None,
    study: StudyName = None,
) -> None:
    """Draw the losses of runs, or of a sweep's trials by each option.

    [bold]Examples[/bold]

      charrnn plot runs/corpus-001
      charrnn plot runs/*/ --x seconds --output runs.svg
      charrnn plot runs/corpus-001 --terminal
      charrnn plot --sweep runs/corpus --output sweep.png

    Training is dashed, validation solid; the labels are the settings in which the runs differ.
    """
    one_of("--x", x, "chars", "steps", "seconds")
    if output is not None and output.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {output}: must end in {' or '.join(FORMATS)}")
    if bool(runs) == (sweep is not None):
        raise UsageError("--sweep and runs exclude each other" if runs else "nothing to draw: name a run, or --sweep")
    if sweep is None and study is not None:
        raise UsageError("--study goes with --sweep")
    if sweep is not None and terminal:
        raise UsageError("--terminal draws runs, not a sweep")
    from charrnn.pictures import curves
    from charrnn.storage.runs import Run

    if sweep is not None:
        with extra("sweep", "optuna"):
            from charrnn.sweep.storage import load_study
            from charrnn.sweep.study import rows
        trials = rows(load_study(sweep, study), Path(sweep))
        with extra("plot", "matplotlib"):
            figure = curves.draw_sweep(trials)
    else:
        drawn = curves.read_curves([Run(path) for path in runs or []], x)
        if terminal:
            with extra("plot", "plotext"):
                columns, lines = shutil.get_terminal_size()
                typer.echo(curves.terminal(drawn, x, min(columns, 120), min(lines - 2, 24)))
            if output is None:
                return
        with extra("plot", "matplotlib"):
            figure = curves.draw_curves(drawn, x)
    path = output or Path("plot.png")
    curves.save(figure, path)
    print(f"wrote {path}", file=sys.stderr)
