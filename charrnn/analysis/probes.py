"""Probes: properties of a text that a unit may have learned to represent. To add a probe, add it to PROBES.

A probe is a function of a text. It returns one number for each character: the property after that character has been
read, computed from this character and those before it, because a network has read no further. A quotation therefore
starts at its opening mark and ends before its closing mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from charrnn.nn.arrays import Array

BLANK_LINE = r"\n\r?(\n)"


def satisfies(text: str, test: Callable[[str], bool]) -> Array:
    """Whether each character passes a test."""
    codes, inverse = np.unique(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), return_inverse=True)
    return np.array([test(chr(code)) for code in codes.tolist()], bool)[inverse]


def is_one_of(text: str, characters: str) -> Array:
    """Whether each character is one of the given characters."""
    return satisfies(text, lambda character: character in characters)


def in_group(text: str, pattern: str) -> Array:
    """Whether each character is in group 1 of a match of a regular expression. ^ matches at the start of each line."""
    inside = np.zeros(len(text), bool)
    for match in re.finditer(pattern, text, re.MULTILINE):
        inside[match.start(1) : match.end(1)] = True
    return inside


def distance_from_last(marks: Array) -> Array:
    """The number of characters since the last mark. The start of the text counts as a mark.

    Marks 0 0 1 0 0 give 1 2 0 1 2.
    """
    places = np.arange(len(marks))
    distances: Array = places - np.maximum.accumulate(np.where(marks, places, -1))
    return distances


def count_since(marks: Array, starts: Array) -> Array:
    """The number of marks after the last start. The start of the text counts as a start.

    Marks 1 1 0 1 with starts 0 0 1 0 give 1 2 0 1.
    """
    totals = np.append(0, np.cumsum(marks))
    places = np.arange(1, len(totals))
    counts: Array = totals[places] - totals[places - distance_from_last(starts)]
    return counts


def bracket_depth(text: str) -> Array:
    """The number of brackets opened in this paragraph and not closed. Unmatched closing brackets are ignored."""
    starts = in_group(text, BLANK_LINE)
    balance = count_since(is_one_of(text, "([{").astype(int) - is_one_of(text, ")]}"), starts)
    # The depth is the balance above its lowest value so far in the paragraph. One accumulation computes these lowest
    # values for all paragraphs, because each paragraph is shifted below the one before it.
    shift = len(text) * np.cumsum(starts)
    lowest = np.minimum.accumulate(np.minimum(balance, 0) - shift) + shift
    depth: Array = balance - lowest
    return depth


PROBES: dict[str, Callable[[str], Array]] = {
    # Double marks "..." and curly or angle marks, but not triple quotes. A blank line ends an unclosed quotation.
    "inside quotation marks": lambda text: (
        in_group(text, r'"""|("[^"]*?)(?:"|(?=\n\r?\n)|\Z)') | in_group(text, "([“„«][^“”„»]*)")
    ),
    # '...' on one line. A mark inside a word is an apostrophe; Python's prefixes b, f, r and u are allowed.
    "inside single quotes": lambda text: in_group(text, r"(?:(?<!\w)|(?<=\b[bfru]))('[^'\n]*)'?"),
    # Python's docstrings.
    "inside triple quotes": lambda text: in_group(text, r'("""(?s:.*?))(?:"""|\Z)'),
    # Any of ( [ {.
    "inside brackets": lambda text: bracket_depth(text) > 0,
    # The number of open brackets.
    "open brackets": bracket_depth,
    # Between the < and > of HTML or XML.
    "inside a <tag>": lambda text: in_group(text, r"<([/!\w][^<>\n]*)"),
    # From a # to the end of the line.
    "inside a # comment": lambda text: in_group(text, r"(#[^\n]*)"),
    # From the keyword to the colon, in Python.
    "in the head of an if, while or for": lambda text: in_group(text, r"^[ \t]*(?:if|elif|while|for)\b([^:\n]*)"),
    # After the keyword, in Python.
    "in an import or from line": lambda text: in_group(text, r"^[ \t]*(?:import|from)\b([^\n]*)"),
    # The character is an upper-case letter.
    "upper case": lambda text: satisfies(text, str.isupper),
    # From the upper-case first letter to the end of the word.
    "in a capitalised word": lambda text: in_group(text, r"\b([A-Z]\w*)"),
    # The line starts with an upper-case letter and has no lower-case letter so far, like a speaker's name in a play.
    "in an upper-case line so far": lambda text: in_group(text, r"^([A-Z][^a-z\n]*)"),
    # The character is a digit.
    "digit": lambda text: satisfies(text, str.isdigit),
    # The character is a vowel of the Latin alphabet.
    "vowel": lambda text: is_one_of(text, "aeiouAEIOU"),
    # The character is a letter of any alphabet.
    "letter": lambda text: satisfies(text, str.isalpha),
    # The character is a space, so a word may follow.
    "just after a space": lambda text: is_one_of(text, " "),
    # The character is a line feed, so a line follows.
    "just after a line feed": lambda text: is_one_of(text, "\n"),
    # The character ends a sentence.
    "just after a full stop": lambda text: is_one_of(text, ".!?"),
    # The number of letters of the word so far.
    "position in the word": lambda text: distance_from_last(~satisfies(text, str.isalpha)),
    # The number of characters of the line so far.
    "position in the line": lambda text: distance_from_last(is_one_of(text, "\n")),
    # The number of characters since the end of the last sentence.
    "position in the sentence": lambda text: distance_from_last(is_one_of(text, ".!?")),
    # The number of line feeds since the last blank line.
    "lines since a blank line": lambda text: count_since(is_one_of(text, "\n"), in_group(text, BLANK_LINE)),
    # The number of spaces and tabs at the start of this line.
    "indentation": lambda text: count_since(in_group(text, r"^([ \t]+)"), is_one_of(text, "\n")),
    # In the spaces and tabs at the start of a line.
    "in the indentation": lambda text: in_group(text, r"^([ \t]+)"),
}
