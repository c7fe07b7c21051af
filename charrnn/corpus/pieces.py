"""Changes to a text that is read in pieces. The result does not depend on where the pieces end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# Characters that never combine with the character before them: Latin letters, Chinese characters and Korean syllables.
# A text can be split before such a character, and the parts can be normalised separately.
PART_START = re.compile(r"[\x00-\u02ff\u3400-\u9fff\uac00-\ud7a3]")
NORMAL_FORMS = ("NFC", "NFD", "NFKC", "none")


def normalise(text: str, form: str) -> str:
    """The text in a Unicode normal form; form "none" changes nothing."""
    return text if form == "none" or text.isascii() else unicodedata.normalize(form, text)  # type: ignore[arg-type]


def split_for_normalising(pieces: Iterable[str]) -> Iterator[str]:
    """Splits a text between characters that never combine, so that its parts can be normalised one by one."""
    pending = ""
    for piece in pieces:
        pending += piece
        end = _last_part_start(pending)
        if end:
            yield pending[:end]
            pending = pending[end:]
    if pending:
        yield pending


def _last_part_start(text: str) -> int:
    """The place of the last character that begins a part; 0 if there is none."""
    for place in range(len(text) - 1, 0, -1):
        if PART_START.match(text[place]):
            return place
    return 0


def replace_in_pieces(pieces: Iterable[str], old: str, new: str) -> Iterator[str]:
    """Replaces a text by another. The end of a piece that could be the start of `old` is yielded later."""
    pending = ""
    for piece in pieces:
        *parts, last = (pending + piece).split(old)
        end = max(0, len(last) - len(old) + 1)
        text = new.join([*parts, last[:end]])
        pending = last[end:]
        if text:
            yield text
    if pending:
        yield pending
