"""What a training needs of memory, known before any of it is asked for."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from charrnn.engines.numpy.arena import Arena
from charrnn.errors import OutOfMemoryError
from charrnn.models.architecture import Architecture
from charrnn.nn.stack import CELLS
from charrnn.options import TrainingOptions

FLOAT = 4  # bytes
COPIES = 4  # of its weights, that a worker keeps in other layouts or masked
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def needed(architecture: Architecture, train: TrainingOptions) -> int:
    """Bytes, of all workers together: what they share, copies of the weights, and the work space of every step."""
    kind, hidden = CELLS[architecture.cell], architecture.hidden_size
    a_step = architecture.num_layers * hidden * (len(kind.slots) + kind.num_states + kind.num_saved + 3)
    steps = (train.batch_size or 1) * (train.seq_length or 1)
    copies = COPIES * architecture.parameters * (train.workers or 1)
    return Arena(architecture, train, "float32").size + FLOAT * (copies + steps * a_step)


def available() -> int:
    """Bytes that this process and its children may have at most: the machine's, its container's, its own limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*limits, own] if own != resource.RLIM_INFINITY else limits)


def check_memory(architecture: Architecture, train: TrainingOptions) -> None:
    """Raises OutOfMemoryError for a training that cannot fit. What a GPU has is its own affair."""
    if train.device not in ("cpu", "torch"):
        return
    wanted, there = needed(architecture, train), available()
    if wanted > there:
        what = f"{architecture.parameters:,} parameters and batches of {train.batch_size} x {train.seq_length} steps"
        raise OutOfMemoryError(f"{what} need {_size(wanted)} of memory; there are {_size(there)}")


def _size(number: int) -> str:
    return f"{number / 2**30:,.1f} GB" if number >= 2**30 else f"{number / 2**20:,.0f} MB"
