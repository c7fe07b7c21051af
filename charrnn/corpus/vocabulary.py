"""The vocabulary: which symbols a model knows, and their places, which are their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from charrnn.errors import CorpusError
from charrnn.nn.arrays import Array


def smallest_uint(largest: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that holds `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The symbols of a corpus, characters or byte values, in code-point order; a symbol's place is its id."""

    codes: Array  # (V,) uint32, ascending: code points, or byte values
    is_bytes: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Vocabulary:
        """As it stands in a checkpoint. Raises KeyError, or ValueError for what is no vocabulary."""
        codes, is_bytes = values["vocabulary"], values["bytes"]
        whole = isinstance(codes, list) and all(type(code) is int for code in codes)
        if not whole or not isinstance(is_bytes, bool):
            raise ValueError("its vocabulary is not a list of codes")
        limit = 0xFF if is_bytes else 0x10FFFF
        if not codes or codes[0] < 0 or codes[-1] > limit or any(a >= b for a, b in pairwise(codes)):
            raise ValueError("its vocabulary is not in order")
        return cls(np.array(codes, np.uint32), is_bytes)

    @classmethod
    def of_characters(cls, values: dict[str, Any]) -> Vocabulary:
        """The same, for what reads no bytes."""
        vocabulary = cls.from_dict(values)
        if vocabulary.is_bytes:
            raise ValueError("its vocabulary is of bytes")
        return vocabulary

    @classmethod
    def of(cls, chunks: Sequence[Array], is_bytes: bool) -> Vocabulary:
        """All symbols that stand in the chunks of codes."""
        seen = np.zeros(0x110000, bool)
        for chunk in chunks:
            seen[chunk] = True
        return cls(np.flatnonzero(seen).astype(np.uint32), is_bytes)

    @classmethod
    def of_texts(cls, texts: Iterable[str], known: Vocabulary | None = None) -> Vocabulary:
        """All characters that stand in the texts, and those of a vocabulary that is known."""
        codes = sorted({ord(character) for character in set("".join(texts))})
        vocabulary = cls(np.array(codes, np.uint32))
        return vocabulary if known is None else vocabulary.with_those_of(known)

    def to_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.codes.tolist(), "bytes": self.is_bytes}

    def with_those_of(self, other: Vocabulary) -> Vocabulary:
        return Vocabulary(np.union1d(self.codes, other.codes).astype(np.uint32), self.is_bytes)

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def _ids(self) -> Array:
        """Code -> id; the largest value where there is none."""
        table = np.full(int(self.codes[-1]) + 2, np.iinfo(np.uint32).max, np.uint32)
        table[self.codes] = np.arange(len(self))
        return table

    @property
    def newline(self) -> int | None:
        """The id of the line feed, if it is known."""
        place = int(np.searchsorted(self.codes, 10))
        return place if place < len(self) and self.codes[place] == 10 else None

    @property
    def start(self) -> int:
        """The id that stands before a text without a prime: the line feed where there is one, else the first symbol."""
        return self.newline or 0

    def knows(self, character: str) -> bool:
        code = ord(character)
        return code < len(self._ids) and int(self._ids[code]) < len(self)

    def codes_to_ids(self, codes: Array, *, skip_unknown: bool = False) -> Array:
        """Codes (N,) -> ids (N,) of the smallest unsigned type. Raises CorpusError naming the first unknown one."""
        ids = self._ids.take(codes, mode="clip")  # beyond the end of the table is unknown, as its last entry
        unknown = ids == np.iinfo(np.uint32).max
        if unknown.any():
            if not skip_unknown:
                position = int(unknown.argmax())
                what = f"{self.describe(int(codes[position]))} at position {position} is not in the vocabulary"
                raise CorpusError(what, "leave such out with --on-unknown skip")
            ids = ids[~unknown]
        return ids.astype(smallest_uint(len(self) - 1))

    def encode(self, text: str, *, skip_unknown: bool = False) -> Array:
        """Text -> ids, through UTF-8 if the symbols are bytes. Raises CorpusError naming an unknown character."""
        return self.codes_to_ids(self.codes_of(text), skip_unknown=skip_unknown)

    def codes_of(self, text: str) -> Array:
        """Text -> code points, or if the symbols are bytes those of UTF-8. Raises CorpusError for what has none."""
        if not self.is_bytes:
            return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        except UnicodeEncodeError as error:
            what = f"character {text[error.start]!r} at position {error.start} has no bytes in UTF-8"
            raise CorpusError(what) from None

    def decode(self, ids: Array | Sequence[int]) -> str:
        """Ids -> text; bytes that are not UTF-8 become U+FFFD."""
        codes = self.codes[np.asarray(ids, np.intp)]
        if self.is_bytes:
            return codes.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(map(chr, codes.tolist()))

    def characters(self, ids: Array) -> tuple[str, Array]:
        """The characters of a text, not empty, and the place of the last id of each: of bytes, as UTF-8 has them, a
        character takes one or several; what is no UTF-8 becomes U+FFFD."""
        if not self.is_bytes:
            return self.decode(ids), np.arange(len(ids))
        codes = self.codes[ids].astype(np.uint8)
        starts = np.flatnonzero((codes & 0xC0) != 0x80)  # all other bytes go on with a character
        starts = np.union1d(starts, [0])
        texts = (piece.tobytes().decode("utf-8", "replace") for piece in np.split(codes, starts[1:]))
        return "".join(text if len(text) == 1 else "\ufffd" for text in texts), np.append(starts[1:], len(ids)) - 1

    def describe(self, code: int) -> str:
        """A symbol by name, as character 'ß' (U+00DF) or byte 0xff."""
        return f"byte 0x{code:02x}" if self.is_bytes else f"character {chr(code)!r} (U+{code:04X})"
