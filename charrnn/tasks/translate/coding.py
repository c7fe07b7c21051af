"""How pairs of texts are encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from charrnn.nn.arrays import Array
from charrnn.tasks.encoder_decoder.coding import DEFAULTS, SourceCoding, append_end, parse_longest
from charrnn.tasks.encoder_decoder.symbols import END_LABEL, Symbols


@dataclass(frozen=True, eq=False)
class TextPairCoding(SourceCoding):
    """The symbols of sources and of targets."""

    name = "translate"
    defaults = replace(DEFAULTS, embedding_size=64)

    source: Symbols
    target: Symbols
    longest: int

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> TextPairCoding:
        """Reads the metadata of a checkpoint. Raises KeyError, TypeError or ValueError if it is damaged."""
        return cls(Symbols.from_dict(task["source"]), Symbols.from_dict(task["target"]), parse_longest(task))

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source.to_dict(), "target": self.target.to_dict(), "longest": self.longest}

    def describe(self) -> str:
        return f"{len(self.source.symbols)} source symbols, {len(self.target.symbols)} target symbols"

    @property
    def source_sizes(self) -> dict[str, Any]:
        return {"source": "ids", "source_size": self.source.size}

    def encode_source(self, source: Any, *, skip_unknown: bool = False) -> Array:
        return append_end(self.source.encode(source, skip_unknown=skip_unknown))

    def unknown_symbols(self, source: Any) -> list[tuple[int, str]]:
        return self.source.find_unknown(source)

    def has_known(self, source: Any) -> bool:
        return any(symbol in self.source for symbol in self.source.split(source))

    def source_labels(self, source: Any) -> list[str]:
        return [*self.source.split(source), END_LABEL]

    def source_ids_in(self, other: TextPairCoding) -> Array:
        return self.source.ids_in(other.source)
