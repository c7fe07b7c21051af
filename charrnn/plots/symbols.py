"""A text shown character by character: what stands for each in a single place, and where its lines are broken."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence


def symbol(character: str) -> str:
    """What is drawn for a character: itself if it is seen and does nothing; a sign in its place if not."""
    if character in SIGNS:
        return SIGNS[character]
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))  # Unicode's pictures of the control characters
    category = unicodedata.category(character)
    if category in ("Mn", "Me"):  # an accent without its letter
        return "\N{DOTTED CIRCLE}" + character
    if category == "Zs":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


SIGNS = {"\n": "\u21b5", "\r": "\u2190", "\t": "\u2192", "\x7f": "\u2421"}


def rows(text: str, widths: Sequence[int], width: int) -> Iterator[slice]:
    """The places of each row of at most `width` cells: a line of the text, or of a longer one what fits, up to a space
    where there is one. widths: cells of each character."""
    start, space, used = 0, 0, 0
    for place, (character, cells) in enumerate(zip(text, widths, strict=True)):
        if used + cells > width:
            stop = space or place
            yield slice(start, stop)
            start, space, used = stop, 0, sum(widths[stop:place])
        used += cells
        if character == "\n":
            yield slice(start, place + 1)
            start, space, used = place + 1, 0, 0
        elif character == " ":
            space = place + 1
    if start < len(text):
        yield slice(start, len(text))
