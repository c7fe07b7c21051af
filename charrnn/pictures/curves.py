"""The losses of runs and sweeps: with Matplotlib for a file, with plotext for a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import RunError
from charrnn.storage.files import write_atomically
from charrnn.storage.runs import Run, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIELDS = {"chars": "characters", "steps": "steps", "seconds": "seconds"}
LOSS = "loss, nats per character"
NAMED = 10  # curves that the legend names, and colours that are told apart
MARKS = "abcdefghij"  # of the curves in a terminal
DECADES = 30.0  # a range of more than this factor gets a logarithmic axis


@dataclass(frozen=True)
class Curve:
    """The losses of a run against characters, steps or seconds. Those of validation may be missing."""

    label: str
    x: list[float]
    train: list[float]
    val: list[float | None]

    @property
    def best(self) -> float:
        return min((loss for loss in (*self.val, *self.train) if loss is not None), default=math.inf)


def read_curves(runs: Sequence[Run], field: str) -> list[Curve]:
    """The curves of all runs that have been evaluated, the best first. Raises RunError."""
    rows = [read_metrics(run) for run in runs]
    key = "step" if field == "steps" else field
    curves = []
    try:
        for label, lines in zip(labels(runs), rows, strict=True):
            lines = [line for line in lines if line["train_loss"] is not None]
            x, train, val = ([line[name] for line in lines] for name in (key, "train_loss", "val_loss"))
            curves += [Curve(label, x, train, val)] if lines else []
    except (KeyError, TypeError) as error:
        raise RunError(f"a run's metrics.jsonl is damaged: {error!r}") from None
    if not curves:
        raise RunError("nothing to plot: no evaluation yet")
    return sorted(curves, key=lambda curve: min((v for v in curve.val if v is not None), default=curve.best))


def labels(runs: Sequence[Run]) -> list[str]:
    """The settings in which the runs differ; the runs' names where these do not tell them apart."""
    options = [run.read_config().to_options() for run in runs]
    names = dict.fromkeys(name for values in options for name in values if name != "workers")
    differing = [name for name in names if len({values.get(name) for values in options}) > 1]
    texts = [", ".join(_setting(name, values.get(name)) for name in differing) for values in options]
    return [
        text if text and texts.count(text) == 1 else f"{run.path.name} {text}".strip()
        for run, text in zip(runs, texts, strict=True)
    ]


def _setting(name: str, value: Any) -> str:
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {shown}"


def draw_curves(curves: Sequence[Curve], field: str) -> Figure:
    """Training dashed, validation solid, a colour for each run."""
    from matplotlib.ticker import EngFormatter

    figure, (axes,) = _figure(1)
    colours = _colours(len(curves))
    for number, curve in reversed(list(enumerate(curves))):  # the best on top
        style = {"color": colours[number], "marker": "." if len(curve.x) < 3 else None}
        validated = any(loss is not None for loss in curve.val)
        if validated:
            axes.plot(curve.x, [math.nan if loss is None else loss for loss in curve.val], **style)
        if not validated or len(curves) <= NAMED:
            axes.plot(curve.x, curve.train, linestyle="--", alpha=0.6, **style)
    lengths = [curve.x[-1] for curve in curves]
    if max(lengths) > DECADES * min(lengths) > 0:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(FIELDS[field])
    axes.set_ylabel(LOSS)
    for colour, curve in zip(colours, curves[:NAMED], strict=False):
        axes.plot([], [], color=colour, label=curve.label)
    title = f"validation, {NAMED} best of {len(curves)}"
    if len(curves) <= NAMED:
        title = ""
        axes.plot([], [], "--", color="0.4", label="training")
        axes.plot([], [], color="0.4", label="validation")
    figure.legend(loc="outside right upper", frameon=False, fontsize="small", title=title, alignment="left")
    return figure


def draw_sweep(rows: Sequence[dict[str, Any]]) -> Figure:
    """The loss of each trial against each option; those that were ended early are hollow. Raises RunError."""
    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        raise RunError("nothing to plot: no trial has been evaluated yet")
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    figure, panels = _figure(len(names))
    for axes, name in zip(panels, names, strict=True):
        places = [row["params"][name] for row in rows]
        if any(isinstance(value, str | bool) for value in places):
            categories = sorted({str(value) for value in places})
            axes.set_xticks(range(len(categories)), categories)
            places = [categories.index(str(value)) for value in places]
        elif min(places) > 0 and max(places) > DECADES * min(places):
            axes.set_xscale("log")
        for label, full in (("completed", True), ("ended early", False)):
            points = [(x, row["value"]) for x, row in zip(places, rows, strict=True) if full == _completed(row)]
            if points:
                face = "C0" if full else "none"
                axes.scatter(*zip(*points, strict=True), facecolors=face, edgecolors="C0", alpha=0.7, label=label)
        if _completed(rows[0]):
            axes.scatter(places[0], rows[0]["value"], color="C1", marker="*", s=160, label="best")
        axes.set_xlabel(name.replace("_", " "))
    panels[0].set_ylabel(LOSS)
    panels[0].legend(frameon=False, fontsize="small")
    return figure


def _completed(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "completed")


def save(figure: Figure, path: Path) -> None:
    """PNG or SVG, by the path's suffix. Raises StorageError."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, data.getvalue())


def terminal(curves: Sequence[Curve], field: str, width: int, height: int) -> str:
    """The validation losses (of a run without them, its training losses) as lines of text."""
    import plotext

    plot = plotext.figure
    plot.clear()
    plot.theme("colorless")
    plot.plot_size(width, height)
    shown = list(zip(MARKS, curves, strict=False)) if len(curves) > 1 else [("hd", curves[0])]
    for mark, curve in shown:
        points = [(x, v) for x, v in zip(curve.x, curve.val, strict=True) if v is not None]
        x, y = zip(*points or zip(curve.x, curve.train, strict=True), strict=True)
        plot.draw(plot.signal(list(x), list(y), marker=mark).lines())
    plot.title(LOSS)
    plot.label(FIELDS[field], "x")
    names = [f"{mark}  {curve.label}" for mark, curve in shown if len(curves) > 1]
    return "\n".join([str(plot.build()).rstrip("\n"), *names])


def _figure(panels: int) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(10.0, 3.6 * panels), 5.0), layout="constrained")
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
