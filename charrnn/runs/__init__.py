"""Files on disk: atomic writes, run directories, checkpoints, reports and ONNX export."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """This package. It can be called, because `charrnn.runs` is also a function of the Python interface."""

    def __call__(self, root: str | Path | None = None, *, sort: str = "best_val_loss") -> list[dict[str, Any]]:
        """Returns a record for each run, as `charrnn runs --json` does: its options, status and results.

        root: directory of the runs (default: `runs`, or $CHARRNN_RUNS). sort: a field; -FIELD for descending order.

        >>> [run["best_step"] for run in charrnn.runs()]
        [2]
        """
        from charrnn.errors import converting_errors
        from charrnn.runs.listing import list_rows

        with converting_errors():
            return list_rows(None if root is None else Path(root), sort)


sys.modules[__name__].__class__ = _Package
