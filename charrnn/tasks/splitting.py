"""Splits records at random into the parts train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from charrnn.options import DataOptions
from charrnn.seeding import Purpose, random_generator


class HasSource(Protocol):
    """A record. Records with the same source stay together when the data are split."""

    @property
    def source(self) -> Any: ...


R = TypeVar("R", bound=HasSource)


def split_records(records: Sequence[R], data: DataOptions, seed: int, notices: list[str]) -> dict[str, list[R]]:
    """Splits records into the parts train, val and test.

    The records are assigned in a random order, because files are often sorted. Records with the same source go to the
    same part. Appends to `notices` if a part stays empty.
    """
    groups: dict[Any, list[R]] = {}
    for record in records:
        groups.setdefault(record.source, []).append(record)
    wanted = {
        "val": 0 if data.val_file else int(len(records) * data.val_fraction),
        "test": int(len(records) * data.test_fraction),
    }
    parts: dict[str, list[R]] = {"val": [], "test": [], "train": []}
    sources = list(groups)
    for n in random_generator(seed, Purpose.SPLIT).permutation(len(sources)).tolist():
        group = groups[sources[n]]
        part = next((part for part, number in wanted.items() if len(parts[part]) + len(group) <= number), "train")
        parts[part] += group
    for part, purpose, fraction in (("val", "validate", data.val_fraction), ("test", "test", data.test_fraction)):
        if fraction and not parts[part] and not (part == "val" and data.val_file):
            sources_text = "" if len(groups) == len(records) else f" with {len(groups)} different texts"
            notices.append(f"{len(records)} records{sources_text} are too few to {purpose} on; all are used to train")
    return parts
