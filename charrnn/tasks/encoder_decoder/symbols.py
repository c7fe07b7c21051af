"""The symbols of the texts of a task: characters, or the parts between separators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.corpus.pieces import NORMAL_FORMS, normalise
from charrnn.corpus.similar import SKIP, unknown_hint
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array

END_LABEL = "\N{BLACK SQUARE}"  # stands for END where symbols are shown
END = 0  # the id of the symbol that ends a text; the ids of the other symbols follow
MAX_SEPARATOR = 100  # characters


@dataclass(frozen=True, eq=False)
class Symbols:
    """A vocabulary of texts. With a separator, `a ts a` consists of the symbols a, ts and a."""

    symbols: tuple[str, ...]  # sorted
    separator: str | None = None
    form: str = "none"  # the Unicode normal form of the symbols

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], separator: str | None, other: Symbols | None = None, form: str = "none"
    ) -> Symbols:
        """Makes a vocabulary of the symbols in some texts, in a Unicode normal form.

        other: a vocabulary whose symbols are included and whose separator is used. Raises UsageError if `separator` is
        given and differs from that separator.
        """
        if other is not None:
            if separator not in (None, other.separator):
                kind = "single characters" if other.separator is None else f"separated by {other.separator!r}"
                raise UsageError(f"separator {separator!r}: the symbols of the model given by --init-from are {kind}")
            separator = other.separator
        symbols = {symbol for text in texts for symbol in split_text(normalise(text, form), separator)}
        if other is not None:
            symbols |= set(other.symbols)
        return cls(tuple(sorted(symbols)), separator, form)

    @classmethod
    def from_dict(cls, values: Any) -> Symbols:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        symbols = values["symbols"]
        separator = values["separator"]
        form = values["normalize"]
        if form not in NORMAL_FORMS:
            raise ValueError("unknown normal form in the checkpoint")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) and symbol for symbol in symbols):
            raise ValueError("the symbols in the checkpoint are not a list of strings")
        if any(a >= b for a, b in itertools.pairwise(symbols)):
            raise ValueError("the symbols in the checkpoint are not sorted")
        if separator is None and any(len(symbol) != 1 for symbol in symbols):
            raise ValueError("a symbol in the checkpoint is not a character")
        if separator is not None and (not isinstance(separator, str) or not 0 < len(separator) <= MAX_SEPARATOR):
            raise ValueError("invalid separator in the checkpoint")
        return cls(tuple(symbols), separator, form)

    def to_dict(self) -> dict[str, Any]:
        return {"symbols": list(self.symbols), "separator": self.separator, "normalize": self.form}

    @property
    def size(self) -> int:
        """The number of ids, including END."""
        return len(self.symbols) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: n for n, symbol in enumerate(self.symbols, 1)}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    def split(self, text: str) -> list[str]:
        return split_text(normalise(text, self.form), self.separator)

    def compose(self, text: str) -> str:
        """A text as the model writes it. Decomposed characters (NFD) are composed again (NFC)."""
        return normalise(text, "NFC" if self.form == "NFD" else self.form)

    def written_symbols(self, text: str) -> list[str]:
        """The symbols of a text as the model writes it."""
        return split_text(self.compose(text), self.separator)

    def encode(self, text: str, *, skip_unknown: bool = False) -> Array:
        """Text -> ids (N,). Raises CorpusError for an unknown symbol, unless unknown symbols are to be skipped."""
        ids = self._ids
        symbols = self.split(text)
        if skip_unknown:
            symbols = [symbol for symbol in symbols if symbol in ids]
        try:
            return np.array([ids[symbol] for symbol in symbols], np.uint32)
        except KeyError as error:
            symbol = error.args[0]
            kind = "character" if self.separator is None else "symbol"
            problem = f"{kind} {symbol!r} at position {symbols.index(symbol)} is not in the vocabulary"
            hint = unknown_hint(symbol, self) if len(symbol) == 1 else SKIP
            raise CorpusError(problem, hint) from None

    def find_unknown(self, text: str) -> list[tuple[int, str]]:
        """The position and the description of each character or symbol of a text that is not in the vocabulary.

        The positions are those in the text as it is written, see `compose`.
        """
        kind = "character" if self.separator is None else "symbol"
        text = self.compose(text)
        parts = list(text) if self.separator is None else text.split(self.separator)
        unknown = []
        position = 0
        for part in parts:
            if any(symbol not in self._ids for symbol in self.split(part)):
                unknown.append((position, f"{kind} {part!r}"))
            position += len(part) + len(self.separator or "")
        return unknown

    def decode(self, ids: Sequence[int] | Array) -> str:
        """Ids -> text."""
        text = (self.separator or "").join(self.symbols[i - 1] for i in np.asarray(ids, np.int64).tolist())
        return self.compose(text)

    def ids_in(self, other: Symbols) -> Array:
        """Returns the ids of END and of each symbol in another vocabulary, which must contain all of them."""
        return np.array([END, *(other._ids[symbol] for symbol in self.symbols)])


def split_text(text: str, separator: str | None) -> list[str]:
    """The symbols of a text. Repeated separators count as one."""
    return list(text) if separator is None else [symbol for symbol in text.split(separator) if symbol]
