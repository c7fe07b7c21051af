"""The vocabulary: the symbols that a model knows. The id of a symbol is its position in the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from charrnn.corpus.pieces import NORMAL_FORMS, normalise
from charrnn.corpus.similar import SKIP, unknown_hint
from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array

LINE_FEED = 10
DOCUMENT_END = 0xFDD0  # ends a document; Unicode reserves this code for uses inside a program
UNKNOWN = np.iinfo(np.uint32).max  # marks codes that are not in the vocabulary


def smallest_uint(largest: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that can hold the value `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32


class TextPlace(NamedTuple):
    """The place of a character in a file, for messages."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, column {self.column}"

    def advance(self, codes: Array) -> TextPlace:
        """The place after some characters (N,)."""
        line_feeds = np.flatnonzero(codes == LINE_FEED)
        if not len(line_feeds):
            return self._replace(column=self.column + len(codes))
        return self._replace(line=self.line + len(line_feeds), column=len(codes) - int(line_feeds[-1]))


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The symbols of a model: characters in code-point order, or byte values."""

    codes: Array  # (V,) uint32, ascending: code points or byte values
    is_bytes: bool = False
    form: str = "none"  # the Unicode normal form of texts
    separator: str | None = None  # the text between documents, which is the symbol DOCUMENT_END

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Vocabulary:
        """Reads the metadata of a checkpoint. Raises KeyError or ValueError if it is damaged."""
        codes = values["vocabulary"]
        is_bytes = values["bytes"]
        is_list_of_codes = isinstance(codes, list) and all(type(code) is int for code in codes)
        if not is_list_of_codes or not isinstance(is_bytes, bool):
            raise ValueError("the vocabulary is not a list of codes")
        limit = 0xFF if is_bytes else 0x10FFFF
        if not codes or codes[0] < 0 or codes[-1] > limit or any(a >= b for a, b in pairwise(codes)):
            raise ValueError("the codes of the vocabulary are out of range or not ascending")
        form = values["normalize"]
        separator = values["separator"]
        if form not in NORMAL_FORMS or not (separator is None or (isinstance(separator, str) and separator)):
            raise ValueError("invalid normal form or separator")
        if separator is not None and (is_bytes or DOCUMENT_END not in codes):
            raise ValueError("the vocabulary has no symbol for the end of a document")
        return cls(np.array(codes, np.uint32), is_bytes, form, separator)

    @classmethod
    def of_characters(cls, values: dict[str, Any]) -> Vocabulary:
        """Like `from_dict`, for tasks that do not support bytes."""
        vocabulary = cls.from_dict(values)
        if vocabulary.is_bytes:
            raise ValueError("the vocabulary consists of bytes")
        return vocabulary

    @classmethod
    def of_texts(cls, texts: Iterable[str], other: Vocabulary | None = None, form: str = "none") -> Vocabulary:
        """The vocabulary of all characters in some texts, in a Unicode normal form, and in another vocabulary."""
        codes = sorted({ord(character) for text in texts for character in set(normalise(text, form))})
        vocabulary = cls(np.array(codes, np.uint32), form=form)
        return vocabulary if other is None else vocabulary.union(other)

    def to_dict(self) -> dict[str, Any]:
        return {
            "vocabulary": self.codes.tolist(),
            "bytes": self.is_bytes,
            "normalize": self.form,
            "separator": self.separator,
        }

    def union(self, other: Vocabulary) -> Vocabulary:
        """The symbols of both vocabularies."""
        return replace(self, codes=np.union1d(self.codes, other.codes).astype(np.uint32))

    def __len__(self) -> int:
        return len(self.codes)

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        return code < len(self._id_table) and int(self._id_table[code]) < len(self)

    @cached_property
    def _id_table(self) -> Array:
        """Code -> id, or UNKNOWN. The last entry is UNKNOWN and is used for all larger codes."""
        table = np.full(int(self.codes[-1]) + 2, UNKNOWN, np.uint32)
        table[self.codes] = np.arange(len(self))
        return table

    @property
    def newline(self) -> int | None:
        """The id of the line feed, if the vocabulary contains it."""
        return self._id_of(LINE_FEED)

    @property
    def document_end(self) -> int | None:
        """The id of the symbol that ends a document, if the text consists of documents."""
        return None if self.separator is None else self._id_of(DOCUMENT_END)

    @property
    def start(self) -> int:
        """The id of the start symbol, which is read before every text.

        It is the end of a document, if there are documents, or else the line feed, or else the first symbol.
        """
        return self.document_end or self.newline or 0

    def _id_of(self, code: int) -> int | None:
        place = int(np.searchsorted(self.codes, code))
        return place if place < len(self) and self.codes[place] == code else None

    def codes_to_ids(self, codes: Array, *, skip_unknown: bool = False, place: TextPlace | None = None) -> Array:
        """Codes (N,) -> ids (N,) of the smallest unsigned type. Raises CorpusError for an unknown code, or skips it.

        place: the place of the first code in its file. The error then gives the place of the unknown code.
        """
        ids = self._id_table.take(codes, mode="clip")
        is_unknown = ids == UNKNOWN
        if is_unknown.any():
            if not skip_unknown:
                position = int(is_unknown.argmax())
                code = int(codes[position])
                symbol = self.describe(code)
                hint = SKIP if self.is_bytes else unknown_hint(chr(code), self)
                if place is None:
                    raise CorpusError(f"{symbol} at position {position} is not in the vocabulary", hint)
                raise CorpusError(f"{place.advance(codes[:position])}: {symbol} is not in the vocabulary", hint)
            ids = ids[~is_unknown]
        return ids.astype(smallest_uint(len(self) - 1))

    def find_unknown(self, text: str) -> list[tuple[int, str]]:
        """The position and the description of each symbol of a text that is not in the vocabulary."""
        codes = self.codes_of(text)
        positions = np.flatnonzero(self._id_table.take(codes, mode="clip") == UNKNOWN)
        return [(n, self.describe(int(codes[n]))) for n in positions.tolist()]

    def encode(self, text: str, *, skip_unknown: bool = False) -> Array:
        """Text -> ids. A byte vocabulary encodes the text as UTF-8. Unknown symbols: see `codes_to_ids`."""
        return self.codes_to_ids(self.codes_of(text), skip_unknown=skip_unknown)

    def codes_of(self, text: str) -> Array:
        """Text -> code points or UTF-8 bytes. Raises CorpusError for a character that UTF-8 cannot encode."""
        if not self.is_bytes:
            text = normalise(text, self.form)
            if self.separator is not None:
                text = text.replace(self.separator, chr(DOCUMENT_END))
            return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        except UnicodeEncodeError as error:
            character = f"character {text[error.start]!r} at position {error.start}"
            raise CorpusError(f"{character} cannot be encoded as UTF-8") from None

    def decode(self, ids: Array | Sequence[int]) -> str:
        """Ids -> text. No byte is lost: bytes that are not UTF-8 are escaped as `surrogateescape` does (PEP 383)."""
        return self.decode_codes(self.codes[np.asarray(ids, np.intp)])

    def decode_codes(self, codes: Array) -> str:
        """Code points or bytes -> text, see `decode`."""
        if self.is_bytes:
            return codes.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape")
        text = "".join(map(chr, codes.tolist()))
        return text if self.separator is None else text.replace(chr(DOCUMENT_END), self.separator)

    def symbols(self) -> list[str]:
        """The text of each id. For a byte it is the character with this code point."""
        symbols = [chr(code) for code in self.codes.tolist()]
        if self.document_end is not None:
            symbols[self.document_end] = str(self.separator)
        return symbols

    def characters(self, ids: Array) -> tuple[str, Array]:
        """The characters of a text that is not empty, and for each character the position of its last id.

        With a byte vocabulary a character has one id for each of its up to four UTF-8 bytes. Invalid bytes become
        U+FFFD.
        """
        if not self.is_bytes:
            return "".join(map(chr, self.codes[ids].tolist())), np.arange(len(ids))
        codes = self.codes[ids].astype(np.uint8)
        starts = np.flatnonzero((codes & 0xC0) != 0x80)  # bytes 10xxxxxx continue a character
        starts = np.union1d(starts, [0])
        texts = (piece.tobytes().decode("utf-8", "replace") for piece in np.split(codes, starts[1:]))
        text = "".join(text if len(text) == 1 else "\ufffd" for text in texts)
        return text, np.append(starts[1:], len(ids)) - 1

    def describe(self, code: int) -> str:
        """The description of a symbol for messages, such as "character 'ß' (U+00DF)" or "byte 0xff"."""
        return f"byte 0x{code:02x}" if self.is_bytes else f"character {chr(code)!r} (U+{code:04X})"
