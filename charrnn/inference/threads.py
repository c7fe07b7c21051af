"""Several streams of results at once, a thread each. NumPy lets other threads run while it computes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")

AHEAD = 32  # results that a thread makes before it waits for the others: waiting takes as long as a step


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(streams: Sequence[Iterator[T]]) -> Iterator[tuple[T, ...]]:
    """The next result of each, again and again: `zip` for streams of one length, which may run ahead."""

    def some(stream: Iterator[T]) -> list[T]:
        return list(islice(stream, AHEAD))

    with threadpool_limits(1), ThreadPoolExecutor(len(streams)) as pool:
        while results := list(zip(*pool.map(some, streams), strict=True)):
            yield from results
