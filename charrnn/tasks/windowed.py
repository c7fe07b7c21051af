"""The common part of tasks whose data are records: records are split at random and packed into windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar

from charrnn.corpus.windows import Records, WindowPass, Windows, WindowStream
from charrnn.errors import UsageError, format_count
from charrnn.options import DataOptions
from charrnn.seeding import Purpose, random_generator

DEFAULT_BATCH_SIZE = 32
MAX_WINDOW = 1024  # default upper limit of the sequence length
MIN_BATCHES = 8  # per epoch; if there are few records, the default batch size is smaller


class HasSource(Protocol):
    """A record. Records with the same source stay together when the data are split."""

    @property
    def source(self) -> Any: ...


R = TypeVar("R", bound=HasSource)


class WindowTask:
    """The part of the Task interface that is the same for all tasks with records."""

    min_window: ClassVar[int] = 1  # lower limit of the default sequence length

    def __init__(
        self, parts: dict[str, list[Any]], encode: Callable[[list[Any]], Records], fingerprint: str, notices: list[str]
    ) -> None:
        """parts: the records of the parts "train", "val" and "test"."""
        self.parts = parts
        self.fingerprint = fingerprint
        self.notices = notices
        self.encoded = cache(lambda part: encode(parts[part]))
        self.windows = cache(lambda part, seq_length: Windows(self.encoded(part), seq_length))

    @property
    def training_size(self) -> int:
        return len(self.encoded("train").x)

    @property
    def has_validation(self) -> bool:
        return bool(self.parts["val"])

    def describe_parts(self) -> str:
        train, val, test = (len(self.parts[part]) for part in ("train", "val", "test"))
        return f"{format_count(train, 'record')} to train on, {val:,} to validate, {test:,} to test"

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        longest = int(self.encoded("train").lengths.max())
        seq_length = seq_length or min(max(longest, self.min_window), MAX_WINDOW)
        windows = self.windows("train", seq_length)
        if not windows.num_scored:
            problem = f"windows of {format_count(seq_length, 'step')} contain no step that is scored"
            raise UsageError(problem, "raise --seq-length, or lower --delay")
        if batch_size is not None and batch_size > windows.number:
            steps = format_count(seq_length, "step")
            problem = f"--batch-size {batch_size}: more than the number of training windows of {steps}"
            raise UsageError(problem, f"the largest that fits is {windows.number}")
        return batch_size or max(1, min(DEFAULT_BATCH_SIZE, windows.number // MIN_BATCHES)), seq_length

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> WindowStream:
        return WindowStream(self.windows("train", seq_length), batch_size, seed)

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> WindowPass | None:
        if not self.has_validation or not self.windows("val", seq_length).num_scored:
            return None
        return WindowPass(self.windows("val", seq_length), batch_size, limit)

    def window_notices(self, seq_length: int) -> list[str]:
        shortened = int((self.encoded("train").lengths > seq_length).sum())
        if not shortened:
            return []
        return [f"{shortened:,} records are longer than {seq_length} steps; only their last {seq_length} are used"]


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
