"""A process of the program's own, which its parent talks to through pipes."""

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
