"""Figures of alignments, with Matplotlib: the attention weights of each target symbol over the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from charrnn.plots.symbols import literal, visible_label
from charrnn.tasks.base import Alignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_SIZE = 0.22  # inches
MAX_WIDTH = 7.0  # inches of the weights of an alignment
MAX_LABELS = 40  # labels on an axis; with more steps, only every k-th step has a label
LABEL_WIDTH = 0.6  # inches


def join_steps(alignment: Alignment, max_steps: int) -> Alignment:
    """Joins every k source steps, so that at most `max_steps` remain. Their weights are added."""
    number = len(alignment.source)
    k = -(-number // max_steps)
    if k == 1:
        return alignment
    weights = np.add.reduceat(alignment.weights, np.arange(0, number, k), axis=1)
    return Alignment(alignment.source[::k], alignment.target, weights)


def draw_alignments(alignments: Sequence[Alignment]) -> Figure:
    """One picture for each alignment, one below the other: a row per target symbol, a column per source step."""
    from matplotlib.figure import Figure

    widths = [min(MAX_WIDTH, max(1.5, CELL_SIZE * len(alignment.source))) for alignment in alignments]
    heights = [max(0.8, CELL_SIZE * len(alignment.target)) for alignment in alignments]
    size = (max(widths) + LABEL_WIDTH, sum(heights) + 0.5 * len(alignments))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(alignments), squeeze=False, height_ratios=heights)[:, 0]
    for axes, alignment in zip(rows, alignments, strict=True):
        _draw(axes, alignment)
    return figure


def _draw(axes: Axes, alignment: Alignment) -> None:
    axes.imshow(alignment.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for axis, labels in ((axes.xaxis, alignment.source), (axes.yaxis, alignment.target)):
        step = -(-len(labels) // MAX_LABELS)
        shown = [literal(visible_label(label)) for label in labels[::step]]
        axis.set_ticks(range(0, len(labels), step), shown, fontsize=8)
    axes.tick_params(length=0)
