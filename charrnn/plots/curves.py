"""The losses of runs as curves, with the words that stand beside them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import RunError, printable
from charrnn.options import RunConfig
from charrnn.runs.directory import Run
from charrnn.runs.reports import read_metrics

FIELDS = {"chars": "characters", "steps": "steps", "seconds": "seconds"}
FIELD_OF = {"chars": "chars", "steps": "step", "seconds": "seconds"}  # of a line of metrics
# Said of a run only where nothing else tells the runs apart: most of it follows from the rest.
MINOR = ("dropout", "recurrent_dropout", "max_minutes", "max_steps", "max_epochs", "eval_every")
SILENT = ("workers", "init_from", "save_every", "sample_every")
BARE = ("cell", "optimizer", "schedule", "task")  # settings whose values say what they are
SHORT = {"num_layers": "layers", "learning_rate": "lr", "recurrent_dropout": "rec. dropout"}
LOSSES = {"lm": "nats per character", "series": "loss: half the squared error, standardised"}
EARLY = 2  # evaluations that do not set the height of a picture


@dataclass(frozen=True)
class Curve:
    """The losses of a run against characters, steps or seconds. Those of validation may be missing."""

    label: str
    x: list[float]
    train: list[float]
    val: list[float | None]

    @property
    def validated(self) -> bool:
        return any(loss is not None for loss in self.val)

    @property
    def shown(self) -> list[tuple[float, float]]:
        """The points to look at: the validation loss, of a run without one the training loss."""
        losses = self.val if self.validated else self.train
        return [(x, loss) for x, loss in zip(self.x, losses, strict=True) if loss is not None]

    @property
    def best(self) -> float:
        return min(loss for _, loss in self.shown)


@dataclass(frozen=True)
class Picture:
    """Curves and the words around them."""

    curves: list[Curve]  # the best first
    title: str
    loss: str  # what the losses are
    field: str  # what they are drawn against

    @property
    def limits(self) -> tuple[float, float]:
        """The losses to show: from what the first evaluations leave behind down to the best."""
        late = [loss for curve in self.curves for _, loss in curve.shown[EARLY:] or curve.shown]
        low, high = min(curve.best for curve in self.curves), max(late)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
        return low - margin, high + margin


def read_curves(runs: Sequence[Run], field: str) -> Picture:
    """The curves of all runs that have been evaluated. Raises RunError."""
    configs = [run.read_config() for run in runs]
    curves = []
    for label, run in zip(labels(runs, configs), runs, strict=True):
        lines = [line for line in read_metrics(run.metrics) if line["train_loss"] is not None]
        x, train, val = ([line[name] for line in lines] for name in (FIELD_OF[field], "train_loss", "val_loss"))
        curves += [Curve(label, x, train, val)] if lines else []
    if not curves:
        raise RunError("nothing to plot: no evaluation yet")
    curves.sort(key=lambda curve: (not curve.validated, curve.best))
    tasks, best = {config.data.task for config in configs}, curves[0]
    loss = LOSSES.get(tasks.pop() if len(tasks) == 1 else "", "nats per scored symbol")
    corpora = dict.fromkeys(printable(Path(path).name) for config in configs for path in config.corpus)
    names = ", ".join([*corpora][:3]) + (", ..." if len(corpora) > 3 else "")
    whose = f" ({best.label})" if len(curves) > 1 else ""
    kind = "validation" if best.validated else "training"
    return Picture(curves, f"{names}: best {kind} loss {best.best:.4f}{whose}", loss, FIELDS[field])


def labels(runs: Sequence[Run], configs: Sequence[RunConfig]) -> list[str]:
    """The runs' names and the settings in which they differ; the learning rate, which follows the size, only where
    that is not enough."""
    options = [config.to_options() for config in configs]
    every = [name for name in dict.fromkeys(itertools.chain(*options)) if name not in SILENT]
    differing = [name for name in every if len({str(values.get(name)) for values in options}) > 1]
    major = [name for name in differing if name not in MINOR] or differing
    for names in ([name for name in major if name != "learning_rate"], major):
        settings = [", ".join(_setting(name, values.get(name)) for name in names) for values in options]
        if len(set(settings)) == len(settings):
            break
    called = [printable(run.path.name) for run in runs]
    return [f"{name}: {told}" if told else name for name, told in zip(called, settings, strict=True)]


def _setting(name: str, value: Any) -> str:
    shown = f"{value:.3g}" if isinstance(value, float) else printable(str(value))
    if name == "hidden_size":
        return f"{shown} units"
    return shown if name in BARE else f"{SHORT.get(name, name.replace('_', ' '))} {shown}".strip()


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the given ones, each at least `gap` from the next, between low and high where there is room."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = [0.0] * len(places)
    at = -math.inf
    for n in order:
        at = moved[n] = max(places[n], at + gap)
    at = max(high, low + gap * (len(places) - 1)) + gap
    for n in reversed(order):
        at = moved[n] = min(moved[n], at - gap)
    return moved


def round_ticks(longest: float, number: int) -> list[float]:
    """Some `number` round places from 0 on."""
    rough = longest / number
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [step * n for n in range(int(longest / step) + 1)]


def engineering(value: float) -> str:
    """150000 -> 150k."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
