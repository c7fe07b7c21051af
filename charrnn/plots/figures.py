"""Figures of losses, sweeps and gradient flow, with Matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.analysis.gradients import GradientFlow
from charrnn.plots.curves import Curve, LossFigure, engineering, spread
from charrnn.plots.symbols import literal
from charrnn.plots.trials import Trial, evaluated_trials, option_names, sorted_values, value_medians
from charrnn.runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRADIENT_X_LABEL = "steps back, k"
GRADIENT_Y_LABEL = "norm relative to k = 0"
MAX_LABELS = 10  # curves with a label at their end; also the number of distinct colours
TRAINING_ALPHA = 0.8  # opacity of training losses
LOG_RANGE = 30.0  # an axis is logarithmic if its values span more than this factor
LABEL_HEIGHT = 0.045  # relative to the height of the axes
MAX_VALUE_TICKS = 8  # if an option has more values, Matplotlib chooses the ticks


def draw_curves(losses: LossFigure) -> Figure:
    """Validation losses as solid lines with a label at the end, training losses dashed."""
    from matplotlib.ticker import FuncFormatter

    curves = losses.curves
    are_few = len(curves) <= MAX_LABELS
    figure, (axes,) = _new_figure(1)
    axes.set_ylim(losses.y_limits)
    colours = _colours(len(curves))
    for number, (colour, curve) in reversed(list(enumerate(zip(colours, curves, strict=True)))):  # the best on top
        style = {"color": colour, "marker": "." if len(curve.x) < 3 else None}
        axes.plot(*zip(*curve.points, strict=True), linewidth=1.8 if number == 0 else 1.3, **style)
        if curve.has_validation and are_few:
            axes.plot(curve.x, curve.train, linestyle="--", linewidth=1, alpha=TRAINING_ALPHA, **style)
        _mark_clipped_points(axes, losses, curve, colour)
    lengths = [curve.x[-1] for curve in curves]
    if max(lengths) > LOG_RANGE * min(lengths) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: engineering(value)))
    _draw_curve_labels(axes, losses, colours)
    omission = "" if are_few else f"; the best {MAX_LABELS} of {len(curves)} are labelled"
    axes.set_title(literal(losses.title) + omission, loc="left", fontsize="medium")
    axes.set_xlabel("\n".join(filter(None, [losses.x_label, losses.clipping_note])))
    axes.set_ylabel(losses.y_label + (", dashed: training" if are_few and curves[0].has_validation else ""))
    return figure


def _mark_clipped_points(axes: Axes, losses: LossFigure, curve: Curve, colour: Any) -> None:
    """Draws a triangle on the upper edge of the axes at each point of a curve that is above it."""
    clipped = losses.clipped_points(curve)
    _, high = losses.y_limits
    axes.plot(clipped, [high] * len(clipped), "^", color=colour, markersize=6, clip_on=False)


def _draw_curve_labels(axes: Axes, losses: LossFigure, colours: Sequence[Any]) -> None:
    """Labels to the right of the axes, each connected with the end of its curve."""
    curves = losses.curves[:MAX_LABELS]
    low, high = losses.y_limits
    ends = [(curve.points[-1][1] - low) / (high - low) for curve in curves]
    for colour, curve, height in zip(colours, curves, spread(ends, LABEL_HEIGHT, 0.0, 1.0), strict=False):
        axes.annotate(
            literal(curve.label) if len(losses.curves) > 1 else f"{curve.best:.4f}",
            curve.points[-1],
            (1.01, height),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.3, "linewidth": 0.8, "linestyle": ":"},
        )


def draw_sweep(trials: Sequence[Trial], title: str, logarithmic: Collection[str]) -> Figure:
    """The losses of the trials of a sweep, in one panel for each option.

    trials: the best first. logarithmic: the options that are searched on a logarithmic scale. Raises RunError if no
    trial has a loss.
    """
    trials = evaluated_trials(trials)
    names = option_names(trials)
    figure, panels = _new_figure(len(names))
    for axes, name in zip(panels, names, strict=True):
        _draw_option(axes, trials, name, is_logarithmic=name in logarithmic)
    panels[0].set_ylabel("best validation loss")
    panels[0].set_title(literal(title), loc="left", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _draw_option(axes: Axes, trials: Sequence[Trial], name: str, *, is_logarithmic: bool) -> None:
    """The loss of each trial against the value of an option, and the medians of values with several trials."""
    values = sorted_values([trial["params"][name] for trial in trials])
    are_numbers = not any(isinstance(value, str | bool) for value in values)
    places = dict(zip(values, values if are_numbers else range(len(values)), strict=True))
    if are_numbers and values[0] > 0 and (is_logarithmic or values[-1] >= LOG_RANGE * values[0]):
        axes.set_xscale("log")
    if len(values) <= MAX_VALUE_TICKS:
        axes.set_xticks([places[value] for value in values], [literal(str(value)) for value in values])
        axes.minorticks_off()
        axes.margins(x=0.15)
    for label, is_completed in (("completed", True), ("ended early", False)):
        points = [
            (places[trial["params"][name]], trial["value"])
            for trial in trials
            if (trial["state"] == "completed") == is_completed
        ]
        if points:
            face = "C0" if is_completed else "none"
            axes.scatter(*zip(*points, strict=True), facecolors=face, edgecolors="C0", alpha=0.7, label=label)
    medians = [(places[one.value], one.loss) for one in value_medians(trials, name) if one.num_trials > 1]
    if medians:
        axes.plot(*zip(*medians, strict=True), "_", color="0.3", markersize=22, markeredgewidth=2, label="median")
    best = trials[0]
    if best["state"] == "completed":
        place = places[best["params"][name]]
        axes.scatter(place, best["value"], color="C1", marker="*", s=160, label="best", zorder=3)
    axes.set_xlabel(name.replace("_", " "))


def draw_gradient_flows(flows: Sequence[GradientFlow], title: str) -> Figure:
    """The median of each flow against k as a line, its quartiles as a band."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = _new_figure(1)
    lines = []
    for colour, flow in zip(_colours(len(flows)), flows, strict=True):
        low, median, high = flow.quartiles
        lines += axes.plot(median, color=colour)
        axes.fill_between(range(len(median)), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_yscale("log", nonpositive="mask")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(literal(f"{title}, median and quartiles"), loc="left", fontsize="medium")
    axes.set_xlabel(GRADIENT_X_LABEL)
    axes.set_ylabel(GRADIENT_Y_LABEL)
    _add_legend(axes, lines, [flow.label for flow in flows])
    return figure


def _add_legend(axes: Axes, lines: Sequence[Any], labels: Sequence[str]) -> None:
    """Adds a legend. Matplotlib leaves out labels that start with an underscore, so the texts are set afterwards."""
    legend = axes.legend(lines, [str(n) for n in range(len(lines))], loc="lower left", frameon=False, fontsize="small")
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(literal(label))


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG or SVG file, depending on the suffix of the path. Raises StorageError."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # for characters that the font does not have
        figure.savefig(data, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, data.getvalue())


def _new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side that share the y axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(9.0, 3.6 * panels), 5.0), layout="constrained")
    row = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, list(row)


def _colours(number: int) -> list[Any]:
    """A list of `number` colours, one for each curve."""
    from matplotlib import colormaps

    if number <= MAX_LABELS:
        return [f"C{n}" for n in range(number)]
    return [colormaps["viridis"](n / number) for n in range(number)]
