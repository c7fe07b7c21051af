"""Pictures of losses and gradients for a file, with Matplotlib."""

from __future__ import annotations

import io
import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.analysis.gradients import AXES, Flow
from charrnn.errors import RunError
from charrnn.plots.curves import Picture, engineering, spread
from charrnn.runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 10  # curves that are named at their end, and colours that are told apart
DECADES = 30.0  # a range of more than this factor gets a logarithmic axis
LINE = 0.045  # of a label, as a share of the height
TICKED = 8  # values tried that all get a tick


def draw_curves(picture: Picture) -> Figure:
    """Validation solid and named at its end, training flag and the fainter the more runs there are."""
    from matplotlib.ticker import FuncFormatter

    curves = picture.curves
    figure, (axes,) = _figure(1)
    low, high = picture.limits
    axes.set_ylim(low, high)
    colours = _colours(len(curves))
    for number, curve in reversed(list(enumerate(curves))):  # the best on top
        style = {"color": colours[number], "marker": "." if len(curve.x) < 3 else None}
        axes.plot(*zip(*curve.shown, strict=True), linewidth=1.8 if number == 0 else 1.3, **style)
        if curve.validated and len(curves) <= NAMED:
            axes.plot(curve.x, curve.train, linestyle="--", linewidth=1, alpha=max(0.15, 0.6 / len(curves)), **style)
    longest, shortest = max(curve.x[-1] for curve in curves), min(curve.x[-1] for curve in curves)
    if longest > DECADES * shortest > 0:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: engineering(value)))
    named = curves[:NAMED]
    ends = [(curve.shown[-1][1] - low) / (high - low) for curve in named]
    for colour, curve, place in zip(colours, named, spread(ends, LINE, 0.0, 1.0), strict=False):
        axes.annotate(
            curve.label if len(curves) > 1 else f"{curve.best:.4f}",
            curve.shown[-1],
            (1.01, place),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.3, "linewidth": 0.8, "linestyle": ":"},
        )
    left_out = f"; {NAMED} best of {len(curves)} named" if len(curves) > NAMED else ""
    flag = ", flag: training" if len(curves) <= NAMED and curves[0].validated else ""
    axes.set_title(picture.title + left_out, loc="left", fontsize="medium")
    axes.set_xlabel(picture.field)
    axes.set_ylabel(picture.loss + flag)
    return figure


def draw_sweep(rows: Sequence[dict[str, Any]], title: str, logarithmic: Collection[str]) -> Figure:
    """The loss of each trial against each option, and the median of each value that was tried more than once; trials
    that were ended early are hollow. logarithmic: options searched on such a scale. Raises RunError."""
    rows = tried(rows)
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    figure, panels = _figure(len(names))
    for axes, name in zip(panels, names, strict=True):
        values = [row["params"][name] for row in rows]
        distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
        numbers = not any(isinstance(value, str | bool) for value in distinct)
        places = dict(zip(distinct, distinct if numbers else range(len(distinct)), strict=True))
        if numbers and distinct[0] > 0 and (name in logarithmic or distinct[-1] >= DECADES * distinct[0]):
            axes.set_xscale("log")
        if len(distinct) <= TICKED:
            axes.set_xticks([places[value] for value in distinct], [f"{value}" for value in distinct])
            axes.minorticks_off()
            axes.margins(x=0.15)
        for label, full in (("completed", True), ("ended early", False)):
            points = [
                (places[value], row["value"])
                for value, row in zip(values, rows, strict=True)
                if (row["state"] == "completed") == full
            ]
            if points:
                face = "C0" if full else "none"
                axes.scatter(*zip(*points, strict=True), facecolors=face, edgecolors="C0", alpha=0.7, label=label)
        medians = [(places[value], median) for value, median, number in medians_of(rows, name) if number > 1]
        if medians:
            axes.plot(*zip(*medians, strict=True), "_", color="0.3", markersize=22, markeredgewidth=2, label="median")
        if rows[0]["state"] == "completed":
            best = places[rows[0]["params"][name]], rows[0]["value"]
            axes.scatter(*best, color="C1", marker="*", s=160, label="best", zorder=3)
        axes.set_xlabel(name.replace("_", " "))
    panels[0].set_ylabel("best validation loss")
    panels[0].set_title(title, loc="left", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def tried(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials that have a loss, the best first. Raises RunError if there is none."""
    found = [row for row in rows if row["value"] is not None]
    if not found:
        raise RunError("nothing to plot: no trial has been evaluated yet")
    return found


def medians_of(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[Any, float, int]]:
    """Each value of an option that was tried, the median loss of its completed trials, and their number."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        if row["state"] == "completed":
            groups.setdefault(row["params"][name], []).append(row["value"])
    order = sorted(groups, key=lambda value: (isinstance(value, str), value))
    return [(value, statistics.median(groups[value]), len(groups[value])) for value in order]


def draw_flows(flows: Sequence[Flow], title: str) -> Figure:
    """The median of each against the steps back, its quartiles as a band."""
    figure, (axes,) = _figure(1)
    for colour, flow in zip(_colours(len(flows)), flows, strict=True):
        low, median, high = flow.quartiles
        axes.plot(median, color=colour, label=flow.label)
        axes.fill_between(range(len(median)), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_yscale("log", nonpositive="mask")
    axes.margins(x=0.01)
    axes.set_title(f"{title}, median and quartiles", loc="left", fontsize="medium")
    axes.set_xlabel(AXES[0])
    axes.set_ylabel(AXES[1])
    axes.legend(loc="lower left", frameon=False, fontsize="small")
    return figure


def save(figure: Figure, path: Path) -> None:
    """PNG or SVG, by the path's suffix. Raises StorageError."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, data.getvalue())


def _figure(panels: int) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(9.0, 3.6 * panels), 5.0), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25)
    return figure, list(axes)


def _colours(number: int) -> list[Any]:
    from matplotlib import colormaps

    if number <= NAMED:
        return [f"C{n}" for n in range(number)]
    return [colormaps["viridis"](n / number) for n in range(number)]
