"""Numbers behind the characters of a text: as colours on a terminal, as digits where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.color import Color, ColorSystem

RGB = tuple[int, int, int]  # red, green, blue

# From dark to bright, evenly. Each character has its own ground, so that dark and light terminals show the same.
RISING = ((27, 23, 38), (66, 20, 104), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
AROUND_ZERO = ((36, 92, 168), (30, 56, 98), (27, 23, 38), (104, 44, 34), (190, 74, 38))
RISING_OF_256 = (234, 54, 90, 126, 161, 203, 209, 215, 222, 230)
AROUND_ZERO_OF_256 = (25, 18, 17, 234, 52, 88, 130)
SHADES = 64  # of 24-bit colours
BAR = 49  # cells of the scale


@dataclass(frozen=True)
class Scale:
    """What the numbers are, between which values they lie, and which of these are written on the scale."""

    caption: str
    low: float
    high: float
    ticks: int
    step: float  # of a digit
    open: bool = False  # there may be values above the highest

    def share(self, value: float) -> float:
        """Where a value stands on the scale, from 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def colour_system(wish: str) -> ColorSystem | None:
    """24-bit or 256 colours, as the terminal says that it can; None for none. wish: always, auto or never."""
    from rich.color import ColorSystem
    from rich.console import Console

    console = Console(force_terminal=True if wish == "always" else None)
    if wish == "never" or (wish == "auto" and (console.no_color or console.color_system is None)):
        return None
    return ColorSystem.TRUECOLOR if console.color_system == "truecolor" else ColorSystem.EIGHT_BIT


def coloured(text: str, values: Sequence[float], scale: Scale, system: ColorSystem, width: int) -> Iterator[str]:
    """The text in lines of at most `width` cells, and the scale under it."""
    from rich.style import Style

    grounds = _grounds(scale, system)
    styles = [Style(color=_readable_on(ground), bgcolor=ground) for ground in grounds]

    def paint(shown: str, value: float) -> str:
        return styles[round(scale.share(value) * (len(styles) - 1))].render(shown, color_system=system)

    for shown, part in _rows(text, width):
        yield "".join(map(paint, shown, values[part]))
    labels = _labels(scale)
    places = [scale.low + (scale.high - scale.low) * n / (BAR - 1) for n in range(BAR)]
    yield ""
    yield "".join(map(paint, labels, places)) + (" " if BAR + len(scale.caption) < width else "\n") + scale.caption


def plain(text: str, values: Sequence[float], scale: Scale, width: int) -> Iterator[str]:
    """The text in lines of at most `width` cells; under each character its number as a digit, none for 0. Of numbers
    around zero those above it stand over the characters."""
    from rich.cells import cell_len

    def digits(shown: list[str], numbers: Sequence[float]) -> str:
        row = ""
        for cell, number in zip(shown, numbers, strict=True):
            digit = min(9, round(number / scale.step))
            row += (str(digit) if digit > 0 else "").ljust(cell_len(cell))
        return row.rstrip()

    for shown, part in _rows(text, width):
        if scale.low < 0:
            yield digits(shown, values[part])
        yield "".join(shown).rstrip()
        yield digits(shown, [-value if scale.low < 0 else value for value in values[part]])
    where = "above a character +, below it -" if scale.low < 0 else "below each character"
    yield ""
    yield f"{scale.caption}, in steps of {scale.step:g} (9: or more): {where}"


def _rows(text: str, width: int) -> Iterator[tuple[list[str], slice]]:
    """What is shown of each row, and which characters it is."""
    from rich.cells import cell_len

    from charrnn.plots.symbols import rows, symbol

    shown = list(map(symbol, text))
    for part in rows(text, list(map(cell_len, shown)), width):
        yield shown[part], part


def _labels(scale: Scale) -> str:
    """The scale's own text, BAR cells wide."""
    row = " " * BAR
    for n in range(scale.ticks):
        share = n / (scale.ticks - 1)
        label = f"{scale.low + share * (scale.high - scale.low):.3g}" + ("+" if scale.open and share == 1 else "")
        start = min(round(share * (BAR - 1)), BAR - len(label))
        row = row[:start] + label + row[start + len(label) :]
    return row


def _grounds(scale: Scale, system: ColorSystem) -> list[Color]:
    """The colours of a scale, from its lowest value to its highest."""
    from rich.color import Color, ColorSystem

    if system is not ColorSystem.TRUECOLOR:
        return [Color.from_ansi(n) for n in (AROUND_ZERO_OF_256 if scale.low < 0 else RISING_OF_256)]
    anchors = AROUND_ZERO if scale.low < 0 else RISING
    return [Color.from_rgb(*_between(anchors, n / (SHADES - 1))) for n in range(SHADES)]


def _between(anchors: Sequence[RGB], share: float) -> RGB:
    """The colour at a share of the way along the anchors."""
    place = share * (len(anchors) - 1)
    n = min(int(place), len(anchors) - 2)
    red, green, blue = (round(a + (b - a) * (place - n)) for a, b in zip(anchors[n], anchors[n + 1], strict=True))
    return red, green, blue


def _readable_on(ground: Color) -> Color:
    """Black or white, whichever has more contrast (relative luminance as in WCAG)."""
    from rich.color import Color

    red, green, blue = ((c / 255) ** 2.2 for c in ground.get_truecolor())
    return Color.from_ansi(16 if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else 231)
