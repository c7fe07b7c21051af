"""Runs as one HTML file that needs no server: curves, samples and options. It can also show a run during training."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from charrnn import __version__
from charrnn.analysis.labels import run_labels
from charrnn.errors import printable
from charrnn.options import RunConfig
from charrnn.plots.curves import LOSS_LABELS, X_AXES, Curve, LossFigure, engineering, round_ticks
from charrnn.runs.directory import Run
from charrnn.runs.files import dump_json, write_atomically
from charrnn.runs.listing import Row, summary
from charrnn.runs.reports import read_metrics, read_samples
from charrnn.training.events import Done, Event, Saved, Step
from charrnn.training.trainer import Trainer
from charrnn.web.page import content_hash, read_file

REFRESH_SECONDS = 5  # time between two reloads of the page of a run that is being trained
COLOURS = 8  # number of colours of curves in report.css
TICKS = 5  # approximate number of ticks on each axis
SIZE = 1000  # the coordinates of a curve are from 0 to SIZE; the browser stretches them to the size of the plot
HINT = "Point at the chart, or select it and press the arrow keys, to read values."
FIELD_LABELS = {
    "best_val_loss": "best validation loss",
    "test_loss": "test loss",
    "val_accuracy": "accuracy",
    "train_loss": "training loss",
    "steps": "steps",
    "seconds": "time",
    "parameters": "parameters",
    "chars_per_second": "characters/s",
    "status": "status",
}


@dataclass(frozen=True)
class Progress:
    """The progress of a run that is being trained."""

    share: float  # used fraction of the budget
    seconds_left: float  # estimated


class LivePage:
    """The file `live.html` of a run. It is written after the first step, at each save and at the end.

    The run is normally saved after each evaluation.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.run = trainer.run_directory
        self.progress = Progress(0.0, math.inf)
        self.is_written = False

    def begin(self) -> None:
        """Nothing can be shown yet."""

    def show(self, event: Event) -> None:
        match event:
            case Step():
                self.progress = Progress(event.progress, event.seconds_left)
                if not self.is_written:
                    self._write(self.progress)
            case Saved():
                self._write(self.progress)
            case Done():
                self._write(None)

    def _write(self, progress: Progress | None) -> None:
        write_atomically(self.run.live, build_report([self.run], progress).encode())
        self.is_written = True


def build_report(runs: Sequence[Run], progress: Progress | None = None) -> str:
    """The HTML of a report about runs, the best first. progress: of the one run that is being trained.

    Raises RunError for a run that is missing or damaged.
    """
    configs = [run.read_config() for run in runs]
    labels = run_labels(runs, configs)
    reports = [RunReport(run, config, label) for run, config, label in zip(runs, configs, labels, strict=True)]
    reports.sort(key=lambda report: (report.loss is None, report.loss))
    charts: list[dict[str, Any]] = []
    sections = [
        _chart_section(reports, charts),
        *([_comparison(reports)] if len(reports) > 1 else []),
        _sample_section(reports),
        _option_section(reports),
    ]
    style = read_file("report.css")
    script = read_file("report.js")
    now = datetime.now().astimezone()
    best = reports[0]
    status = str(best.row["status"])
    eyebrow = f"{len(reports)} runs of charrnn" if len(reports) > 1 else f"charrnn · {best.run.path.name} · {status}"
    if progress is not None:
        eyebrow = f"training {best.run.path.name} · updated at {now:%H:%M:%S}"
        sections.append(f'<div data-refresh="{REFRESH_SECONDS}" hidden></div>')
    parts = {
        "style": style,
        "script": script,
        "style_hash": content_hash(style),
        "script_hash": content_hash(script),
        "version": __version__,
        "refresh": ""
        if progress is None
        else f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>',
        "title": _escape(_title(configs)),
        "eyebrow": f'<span class="status-{"running" if progress else "ended"}">{_escape(eyebrow)}</span>',
        "summary": "".join(
            [
                _figures(best, is_best=len(reports) > 1),
                "" if progress is None else _progress_bar(progress),
                _last_sample(best),
            ]
        ),
        "sections": "\n".join(sections),
        "footer": f"Made with charrnn {__version__} on {now:%Y-%m-%d at %H:%M}. The file needs no network.",
        "charts": dump_json(charts).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_file("report.html"))


class RunReport:
    """The files of a run, read for a report."""

    def __init__(self, run: Run, config: RunConfig, label: str) -> None:
        self.run = run
        self.config = config
        self.label = label
        self.row: Row = summary(run)
        self.evaluations = [row for row in read_metrics(run.metrics) if row["train_loss"] is not None]
        self.samples = list(read_samples(run.samples))

    @property
    def loss(self) -> float | None:
        """The loss by which runs are compared: the best validation loss, or else the last training loss."""
        loss = self.row.get("best_val_loss")
        return self.row.get("train_loss") if loss is None else loss

    def curve(self, x: str, y: str) -> Curve:
        """A score of the evaluations against a field. If the score is the validation loss, also the training loss."""
        train = [row["train_loss"] for row in self.evaluations] if y == "val_loss" else []
        return Curve(self.label, [row[x] for row in self.evaluations], train, [row[y] for row in self.evaluations])

    def loss_at(self, step: int) -> float | None:
        """The validation loss, or else the training loss, of the last evaluation up to a step."""
        losses = [
            row["train_loss"] if row["val_loss"] is None else row["val_loss"]
            for row in self.evaluations
            if row["step"] <= step
        ]
        return losses[-1] if losses else None


def _title(configs: Sequence[RunConfig]) -> str:
    names = list(dict.fromkeys(Path(path).name for config in configs for path in config.corpus))
    corpora = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(configs)} runs on {corpora}" if len(configs) > 1 else f"Learning from {corpora}"


def _figures(report: RunReport, *, is_best: bool) -> str:
    """The most important numbers of a run, in large type."""
    shown = ["best_val_loss"] if report.row.get("best_val_loss") is not None else ["train_loss"]
    shown += [name for name in ("val_accuracy", "test_loss") if report.row.get(name) is not None]
    shown += ["steps", "seconds", "parameters", "chars_per_second"]
    cells = [
        (FIELD_LABELS[name], _format(name, report.row[name])) for name in shown if report.row.get(name) is not None
    ]
    if is_best:
        cells.insert(0, ("best run", report.run.path.name))
    items = "".join(f"<div><dt>{label}</dt><dd>{_escape(text)}</dd></div>" for label, text in cells)
    return f'<dl class="figures">{items}</dl>' if items else ""


def _progress_bar(progress: Progress) -> str:
    text = f"{progress.share:.0%}"
    if math.isfinite(progress.seconds_left):
        text += f", {_duration(progress.seconds_left)} left"
    bar = f'<rect width="{100 * progress.share:.1f}%" height="100%"/>'
    return (
        f'<div class="progress"><svg role="img" aria-label="progress" height="11">{bar}</svg><span>{text}</span></div>'
    )


def _last_sample(report: RunReport) -> str:
    """The newest sample of a run, in large type."""
    if not report.samples:
        return ""
    sample = report.samples[-1]
    caption = f"Output of {_escape(report.run.path.name)} after {sample['step']:,} steps"
    text = _escape_lines(sample["text"].strip())
    return f'<figure class="newest"><figcaption>{caption}</figcaption><pre>{text}</pre></figure>'


def _chart_section(reports: Sequence[RunReport], charts: list[dict[str, Any]]) -> str:
    """The charts of the losses, against steps and against time, and of the accuracies.

    Appends the data of each chart to `charts`.
    """
    reports = [report for report in reports if report.evaluations]
    if not reports:
        return '<section><p class="note">The first evaluation is not finished yet.</p></section>'
    tasks = {report.config.data.task for report in reports}
    title = LOSS_LABELS.get(tasks.pop() if len(tasks) == 1 else "", "nats per scored symbol").removeprefix("loss: ")
    figures = []
    for x_label in ("steps", "seconds"):
        field = X_AXES[x_label]
        curves = [report.curve(field, "val_loss") for report in reports]
        figures.append(_chart(curves, f"Loss, {title}", x_label, charts, f'chart" data-x="{field}'))
    accuracies = [report.curve("step", "val_accuracy") for report in reports]
    if all(curve.has_validation for curve in accuracies):
        figures.append(_chart(accuracies, "Accuracy on the validation part", "steps", charts, "chart small"))
    return f"""<section id="losses" aria-label="Curves">
<fieldset class="axis"><legend class="visually-hidden">Horizontal axis</legend>
<label><input type="radio" name="axis" id="by-step" checked> by steps</label>
<label><input type="radio" name="axis" id="by-seconds"> by time</label></fieldset>
{"".join(figures)}</section>"""


def _chart(curves: Sequence[Curve], title: str, x_label: str, charts: list[dict[str, Any]], classes: str) -> str:
    """A chart as HTML and SVG. It fits the width of the page, and its texts have the size of the text of the page."""
    low, high = LossFigure(list(curves), "", "", "").y_limits
    end = max(curve.x[-1] for curve in curves) or 1
    shown = [{"label": curve.label, "points": curve.points} for curve in curves]
    charts.append({"x": X_AXES[x_label], "end": end, "curves": shown})

    def x_share(x: float) -> float:
        return x / end

    def y_share(y: float) -> float:
        return (high - y) / (high - low)

    def polyline(x: Sequence[float], y: Sequence[float | None], classes: str) -> str:
        points = [
            f"{SIZE * x_share(a):.1f},{SIZE * y_share(b):.1f}" for a, b in zip(x, y, strict=True) if b is not None
        ]
        return f'<polyline class="{classes}" points="{" ".join(points if len(points) > 1 else points * 2)}"/>'

    lines: list[str] = []
    legend: list[str] = []
    for number, curve in enumerate(curves):
        colour = f"c{number % COLOURS}"
        x, y = zip(*curve.points, strict=True)
        lines.append(polyline(x, y, f"curve {colour}"))
        if curve.has_validation and curve.train:
            lines.append(polyline(curve.x, curve.train, f"curve train {colour}"))
        legend.append(f'<li class="key {colour}">{_escape(curve.label)}</li>')
    if any(curve.has_validation and curve.train for curve in curves):
        legend.append('<li class="key key-train">training loss</li>')
    x_ticks = round_ticks(end, TICKS)
    y_ticks = _ticks(low, high)
    gridlines = "".join(
        f'<line class="gridline" x1="0" x2="100%" y1="{100 * y_share(y):.2f}%" y2="{100 * y_share(y):.2f}%"/>'
        for y in y_ticks
    )
    y_labels = "".join(
        f'<text x="88%" y="{100 * y_share(y):.2f}%" dy="0.35em" text-anchor="end">{_number(y)}</text>' for y in y_ticks
    )
    x_labels = "".join(
        f'<text x="{100 * x_share(x):.2f}%" y="1.3em" text-anchor="{_anchor(x_share(x))}">{engineering(x)}</text>'
        for x in x_ticks
    )
    curve_lines = "".join(reversed(lines))  # the best on top
    view = f'viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none"'
    return f"""<figure class="{classes}"><figcaption><h3>{_escape(title)}</h3>
<ul class="legend">{"".join(legend)}</ul></figcaption>
<div class="grid"><svg class="y-labels" aria-hidden="true">{y_labels}</svg>
<svg class="plot" data-chart="{len(charts) - 1}" tabindex="0" role="application" aria-label="{_escape(title)}. {HINT}">
{gridlines}<svg width="100%" height="100%" {view}>{curve_lines}</svg>
<line class="cursor" y1="0" y2="100%" visibility="hidden"/></svg>
<svg class="x-labels" aria-hidden="true">{x_labels}
<text x="100%" y="2.8em" text-anchor="end">{x_label}</text></svg></div>
<output class="readout">{HINT}</output></figure>"""


def _anchor(share: float) -> str:
    """The text anchor of a label below the axis, so that it stays inside the chart."""
    return "start" if share < 0.02 else "end" if share > 0.98 else "middle"


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two limits."""
    step = round_ticks(high - low, TICKS)[1]
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _comparison(reports: Sequence[RunReport]) -> str:
    """The table of all runs, the best first."""
    names = [name for name in FIELD_LABELS if any(report.row.get(name) is not None for report in reports)]
    head = "".join(f'<th scope="col">{FIELD_LABELS[name]}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{_escape(report.label)}</th>'
        + "".join(f"<td>{_escape(_format(name, report.row.get(name)))}</td>" for name in names)
        + "</tr>"
        for report in reports
    )
    return f"""<section aria-labelledby="runs-title"><h2 id="runs-title">All runs, the best first</h2>
<div class="table" tabindex="0" role="region" aria-labelledby="runs-title"><table>
<thead><tr><th scope="col">run</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"""


def _sample_section(reports: Sequence[RunReport]) -> str:
    """The samples of each run, in the order in which they were made."""
    title = '<section aria-labelledby="samples-title"><h2 id="samples-title">How the output gets better</h2>'
    lists = [(report, _samples(report, n % COLOURS)) for n, report in enumerate(reports) if report.samples]
    if not lists:
        note = "This run kept no samples." if len(reports) == 1 else "These runs kept no samples."
        return f'{title}<p class="note">{note} Training with --live or --sample-every keeps them.</p></section>'
    if len(reports) == 1:
        return f"{title}{lists[0][1]}</section>"
    details = "".join(
        f"<details{' open' if n == 0 else ''}><summary>{_escape(report.label)}</summary>{samples}</details>"
        for n, (report, samples) in enumerate(lists)
    )
    return f"{title}{details}</section>"


def _samples(report: RunReport, colour: int) -> str:
    losses = [report.loss_at(sample["step"]) for sample in report.samples]
    highest = max((abs(loss) for loss in losses if loss is not None), default=0) or 1
    items = []
    for sample, loss in zip(report.samples, losses, strict=True):
        bar = ""
        if loss is not None:
            width = f"{100 * abs(loss) / highest:.0f}%"
            bar = f'loss {loss:.3f}<svg aria-hidden="true"><rect width="{width}" height="100%"/></svg>'
        when = f'<div class="when c{colour}"><b>step {sample["step"]:,}</b>{bar}</div>'
        items.append(f"<li>{when}<pre>{_escape_lines(sample['text'])}</pre></li>")
    return f'<ol class="samples">{"".join(items)}</ol>'


def _option_section(reports: Sequence[RunReport]) -> str:
    """All options of each run."""
    blocks = []
    for report in reports:
        options = "".join(
            f"<div><dt>{name.replace('_', ' ')}</dt><dd>{_escape(_option(value))}</dd></div>"
            for name, value in report.config.to_options().items()
        )
        name = "All options" if len(reports) == 1 else report.label
        blocks.append(f'<details><summary>{_escape(name)}</summary><dl class="options">{options}</dl></details>')
    return f'<section aria-labelledby="options-title"><h2 id="options-title">Settings</h2>{"".join(blocks)}</section>'


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _format(name: str, value: Any) -> str:
    """A field of a run as text."""
    if value is None:
        return "-"
    if name == "seconds":
        return _duration(value)
    if name == "val_accuracy":
        return f"{value:.1%}"
    return (
        f"{value:.4f}" if name.endswith("loss") else f"{value:,.0f}" if isinstance(value, int | float) else str(value)
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.0f} s"


def _number(value: float) -> str:
    return f"{value:.6g}" if abs(value) >= 1e-9 else "0"


def _escape(text: str) -> str:
    return html.escape(printable(text))


def _escape_lines(text: str) -> str:
    return "\n".join(map(_escape, text.split("\n")))
