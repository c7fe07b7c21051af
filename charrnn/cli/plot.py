"""charrnn plot: losses, and how far gradients reach back, as pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.arguments import extra, one_of
from charrnn.cli.terminal import make_console, say, show_value
from charrnn.errors import UsageError

FORMATS = (".png", ".svg")

Runs = Annotated[list[Path] | None, typer.Argument(help="The runs to compare.", show_default=False)]
X = Annotated[str, typer.Option("--x", help="What the losses are drawn against: chars, steps or seconds.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write, .png or .svg.", show_default="plot.png"),
]
Terminal = Annotated[bool, typer.Option("--terminal", help="Draw in the terminal.")]
SweepOption = Annotated[
    str | None,
    typer.Option(help="Draw a sweep instead: its folder, journal file or storage URL.", show_default=False),
]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Which study, if several are kept there.", show_default=False)
]

Gradients = Annotated[
    bool, typer.Option("--gradients", help="Draw how far the gradient reaches back, instead of losses.")
]
Steps = Annotated[int | None, typer.Option(min=1, max=10_000, help="Steps back, with --gradients.", show_default="100")]
Checkpoint = Annotated[
    str | None, typer.Option(help="Which weights, with --gradients: initial, best or last.", show_default="best")
]


def plot(
    runs: Runs = None,
    x: X = "chars",
    output: Output = None,
    terminal: Terminal = False,
    sweep: SweepOption = None,
    study: StudyName = None,
    gradients: Gradients = False,
    steps: Steps = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Draw the losses of runs or of a sweep's trials, or how far gradients reach back.

    [bold]Examples[/bold]

      charrnn plot runs/corpus-001
      charrnn plot runs/*/ --x seconds --output runs.svg
      charrnn plot runs/corpus-001 --terminal
      charrnn plot --sweep runs/corpus --output sweep.png
      charrnn plot --sweep runs/corpus --terminal
      charrnn plot --gradients runs/lstm runs/rnn
      charrnn plot --gradients runs/lstm --checkpoint initial --steps 300

    Training is flag, validation solid; each line ends in its run's name and the settings in which the runs differ.
    """
    one_of("--x", x, "chars", "steps", "seconds")
    if output is not None and output.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {output}: must end in {' or '.join(FORMATS)}")
    if bool(runs) == (sweep is not None):
        raise UsageError("--sweep and runs exclude each other" if runs else "nothing to draw: name a run, or --sweep")
    if gradients:
        if sweep is not None:
            raise UsageError("--gradients are those of runs, not of a sweep")
        _gradients(runs or [], steps or 100, checkpoint or "best", output, terminal=terminal)
        return
    if steps is not None or checkpoint is not None:
        raise UsageError("--steps and --checkpoint go with --gradients")
    if sweep is None and study is not None:
        raise UsageError("--study goes with --sweep")
    if sweep is not None:
        _sweep(sweep, study, output, terminal=terminal)
        return
    from charrnn.plots.curves import read_curves
    from charrnn.runs.directory import Run, find_run

    picture = read_curves([Run(find_run(path)) for path in runs or []], x)
    if terminal:
        with extra("plot", "plotext"):
            from charrnn.plots.terminal import terminal_curves

            columns, lines = shutil.get_terminal_size()
            typer.echo(terminal_curves(picture, min(columns, 120), min(lines - 2, 24)))
    if output is not None or not terminal:
        with extra("plot", "matplotlib"):
            from charrnn.plots.figures import draw_curves

            _save(draw_curves(picture), output)


def _sweep(place: str, name: str | None, output: Path | None, *, terminal: bool) -> None:
    with extra("sweep", "optuna"):
        from charrnn.sweep.storage import load_study
        from charrnn.sweep.study import logarithmic, rows
    from charrnn.plots.terminal import terminal_sweep

    study = load_study(place, name)
    trials = rows(study, Path(place))
    title = f"sweep {show_value(study.study_name)}, {len(trials)} trials"
    if terminal:
        typer.echo(terminal_sweep(trials, title))
    if output is not None or not terminal:
        with extra("plot", "matplotlib"):
            from charrnn.plots.figures import draw_sweep

            _save(draw_sweep(trials, title, logarithmic(study)), output)


def _gradients(runs: list[Path], steps: int, checkpoint: str, output: Path | None, *, terminal: bool) -> None:
    """A picture, and a table of how much is left after some of the steps."""
    one_of("--checkpoint", checkpoint, "initial", "best", "last")
    from rich.markup import escape
    from rich.table import Table

    from charrnn.analysis.gradients import read_flows
    from charrnn.runs.directory import Run, find_run

    flows = read_flows([Run(find_run(path)) for path in runs], steps, checkpoint)
    title = f"the state's gradient at the {checkpoint} weights"
    if terminal:
        with extra("plot", "plotext"):
            from charrnn.plots.terminal import terminal_flows

            columns, lines = shutil.get_terminal_size()
            typer.echo(terminal_flows(flows, title, min(columns, 120), min(lines - 2, 24)))
    places = sorted({max(1, steps // 10), max(1, steps // 2), steps})
    table = Table("gradient left, median", *(f"k = {k}" for k in places))
    for flow in flows:
        table.add_row(escape(flow.label), *(f"{flow.median[k]:.2g}" for k in places))
    make_console().print(table)
    if output is not None or not terminal:
        with extra("plot", "matplotlib"):
            from charrnn.plots.figures import draw_flows

            _save(draw_flows(flows, title), output or Path("gradients.png"))


def _save(figure: Any, output: Path | None) -> None:
    from charrnn.plots.figures import save

    path = output or Path("plot.png")
    save(figure, path)
    say(f"wrote {path}")
