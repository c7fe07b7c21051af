"""Suggests a known symbol for an unknown character, such as a quotation mark of another form."""

from __future__ import annotations

import unicodedata
from typing import Protocol

SKIP = "skip it with --on-unknown skip"
# Characters that are often written for each other. The first known one of a group is suggested.
GROUPS = (
    '"\u201c\u201d\u201e\u00ab\u00bb\u2033\uff02',
    "'\u2019\u2018\u201a\u2039\u203a\u00b4`\u2032\u02bc\uff07",
    "-\u2010\u2011\u2013\u2014\u2012\u2015\u2212\u00ad",
    " \u00a0\u2009\u202f\u2002\u2003\u3000\t\n",
)


class KnownSymbols(Protocol):
    """A vocabulary, or a collection of symbols."""

    def __contains__(self, symbol: str, /) -> bool: ...


def suggest(character: str, known: KnownSymbols) -> str | None:
    """A known symbol that could be meant by an unknown character; None if there is none."""
    group = next((group for group in GROUPS if character in group), "")
    base = unicodedata.normalize("NFKD", character)[:1]  # without accents, and in the ordinary width
    candidates = [*group, unicodedata.normalize("NFC", character), base, character.swapcase(), base.swapcase()]
    return next((c for c in candidates if len(c) == 1 and c != character and c in known), None)


def unknown_hint(character: str, known: KnownSymbols) -> str:
    """The hint of an error for an unknown character."""
    other = suggest(character, known)
    return SKIP if other is None else f"did you mean {other!r}? or {SKIP}"
