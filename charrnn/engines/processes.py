"""Processes: the program's own, which their parent talks to through pipes, and those that torchrun starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

# A worker is one thread: the BLAS's own would only cost memory.
SINGLE = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")


def start_child(module: str, arguments: Sequence[str] = (), fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Runs `main()` of a module of the package, with these open files. stdin and stdout are unbuffered pipes."""
    # The parent's path, whatever stands in the directory that it was started in.
    start = f"import sys; sys.path[:] = {sys.path}; from {module} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", start, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=fds,
        env=os.environ | SINGLE,
        start_new_session=True,  # so that Ctrl-C reaches the parent alone
    )


def of_torchrun(name: str, default: int) -> int:
    """RANK, WORLD_SIZE, LOCAL_RANK or LOCAL_WORLD_SIZE, as torchrun sets them; without torchrun the default."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else default
