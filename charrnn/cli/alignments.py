"""Shows alignments in a terminal: the attention weights of each target symbol as shades, above the source symbols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.arguments import needs_extra
from charrnn.cli.terminal import print_json, print_stderr
from charrnn.plots.alignments import join_steps
from charrnn.plots.symbols import visible_label

if TYPE_CHECKING:
    from charrnn.tasks.base import Alignment

SHADES = " ░▒▓█"
CELL_WIDTH = 2  # columns of the terminal for each source step
MAX_DRAWN = 6  # alignments in a figure


def print_alignments(alignments: Sequence[Alignment], width: int, *, json_output: bool) -> None:
    """Prints some alignments, each at most `width` columns wide."""
    for number, alignment in enumerate(alignments):
        if json_output:
            print_json({**alignment._asdict(), "weights": alignment.weights.tolist()})
        else:
            if number:
                print()
            for line in alignment_lines(alignment, width):
                print(line)


def save_alignments(alignments: Sequence[Alignment], path: Path) -> None:
    """Saves a figure of the first alignments."""
    from charrnn.plots.figures import save_figure

    with needs_extra("plot", "matplotlib"):
        from charrnn.plots.alignments import draw_alignments

        save_figure(draw_alignments(alignments[:MAX_DRAWN]), path)
    print_stderr(f"saved {path}")


def alignment_lines(alignment: Alignment, width: int) -> Iterator[str]:
    """Yields a row of shades for each target symbol, then the labels of the source.

    A label is below the column of its step, and is left out if the label before it leaves no space. If the source does
    not fit the width, neighbouring steps share a column, which shows the sum of their weights.
    """
    from rich.cells import cell_len

    targets = [visible_label(label) for label in alignment.target]
    margin = max(map(cell_len, targets)) + 1
    columns = max(1, (width - margin) // CELL_WIDTH)
    joined = join_steps(alignment, columns)
    for label, row in zip(targets, joined.weights.tolist(), strict=True):
        shades = (SHADES[min(len(SHADES) - 1, round(weight * (len(SHADES) - 1)))] * CELL_WIDTH for weight in row)
        yield (" " * (margin - 1 - cell_len(label)) + f"{label} {''.join(shades)}").rstrip()
    labels = ""
    for column, label in enumerate(map(visible_label, joined.source)):
        gap = CELL_WIDTH * column - cell_len(labels)
        if not labels or gap > 0 or (gap == 0 and len(label) == 1):
            labels += " " * gap + label
    yield " " * margin + labels
