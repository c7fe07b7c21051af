"""Text in cells of one character each: a visible symbol for each character, and breaks between rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

MARKS = ("Mn", "Me")  # the categories of combining marks
SYMBOLS = {"\n": "\u21b5", "\r": "\u2190", "\t": "\u2192", "\x7f": "\u2421"}


def visible_symbol(character: str) -> str:
    """The character itself if it is visible and has no effect on a terminal, else a symbol for it."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))  # the block "Control Pictures" of Unicode
    category = unicodedata.category(character)
    if category in MARKS:  # a combining mark needs a base character
        return "\N{DOTTED CIRCLE}" + character
    if category == "Zs":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def visible_label(text: str) -> str:
    """A text with a visible symbol for each character. A combining mark stays on the character before it."""
    symbols = [c if n and unicodedata.category(c) in MARKS else visible_symbol(c) for n, c in enumerate(text)]
    return "".join(symbols)


def literal(text: str) -> str:
    """The text as Matplotlib must get it, so that it does not read a dollar sign as the start of mathematics.

    All texts in figures that contain names or values of the user pass through this function.
    """
    return text.replace("$", r"\$")


def wrap(text: str, widths: Sequence[int], max_width: int) -> Iterator[slice]:
    """Breaks a text into rows of at most `max_width` cells.

    A row ends after a line feed, or else after its last space, if it has one. widths: the number of cells of each
    character.
    """
    start = 0
    after_space = 0  # place after the last space of this row; 0 if the row has none
    row_width = 0
    for place, (character, width) in enumerate(zip(text, widths, strict=True)):
        if row_width + width > max_width:
            stop = after_space or place
            yield slice(start, stop)
            start = stop
            after_space = 0
            row_width = sum(widths[stop:place])
        row_width += width
        if character == "\n":
            yield slice(start, place + 1)
            start = place + 1
            after_space = 0
            row_width = 0
        elif character == " ":
            after_space = place + 1
    if start < len(text):
        yield slice(start, len(text))
