"""charrnn plot: figures of losses, sweeps and gradients."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import check_choice, complete_run, needs_extra, refuse_to_overwrite
from charrnn.cli.terminal import format_value, print_stderr, print_table
from charrnn.errors import UsageError, format_count

if TYPE_CHECKING:
    from charrnn.runs.directory import Run

SUFFIXES = (".png", ".svg")
MAX_TERMINAL_SIZE = (120, 24)  # columns and lines of a figure in the terminal

Runs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN", help="The runs to draw.", show_default=False, autocompletion=complete_run),
]
X = Annotated[str, typer.Option("--x", help="Horizontal axis of the losses: steps, characters, seconds or epochs.")]
Full = Annotated[bool, typer.Option("--full", help="Show the whole range of the losses, with the first evaluations.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="File to write, .png or .svg.",
        show_default="plot.png; gradients.png with --gradients",
    ),
]
Terminal = Annotated[bool, typer.Option("--terminal", help="Draw in the terminal.")]
SweepOption = Annotated[
    str | None,
    typer.Option(help="Draw a sweep: its directory, its journal file or the URL of its storage.", show_default=False),
]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Name of the study, if the storage has several.", show_default=False)
]
Gradients = Annotated[
    bool, typer.Option("--gradients", help="Draw the norm of the gradient k steps before the loss, against k.")
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, max=10_000, help="With --gradients: the largest k.", show_default="100; fewer if all records are shorter"
    ),
]
Checkpoint = Annotated[
    str | None, typer.Option(help="With --gradients: the weights to use: initial, best or last.", show_default="best")
]


def plot(
    runs: Runs = None,
    x: X = "characters",
    full: Full = False,
    output: Output = None,
    terminal: Terminal = False,
    sweep: SweepOption = None,
    study: StudyName = None,
    gradients: Gradients = False,
    steps: Steps = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Draw the losses of runs, the trials of a sweep, or the flow of gradients.

    [bold]Examples[/bold]

      charrnn plot runs/corpus-001
      charrnn plot runs/*/ --x seconds --output runs.svg
      charrnn plot runs/corpus-001 --terminal
      charrnn plot --sweep runs/corpus --output sweep.png
      charrnn plot --sweep runs/corpus --terminal
      charrnn plot --gradients runs/lstm runs/rnn
      charrnn plot --gradients runs/lstm --checkpoint initial --steps 300

    Validation losses are solid lines, training losses are dashed. The vertical axis leaves out the first evaluations,
    whose losses are much higher; --full includes them. Each curve is labelled with the name of its run and
    with the options that differ between the runs.

    --gradients draws the norm of the gradient of the loss at time t with respect to the hidden state at time t - k,
    relative to the norm at k = 0. It draws the median over many t of the validation data, with quartiles, for each
    layer, and prints some of the values. The value at k is that of the records that have k steps before t. If a network
    has an encoder, the steps are those of the decoder.
    """
    check_choice("--x", x, "steps", "characters", "seconds", "epochs")
    if output is not None:
        check_figure_path(output)
    if runs and sweep is not None:
        raise UsageError("--sweep cannot be combined with runs")
    if not runs and sweep is None:
        raise UsageError("nothing to draw: name a run or give --sweep")
    if gradients and sweep is not None:
        raise UsageError("--gradients needs runs, not --sweep")
    if not gradients and (steps is not None or checkpoint is not None):
        raise UsageError("--steps and --checkpoint need --gradients")
    if sweep is None and study is not None:
        raise UsageError("--study needs --sweep")
    if sweep is not None:
        _plot_sweep(sweep, study, output, terminal=terminal)
        return
    from charrnn.runs.directory import Run, find_run

    found = [Run(find_run(path)) for path in runs or []]
    if output is not None:
        refuse_to_overwrite(output, [run.path for run in found])
    if gradients:
        _plot_gradients(found, steps, checkpoint or "best", output, terminal=terminal)
    else:
        _plot_losses(found, x, output, full=full, terminal=terminal)


def check_figure_path(path: Path) -> None:
    """Raises UsageError if a figure cannot be saved under this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output {path}: must end in {' or '.join(SUFFIXES)}")


def _plot_losses(runs: list[Run], x: str, output: Path | None, *, full: bool, terminal: bool) -> None:
    from charrnn.plots.curves import read_curves

    losses = read_curves(runs, x, is_full=full)
    if terminal:
        with needs_extra("plot", "plotext"):
            from charrnn.plots.terminal import terminal_curves

            print(terminal_curves(losses, *_terminal_size()))

    def draw() -> Any:
        from charrnn.plots.figures import draw_curves

        return draw_curves(losses)

    _save(draw, output, "plot.png", terminal=terminal)


def _plot_sweep(storage: str, name: str | None, output: Path | None, *, terminal: bool) -> None:
    with needs_extra("sweep", "optuna"):
        from charrnn.sweep.storage import load_study
        from charrnn.sweep.trials import log_scale_options, trial_rows
    from charrnn.plots.terminal import terminal_sweep

    study = load_study(storage, name)
    trials = trial_rows(study, Path(storage))
    title = f"sweep {format_value(study.study_name)}, {format_count(len(trials), 'trial')}"
    if terminal:
        print(terminal_sweep(trials, title))

    def draw() -> Any:
        from charrnn.plots.figures import draw_sweep

        return draw_sweep(trials, title, log_scale_options(study))

    _save(draw, output, "plot.png", terminal=terminal)


def _plot_gradients(
    runs: list[Run], steps: int | None, checkpoint: str, output: Path | None, *, terminal: bool
) -> None:
    check_choice("--checkpoint", checkpoint, "initial", "best", "last")
    from rich.markup import escape
    from rich.table import Table

    from charrnn.analysis.gradients import read_gradient_flows

    flows = read_gradient_flows(runs, steps, checkpoint)
    title = f"gradient of the hidden state, {checkpoint} weights"
    if terminal:
        with needs_extra("plot", "plotext"):
            from charrnn.plots.terminal import terminal_gradient_flows

            print(terminal_gradient_flows(flows, title, *_terminal_size()))
    largest = max(len(flow.median) for flow in flows) - 1
    shown = sorted({max(1, largest // 10), max(1, largest // 2), largest})
    table = Table("norm relative to k = 0, median", *(f"k = {k}" for k in shown))
    for flow in flows:
        table.add_row(escape(flow.label), *(f"{flow.median[k]:.2g}" if k < len(flow.median) else "-" for k in shown))
    print_table(table)

    def draw() -> Any:
        from charrnn.plots.figures import draw_gradient_flows

        return draw_gradient_flows(flows, title)

    _save(draw, output, "gradients.png", terminal=terminal)


def _terminal_size() -> tuple[int, int]:
    """Columns and lines of a figure in the terminal."""
    columns, lines = shutil.get_terminal_size()
    return min(columns, MAX_TERMINAL_SIZE[0]), min(lines - 2, MAX_TERMINAL_SIZE[1])


def _save(draw: Callable[[], Any], output: Path | None, default_name: str, *, terminal: bool) -> None:
    """Draws a figure and saves it, unless it was drawn in the terminal and no file was asked for."""
    if terminal and output is None:
        return
    path = output or Path(default_name)
    with needs_extra("plot", "matplotlib"):
        from charrnn.plots.figures import save_figure

        save_figure(draw(), path)
    print_stderr(f"saved {path}")
