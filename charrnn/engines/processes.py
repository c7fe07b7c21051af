"""Child processes with pipes, the variables of torchrun, and the division of work among processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from charrnn.system import SharedMemory, start_process

# A worker computes in one thread. Additional BLAS threads would only use memory.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")


def start_child(
    module: str, arguments: Sequence[str] = (), memory: SharedMemory | None = None
) -> subprocess.Popen[bytes]:
    """Runs `main()` of a module in a new process. Its standard input and output are unbuffered pipes.

    arguments: the command-line arguments of the process. memory: shared memory that the process can open by name.
    """
    # The child gets the sys.path of the parent, so that files in the current directory cannot replace modules.
    start = f"import sys; sys.path[:] = {sys.path}; from {module} import main; main()"
    return start_process([sys.executable, "-P", "-c", start, *arguments], os.environ | ONE_THREAD, memory)


def torchrun_variable(name: str, default: int) -> int:
    """The variable RANK, WORLD_SIZE, LOCAL_RANK or LOCAL_WORLD_SIZE of torchrun. Without torchrun it is the default."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else default


def partition(size: int, rank: int, workers: int, unit: int = 1) -> slice:
    """The part of `size` items that belongs to a worker. The parts are consecutive and start at multiples of `unit`.

    >>> partition(10, 0, 3), partition(10, 1, 3), partition(10, 2, 3)
    (slice(0, 4, None), slice(4, 7, None), slice(7, 10, None))
    """

    def start(rank: int) -> int:
        return min(size, -(-size * rank // (workers * unit)) * unit)  # rounded up to a multiple of the unit

    return slice(start(rank), start(rank + 1))
