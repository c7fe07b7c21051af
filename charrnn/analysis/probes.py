"""Probes: what a unit may have learnt to know, each a function of a text alone. To add one, add a line to PROBES.

A probe gives a number for each character: what is true once it has been read, since that is all that a network can know
there. So a quotation begins with its first mark and is over at its last.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from charrnn.nn.arrays import Array

BLANK_LINE = r"\n\r?(\n)"


def each(text: str, test: Callable[[str], bool]) -> Array:
    """Which characters pass a test."""
    codes, places = np.unique(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), return_inverse=True)
    return np.array([test(chr(code)) for code in codes.tolist()], bool)[places]


def among(text: str, characters: str) -> Array:
    """Which characters are some of these."""
    return each(text, lambda character: character in characters)


def within(text: str, pattern: str) -> Array:
    """Which characters stand in the group of a regular expression, wherever it matches; ^ is the start of a line."""
    inside = np.zeros(len(text), bool)
    for match in re.finditer(pattern, text, re.MULTILINE):
        inside[match.start(1) : match.end(1)] = True
    return inside


def since(marks: Array) -> Array:
    """How many characters ago the last mark was; there is one before the text."""
    places = np.arange(len(marks))
    ago: Array = places - np.maximum.accumulate(np.where(marks, places, -1))
    return ago


def count(marks: Array, start: Array) -> Array:
    """How many marks there have been behind the last `start`."""
    total = np.append(0, np.cumsum(marks))
    counted: Array = total[1:] - total[np.arange(1, len(total)) - since(start)]
    return counted


def depth(text: str) -> Array:
    """How many brackets are open, of those in this paragraph; one that closes nothing is not counted."""
    start = within(text, BLANK_LINE)
    level = count(among(text, "([{").astype(int) - among(text, ")]}"), start)
    fall = len(text) * np.cumsum(start)  # lower in each paragraph, so that each has a lowest level of its own
    lowest = np.minimum.accumulate(np.minimum(level, 0) - fall) + fall
    opened: Array = level - lowest
    return opened


PROBES: dict[str, Callable[[str], Array]] = {
    "inside quotation marks": lambda text: (
        within(text, r'"""|("[^"]*?)(?:"|(?=\n\r?\n)|\Z)') | within(text, "([“„«][^“”„»]*)")
    ),
    "inside single quotes": lambda text: within(text, r"(?:(?<!\w)|(?<=\b[bfru]))('[^'\n]*)'?"),
    "inside triple quotes": lambda text: within(text, r'("""(?s:.*?))(?:"""|\Z)'),
    "inside brackets": lambda text: depth(text) > 0,
    "open brackets": depth,
    "inside a <tag>": lambda text: within(text, r"<([/!\w][^<>\n]*)"),
    "inside a # comment": lambda text: within(text, r"(#[^\n]*)"),
    "in the head of an if, while or for": lambda text: within(text, r"^[ \t]*(?:if|elif|while|for)\b([^:\n]*)"),
    "in an import or from line": lambda text: within(text, r"^[ \t]*(?:import|from)\b([^\n]*)"),
    "upper case": lambda text: each(text, str.isupper),
    "in a capitalised word": lambda text: within(text, r"\b([A-Z]\w*)"),
    "in a line of capitals so far": lambda text: within(text, r"^([A-Z][^a-z\n]*)"),
    "digit": lambda text: each(text, str.isdigit),
    "vowel": lambda text: among(text, "aeiouAEIOU"),
    "letter": lambda text: each(text, str.isalpha),
    "just after a space": lambda text: among(text, " "),
    "just after a line feed": lambda text: among(text, "\n"),
    "just after a full stop": lambda text: among(text, ".!?"),
    "place in the word": lambda text: since(~each(text, str.isalpha)),
    "place in the line": lambda text: since(among(text, "\n")),
    "place in the sentence": lambda text: since(among(text, ".!?")),
    "lines since a blank one": lambda text: count(among(text, "\n"), within(text, BLANK_LINE)),
    "indentation": lambda text: count(within(text, r"^([ \t]+)"), among(text, "\n")),
    "in the indentation": lambda text: within(text, r"^([ \t]+)"),
}
