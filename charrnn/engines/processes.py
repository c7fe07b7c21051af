"""Processes: those that the program starts and talks to through pipes, and those that torchrun starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

# A worker computes in one thread. Further threads of the BLAS would only cost memory.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")


def start_child(module: str, arguments: Sequence[str] = (), fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Runs `main()` of a module of the package in a new process that inherits these open files.

    The standard input and output of the process are unbuffered pipes.
    """
    # The child gets the parent's module path, so that files in the current directory cannot replace modules.
    start = f"import sys; sys.path[:] = {sys.path}; from {module} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", start, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=fds,
        env=os.environ | ONE_THREAD,
        start_new_session=True,  # a Ctrl-C on the terminal must reach the parent only
    )


def torchrun_variable(name: str, default: int) -> int:
    """RANK, WORLD_SIZE, LOCAL_RANK or LOCAL_WORLD_SIZE as torchrun sets them; without torchrun the default."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else default


def partition(size: int, rank: int, workers: int, unit: int = 1) -> slice:
    """The consecutive part of `size` items that a worker gets. Parts begin at multiples of `unit`.

    >>> partition(10, 0, 3), partition(10, 1, 3), partition(10, 2, 3)
    (slice(0, 4, None), slice(4, 7, None), slice(7, 10, None))
    """
    start, stop = (min(size, -(-size * r // workers // unit) * unit) for r in (rank, rank + 1))
    return slice(start, size if rank == workers - 1 else stop)
