"""Shows a number for each character of a text in a terminal, as background colours or as digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.plots.symbols import visible_symbol, wrap

if TYPE_CHECKING:
    from rich.color import Color, ColorSystem

# Background colours from the lowest value to the highest. The text has a foreground colour that is readable on them, so
# the result does not depend on the theme of the terminal.
INCREASING_RGB = ((27, 23, 38), (66, 20, 104), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
DIVERGING_RGB = ((36, 92, 168), (30, 56, 98), (27, 23, 38), (104, 44, 34), (190, 74, 38))
INCREASING_256 = (234, 54, 90, 126, 161, 203, 209, 215, 222, 230)  # numbers in the 256-colour palette
DIVERGING_256 = (25, 18, 17, 234, 52, 88, 130)
NUM_SHADES = 64  # of 24-bit colours
LEGEND_WIDTH = 49  # cells


@dataclass(frozen=True)
class Scale:
    """The caption and the range of the values, and how they are drawn. A scale with negative values is symmetric."""

    caption: str
    low: float
    high: float
    ticks: int  # number of values on the legend
    digit_step: float  # the digit n means about n x digit_step
    open_ended: bool = False  # whether there may be values above `high`

    @property
    def is_diverging(self) -> bool:
        return self.low < 0

    def fraction(self, value: float) -> float:
        """The position of a value on the scale, from 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def select_colours(mode: str) -> ColorSystem | None:
    """Returns 24-bit colours if the terminal supports them, else 256 colours, or None if digits are to be shown.

    mode: "always", "auto" or "never".
    """
    from rich.color import ColorSystem
    from rich.console import Console

    console = Console(force_terminal=True if mode == "always" else None)
    if mode == "never" or (mode == "auto" and (console.no_color or console.color_system is None)):
        return None
    return ColorSystem.TRUECOLOR if console.color_system == "truecolor" else ColorSystem.EIGHT_BIT


def coloured_lines(text: str, values: Sequence[float], scale: Scale, system: ColorSystem, width: int) -> Iterator[str]:
    """The text in lines of at most `width` cells with coloured backgrounds, then a legend."""
    from rich.style import Style

    styles = [Style(color=_foreground(colour), bgcolor=colour) for colour in _backgrounds(scale, system)]

    def paint(symbol: str, value: float) -> str:
        return styles[round(scale.fraction(value) * (len(styles) - 1))].render(symbol, color_system=system)

    for symbols, part in _rows(text, width):
        yield "".join(map(paint, symbols, values[part]))
    legend_values = [scale.low + (scale.high - scale.low) * n / (LEGEND_WIDTH - 1) for n in range(LEGEND_WIDTH)]
    legend = "".join(map(paint, _legend(scale), legend_values))
    yield ""
    yield legend + (" " if LEGEND_WIDTH + len(scale.caption) < width else "\n") + scale.caption


def digit_lines(text: str, values: Sequence[float], scale: Scale, width: int) -> Iterator[str]:
    """Yields the text in lines of at most `width` cells with the digits of its values below, followed by a legend.

    On a diverging scale, positive values are above the characters and negative values below. A value near zero has no
    digit.
    """
    for symbols, part in _rows(text, width):
        if scale.is_diverging:
            yield _digits(symbols, values[part], scale)
        yield "".join(symbols).rstrip()
        yield _digits(symbols, [-value for value in values[part]] if scale.is_diverging else values[part], scale)
    position = "positive above a character, negative below" if scale.is_diverging else "below each character"
    yield ""
    yield f"{scale.caption}, in steps of {scale.digit_step:g} (9 = 9 or more): {position}"


def _digits(symbols: Sequence[str], values: Sequence[float], scale: Scale) -> str:
    """A row with a digit at each symbol whose value is positive."""
    from rich.cells import cell_len

    row = ""
    for symbol, value in zip(symbols, values, strict=True):
        digit = min(9, round(value / scale.digit_step))
        row += (str(digit) if digit > 0 else "").ljust(cell_len(symbol))
    return row.rstrip()


def _rows(text: str, width: int) -> Iterator[tuple[list[str], slice]]:
    """The visible symbols of each row, and the slice of its characters in the text."""
    from rich.cells import cell_len

    symbols = list(map(visible_symbol, text))
    for part in wrap(text, list(map(cell_len, symbols)), width):
        yield symbols[part], part


def _legend(scale: Scale) -> str:
    """The values at the ticks, spread over LEGEND_WIDTH cells."""
    row = " " * LEGEND_WIDTH
    for n in range(scale.ticks):
        fraction = n / (scale.ticks - 1)
        label = f"{scale.low + fraction * (scale.high - scale.low):.3g}"
        if scale.open_ended and fraction == 1:
            label += "+"
        start = min(round(fraction * (LEGEND_WIDTH - 1)), LEGEND_WIDTH - len(label))
        row = row[:start] + label + row[start + len(label) :]
    return row


def _backgrounds(scale: Scale, system: ColorSystem) -> list[Color]:
    """The colours of a scale, from its lowest value to its highest."""
    from rich.color import Color, ColorSystem, blend_rgb
    from rich.color_triplet import ColorTriplet

    if system is not ColorSystem.TRUECOLOR:
        return [Color.from_ansi(number) for number in (DIVERGING_256 if scale.is_diverging else INCREASING_256)]
    anchors = [ColorTriplet(*rgb) for rgb in (DIVERGING_RGB if scale.is_diverging else INCREASING_RGB)]
    colours = []
    for n in range(NUM_SHADES):
        position = n / (NUM_SHADES - 1) * (len(anchors) - 1)
        k = min(int(position), len(anchors) - 2)
        colours.append(Color.from_triplet(blend_rgb(anchors[k], anchors[k + 1], position - k)))
    return colours


def _foreground(background: Color) -> Color:
    """Black or white, whichever has more contrast (relative luminance as in WCAG)."""
    from rich.color import Color

    red, green, blue = ((channel / 255) ** 2.2 for channel in background.get_truecolor())
    return Color.from_ansi(16 if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else 231)
