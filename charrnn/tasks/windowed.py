"""What all tasks of records share: records dealt to parts at random, packed into windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from charrnn.corpus.windows import Records, WindowPass, Windows, WindowStream
from charrnn.errors import UsageError
from charrnn.nn.losses import bits
from charrnn.options import DataOptions

DEAL = 4  # purpose of random numbers: which record goes to which part is keyed by (seed, purpose)
BATCH_SIZE, MAX_WINDOW = 32, 1024
BATCHES = 8  # in an epoch, where there are few records


class Sourced(Protocol):
    """A record, as far as it is dealt to a part."""

    @property
    def source(self) -> Any: ...


R = TypeVar("R", bound=Sourced)


class WindowTask:
    """Records in parts: train, val and test."""

    unit: ClassVar[str] = "records"
    min_window: ClassVar[int] = 1  # steps, where --seq-length does not say

    def __init__(
        self, parts: dict[str, list[Any]], encode: Callable[[list[Any]], Records], fingerprint: str, notices: list[str]
    ) -> None:
        self.parts, self.fingerprint, self.notices = parts, fingerprint, notices
        self.encoded = cache(lambda part: encode(parts[part]))
        self.windows = cache(lambda part, seq_length: Windows(self.encoded(part), seq_length))

    @property
    def size(self) -> int:
        return len(self.encoded("train").x)

    def shares(self) -> str:
        """How many there are in each part, in words."""
        train, val, test = (len(self.parts[part]) for part in ("train", "val", "test"))
        return f"{train:,} {self.unit} to train on, {val:,} to validate, {test:,} to test"

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        longest = int(self.encoded("train").lengths.max())
        seq_length = seq_length or min(max(longest, self.min_window), MAX_WINDOW)
        windows = self.windows("train", seq_length)
        if not windows.scored:
            what = f"windows of {seq_length} steps hold nothing that is scored"
            raise UsageError(what, "raise --seq-length, or lower --delay")
        number = windows.number
        if batch_size is not None and batch_size > number:
            what = f"--batch-size {batch_size}: more than there are windows of {seq_length} steps to train on"
            raise UsageError(what, f"the largest that fits is {number}")
        return batch_size or max(1, min(BATCH_SIZE, number // BATCHES)), seq_length

    def training(self, batch_size: int, seq_length: int, seed: int) -> WindowStream:
        return WindowStream(self.windows("train", seq_length), batch_size, seed)

    def validation(self, batch_size: int, seq_length: int) -> WindowPass | None:
        there = self.parts["val"] and self.windows("val", seq_length).scored
        return WindowPass(self.windows("val", seq_length), batch_size) if there else None

    def window_notices(self, seq_length: int) -> list[str]:
        """What the user should know of records in windows of so many steps."""
        cut = int((self.encoded("train").lengths > seq_length).sum())
        return [f"{cut:,} {self.unit} are longer than {seq_length} steps and lose their beginning"] if cut else []

    def bits(self, loss: float | None) -> float | None:
        return bits(loss)


def deal(records: Sequence[R], data: DataOptions, seed: int, notices: list[str]) -> dict[str, list[R]]:
    """Train, val and test: records in an order drawn from the seed, since files are often sorted; all of one source to
    one part."""
    groups: dict[Any, list[R]] = {}
    for record in records:
        groups.setdefault(record.source, []).append(record)
    wanted = {"val": 0 if data.val_file else int(len(records) * data.val_fraction)}
    wanted["test"] = int(len(records) * data.test_fraction)
    parts: dict[str, list[R]] = {"val": [], "test": [], "train": []}
    sources = list(groups)
    for n in np.random.default_rng((seed, DEAL)).permutation(len(sources)).tolist():
        group = groups[sources[n]]
        part = next((part for part, number in wanted.items() if len(parts[part]) + len(group) <= number), "train")
        parts[part] += group
    for part, purpose, share in (("val", "validate", data.val_fraction), ("test", "test", data.test_fraction)):
        if share and not parts[part] and not (part == "val" and data.val_file):
            alike = "" if len(groups) == len(records) else f", with {len(groups)} different texts"
            notices.append(f"too few records to {purpose} on: {len(records)}{alike}; all are trained on")
    return parts
