"""charrnn plot: losses as pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.options import extra, one_of
from charrnn.cli.screen import say, show_value
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
      charrnn plot --sweep runs/corpus --terminal

    Training is dashed, validation solid; each line ends in its run's name and the settings in which the runs differ.
    """
    one_of("--x", x, "chars", "steps", "seconds")
    if output is not None and output.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {output}: must end in {' or '.join(FORMATS)}")
    if bool(runs) == (sweep is not None):
        raise UsageError("--sweep and runs exclude each other" if runs else "nothing to draw: name a run, or --sweep")
    if sweep is None and study is not None:
        raise UsageError("--study goes with --sweep")
    if sweep is not None:
        _sweep(sweep, study, output, terminal=terminal)
        return
    from charrnn.pictures.curves import read_curves
    from charrnn.storage.runs import Run, find_run

    picture = read_curves([Run(find_run(path)) for path in runs or []], x)
    if terminal:
        with extra("plot", "plotext"):
            from charrnn.pictures.terminal import terminal_curves

            columns, lines = shutil.get_terminal_size()
            typer.echo(terminal_curves(picture, min(columns, 120), min(lines - 2, 24)))
    if output is not None or not terminal:
        with extra("plot", "matplotlib"):
            from charrnn.pictures.figures import draw_curves

            _save(draw_curves(picture), output)


def _sweep(place: str, name: str | None, output: Path | None, *, terminal: bool) -> None:
    with extra("sweep", "optuna"):
        from charrnn.sweep.storage import load_study
        from charrnn.sweep.study import logarithmic, rows
    from charrnn.pictures.terminal import terminal_sweep

    study = load_study(place, name)
    trials = rows(study, Path(place))
    title = f"sweep {show_value(study.study_name)}, {len(trials)} trials"
    if terminal:
        typer.echo(terminal_sweep(trials, title))
    if output is not None or not terminal:
        with extra("plot", "matplotlib"):
            from charrnn.pictures.figures import draw_sweep

            _save(draw_sweep(trials, title, logarithmic(study)), output)


def _save(figure: Any, output: Path | None) -> None:
    from charrnn.pictures.figures import save

    path = output or Path("plot.png")
    save(figure, path)
    say(f"wrote {path}")
