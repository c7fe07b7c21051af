"""Loss curves of runs: the data and labels of a figure, and the layout that both kinds of figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.analysis.labels import run_labels
from charrnn.errors import RunError, printable
from charrnn.options import RunConfig
from charrnn.runs.directory import Run
from charrnn.runs.reports import read_metrics

X_AXES = {"steps": "step", "characters": "chars", "seconds": "seconds", "epochs": "epoch"}  # fields in metrics.jsonl
LOSS_LABELS = {"lm": "nats per character", "series": "loss: half the squared error, standardised"}
EARLY_EVALUATIONS = 2  # excluded from the limits of the axis, because the loss is still much higher
MAX_CORPORA = 3  # named in a title


@dataclass(frozen=True)
class Curve:
    """The losses of a run against one of X_AXES. The validation loss may be missing."""

    label: str
    x: list[float]
    train: list[float]
    val: list[float | None]

    @property
    def has_validation(self) -> bool:
        return any(loss is not None for loss in self.val)

    @property
    def points(self) -> list[tuple[float, float]]:
        """(x, validation loss), or (x, training loss) if the run has no validation loss."""
        losses = self.val if self.has_validation else self.train
        return [(x, loss) for x, loss in zip(self.x, losses, strict=True) if loss is not None]

    @property
    def best(self) -> float:
        """The lowest loss of the points."""
        return min(loss for _, loss in self.points)


@dataclass(frozen=True)
class LossFigure:
    """Loss curves with the texts of the figure."""

    curves: list[Curve]  # the best first
    title: str
    y_label: str
    x_label: str
    is_full: bool = False  # whether the vertical axis includes all losses

    @property
    def y_limits(self) -> tuple[float, float]:
        """The range of the losses, without the first evaluations, and a margin. Losses are never negative."""
        early = 0 if self.is_full else EARLY_EVALUATIONS
        losses = [loss for curve in self.curves for _, loss in curve.points[early:] or curve.points]
        low = min(curve.best for curve in self.curves)
        high = max(losses)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
        return max(0.0, low - margin), high + margin

    def clipped_points(self, curve: Curve) -> list[float]:
        """The places on the horizontal axis at which a curve is above the upper limit of the vertical axis."""
        _, high = self.y_limits
        return [x for x, loss in curve.points if loss > high]

    @property
    def clipping_note(self) -> str:
        """Where the vertical axis ends, if it cuts off a part of a curve."""
        _, high = self.y_limits
        is_clipped = any(map(self.clipped_points, self.curves))
        return f"losses above {high:.3g} are cut off (\u25b2); --full shows them" if is_clipped else ""


def read_curves(runs: Sequence[Run], x: str, *, is_full: bool = False) -> LossFigure:
    """The curves of all runs that have an evaluation. x: a key of X_AXES. Raises RunError."""
    configs = [run.read_config() for run in runs]
    curves = []
    for label, run in zip(run_labels(runs, configs), runs, strict=True):
        names = (X_AXES[x], "train_loss", "val_loss")
        points = [[row[name] for name in names] for row in read_metrics(run.metrics) if row["train_loss"] is not None]
        if points:
            curves.append(Curve(label, *map(list, zip(*points, strict=True))))
    if not curves:
        raise RunError("nothing to plot: no evaluation yet")
    curves.sort(key=lambda curve: (not curve.has_validation, curve.best))
    tasks = {config.data.task for config in configs}
    y_label = LOSS_LABELS.get(tasks.pop() if len(tasks) == 1 else "", "nats per scored symbol")
    return LossFigure(curves, _title(curves, configs), y_label, x, is_full)


def _title(curves: Sequence[Curve], configs: Sequence[RunConfig]) -> str:
    """The corpora and the best loss, such as "corpus.txt: best validation loss 1.2345 (corpus-002: gru)"."""
    corpora = list(dict.fromkeys(printable(Path(path).name) for config in configs for path in config.corpus))
    names = ", ".join(corpora[:MAX_CORPORA]) + (", ..." if len(corpora) > MAX_CORPORA else "")
    best = curves[0]
    kind = "validation" if best.has_validation else "training"
    run = f" ({best.label})" if len(curves) > 1 else ""
    return f"{names}: best {kind} loss {best.best:.4f}{run}"


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves places apart, so that neighbours are at least `gap` apart. Their order stays the same.

    The result lies between `low` and `high` if that is possible, else some places are above `high`.
    Places 1, 1, 9 with gap 2 between 0 and 9 become 1, 3, 9; places 8, 9, 9 become 5, 7, 9.
    """
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = [0.0] * len(places)
    lowest_allowed = -math.inf
    for n in order:
        moved[n] = max(places[n], lowest_allowed)
        lowest_allowed = moved[n] + gap
    highest_allowed = max(high, low + gap * (len(places) - 1))
    for n in reversed(order):
        moved[n] = min(moved[n], highest_allowed)
        highest_allowed = moved[n] - gap
    return moved


def round_ticks(longest: float, number: int) -> list[float]:
    """About `number` ticks from 0 to `longest`, in steps of 1, 2 or 5 times a power of ten."""
    rough_step = longest / number
    power = 10.0 ** math.floor(math.log10(rough_step)) if rough_step > 0 else 1.0
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough_step)
    return [step * n for n in range(int(longest / step) + 1)]


def engineering(value: float) -> str:
    """A number with three digits and a metric prefix: 150000 is 150k."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"
