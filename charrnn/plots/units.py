"""Figures of unit values as colours along a text, with Matplotlib."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.plots.symbols import literal, visible_symbol, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GATES = ("i", "f", "o", "r", "z")
MAX_COLUMNS = 100  # characters in a row of a figure
MAX_ROWS = 48  # rows of a figure, of text and of units
CELL_WIDTH = 0.072  # inches
CELL_HEIGHT = 0.17
WHITE_TEXT = 0.65  # the text is white on values above this fraction of the upper limit


def quantity_limits(quantity: str, values: Array) -> tuple[float, float]:
    """The range of a quantity: 0 to 1 for gates, -max |c| to max |c| for c, -1 to 1 for others."""
    if quantity in GATES:
        return 0.0, 1.0
    largest = float(np.abs(values).max(initial=1)) if quantity == "c" else 1.0
    return -largest, largest


def draw_units(text: str, values: Array, names: Sequence[str], quantity: str) -> Figure:
    """Unit values as colours, for as much of the text as a figure can hold.

    One unit: the lines of the text, with the value after each character as its background. Several units: blocks that
    consist of a row of text and a row of colours for each unit.

    values: (N, K) for N characters. names: of the K units.
    """
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font

    drawable = get_font(findfont("monospace")).get_charmap()
    is_single = len(names) == 1
    block_height = 1 if is_single else len(names) + 2  # the text, the units, an empty row
    first_unit_row = 0 if is_single else 1  # of a block
    lines = _lines(text, is_single)[: max(1, MAX_ROWS // block_height)]
    columns = max(len(text[line]) for line in lines)
    grid = np.full((block_height * len(lines), columns), np.nan)
    label_width = 0.0 if is_single else 0.065 * max(map(len, names))
    size = (CELL_WIDTH * columns + 0.9 + label_width, CELL_HEIGHT * len(grid) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    low, high = quantity_limits(quantity, values)
    tick_labels: dict[int, str] = {}
    for n, line in enumerate(lines):
        top = n * block_height
        first = top + first_unit_row
        grid[first : first + len(names), : len(text[line])] = values[line].T
        if not is_single:
            tick_labels |= {first + k: name for k, name in enumerate(names)}
        is_dark = np.abs(grid[top]) > WHITE_TEXT * high  # False for nan, in a row of text without colours
        _draw_text(axes, text[line], top, is_dark, drawable)
    image = axes.imshow(grid, cmap="RdBu_r" if low else "Reds", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks(list(tick_labels), list(tick_labels.values()), fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    label = f"{quantity} of unit {names[0]}" if is_single else quantity
    figure.colorbar(image, label=label, shrink=0.4, fraction=0.02, pad=0.01, aspect=20)
    return figure


def _lines(text: str, is_single: bool) -> list[slice]:
    """Rows of the text: its lines for a single unit, equally long parts for several units."""
    if is_single:
        return list(wrap(text, [1] * len(text), MAX_COLUMNS))
    return [slice(start, start + MAX_COLUMNS) for start in range(0, len(text), MAX_COLUMNS)]


def _draw_text(axes: Axes, line: str, row: int, is_dark: Array, drawable: Container[int]) -> None:
    """Draws one character in each cell of a row. A character whose code is not drawable becomes a square."""
    for column, character in enumerate(line):
        shown = "".join(c if ord(c) in drawable else "\N{WHITE SQUARE}" for c in visible_symbol(character))
        axes.text(
            column,
            row,
            literal(shown),
            color="white" if is_dark[column] else "black",
            family="monospace",
            fontsize=8,
            ha="center",
            va="center_baseline",
        )
