"""What the units of a network do with a text: units that go with a probe; a picture of units against characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.analysis.probes import PROBES
from charrnn.analysis.reading import Reading
from charrnn.nn.arrays import Array
from charrnn.plots.symbols import rows, symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATES = ("i", "f", "o", "r", "z")
COLUMNS, ROWS = 100, 48  # of a picture: characters in a line, lines of characters and of units


@dataclass(frozen=True)
class Found:
    """A unit that goes with a probe. The correlation is that on the half of the text on which it was not chosen."""

    probe: str
    layer: int
    unit: int
    correlation: float


def find_units(reading: Reading) -> list[Found]:
    """For each probe the unit whose activity goes with it most closely on the first half of the text, and how closely
    it does on the second (Pearson, with its sign): a unit that fits by luck does not there. The closest first; probes
    of which a half has no example are left out."""
    probes = np.array([probe(reading.text) for probe in PROBES.values()], np.float32)
    middle = len(reading.text) // 2
    first, second = Correlation(), Correlation()
    for characters, values in reading.quantities():
        late = characters >= middle
        first.add(probes[:, characters[~late]], values[~late])
        second.add(probes[:, characters[late]], values[late])
    chosen, held_back = first.value(), second.value()
    found = []
    for name, on_first, on_second in zip(PROBES, chosen, held_back, strict=True):
        best = int(np.abs(on_first).argmax())
        if on_first[best] and on_second.any():
            layer, unit = divmod(best, reading.model.architecture.hidden_size)
            found.append(Found(name, layer, unit, float(on_second[best])))
    return sorted(found, key=lambda one: -abs(one.correlation))


class Correlation:
    """Pearson's, of P probes with U units, over characters that come in pieces."""

    def __init__(self) -> None:
        self.n = 0
        self.p = self.u = self.pp = self.uu = self.pu = np.zeros(())

    def add(self, p: Array, u: Array) -> None:
        """p (P, n), u (n, U)."""
        p, u = p.astype(np.float64), u.astype(np.float64)
        self.n += len(u)
        self.p, self.pp = self.p + p.sum(axis=1), self.pp + (p * p).sum(axis=1)
        self.u, self.uu = self.u + u.sum(axis=0), self.uu + (u * u).sum(axis=0)
        self.pu = self.pu + p @ u

    def value(self) -> Array:
        """(P, U), 0 where one of the two does not vary."""
        n = max(1, self.n)
        p, u = self.p / n, self.u / n
        var_p, var_u = self.pp / n - p * p, self.uu / n - u * u
        var_p[var_p < 1e-12 * self.pp / n] = 0  # what rounding leaves of a constant
        var_u[var_u < 1e-12 * self.uu / n] = 0
        spread = np.sqrt(np.outer(var_p, var_u))
        covariance = self.pu / n - np.outer(p, u)
        return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0)


def limits(quantity: str, values: Array) -> tuple[float, float]:
    """Between which values a quantity lies: gates from 0 to 1, what has passed through a tanh from -1 to 1."""
    if quantity in GATES:
        return 0.0, 1.0
    largest = float(np.abs(values).max(initial=1)) if quantity == "c" else 1.0
    return -largest, largest


def draw_units(text: str, values: Array, names: Sequence[str], quantity: str) -> Figure:
    """Units against characters, as much of the text as fits: of one unit the lines of the text, its values behind the
    characters; of several in blocks, a row a unit under a row of text.

    values (N, K); names: of the K units.
    """
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font

    drawable = get_font(findfont("monospace")).get_charmap()
    low, high = limits(quantity, values)
    alone, number = len(names) == 1, len(names)
    if alone:
        lines = list(rows(text, [1] * len(text), COLUMNS))
    else:
        lines = [slice(start, start + COLUMNS) for start in range(0, len(text), COLUMNS)]
    height = 1 if alone else number + 2  # of a line: the text, the units, a space
    lines = lines[: max(1, ROWS // height)]
    columns = max(len(text[line]) for line in lines)
    grid = np.full((height * len(lines), columns), np.nan)
    margin = 0.9 if alone else 0.9 + 0.065 * max(map(len, names))
    figure = Figure(figsize=(0.072 * columns + margin, 0.17 * len(grid) + 0.3), layout="constrained")
    axes = figure.subplots()
    ticks: dict[int, str] = {}
    for n, line in enumerate(lines):
        top = n * height
        first = top if alone else top + 1
        grid[first : first + number, : len(text[line])] = values[line].T
        ticks |= {first + k: name for k, name in enumerate(names) if not alone}
        for place, character in enumerate(text[line]):
            colour = "white" if alone and abs(grid[top, place]) > 0.65 * high else "black"
            shown = "".join(c if ord(c) in drawable else "\N{WHITE SQUARE}" for c in symbol(character))
            style: dict[str, Any] = {"family": "monospace", "fontsize": 8, "ha": "center", "va": "center_baseline"}
            axes.text(place, top, shown, color=colour, parse_math=False, **style)
    image = axes.imshow(grid, cmap="RdBu_r" if low else "Reds", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    label = f"{quantity} of unit {names[0]}" if alone else quantity
    figure.colorbar(image, label=label, shrink=0.4, fraction=0.02, pad=0.01, aspect=20)
    return figure
