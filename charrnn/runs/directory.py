"""The run directory: where a run keeps its files, and how runs are found and listed.

config.json       what the run was asked to do            best.safetensors  the weights with the lowest validation loss
metrics.jsonl     a line for each evaluation              last.safetensors  everything that a resume needs
result.json       how it ended
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import RunError
from charrnn.options import RunConfig
from charrnn.runs.files import storage_error, write_atomically
from charrnn.runs.reports import read_config

STUDY = ".study"  # a folder that holds it holds the trials of a sweep: runs, but it is none itself


@dataclass(frozen=True)
class Run:
    """A run directory. Only `create` touches the disk before something is asked of it."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other trainers out while it is held; dies with its owner. Raises RunError if another holds it."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise RunError(f"{self.path}: another process is training this run") from None
        finally:
            os.close(fd)

    @property
    def locked(self) -> bool:
        try:
            with self.lock():
                return False
        except RunError:
            return True

    def check_there(self) -> None:
        """Raises RunError if there is no such directory; names the run beside it that may be meant."""
        if self.path.is_file():
            raise RunError(
                f"{self.path}: a file, and no run", f"its run is {self.path.parent}; --model takes a checkpoint"
            )
        if not self.path.is_dir():
            there = {self.path.parent, runs_root()}
            names = [config.parent.name for folder in there for config in folder.glob("*/config.json")]
            close = difflib.get_close_matches(self.path.name, names, 1, 0.7)
            hint = f"did you mean {close[0]}?" if close else "charrnn runs lists them"
            raise RunError(f"{self.path}: no such run", hint)

    def read_config(self) -> RunConfig:
        """Raises RunError if it is missing or damaged."""
        self.check_there()
        if _is_study(self.path):
            raise RunError(f"{self.path}: a sweep", f"its runs: charrnn runs {self.path}; see plot --sweep")
        return read_config(self.config)

    def write_json(self, path: Path, values: dict[str, Any]) -> None:
        write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def runs_root() -> Path:
    """Where runs are kept: $CHARRNN_RUNS, or `runs`."""
    return Path(os.environ.get("CHARRNN_RUNS") or "runs")


def create_run(path: Path | None, stem: str) -> Run:
    """Makes a run's directory; without a path, `<stem>-<nnn>` with the next free number. Never one that exists.

    Raises RunError if `path` exists, StorageError if it cannot be made.
    """
    if path is not None:
        unborn = {".config.json.tmp", ".last.safetensors.tmp", "last.safetensors"}
        if path.is_dir() and {p.name for p in path.iterdir()} <= unborn:
            return Run(path)  # empty, but for what a kill before config.json was written may have left
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise RunError(f"{path}: already exists", "choose another --run, or go on with --resume") from None
        except OSError as error:
            raise storage_error(path, error) from None
        return Run(path)
    root = runs_root()
    taken = [
        int(p.name[len(stem) + 1 :]) for p in root.glob(f"{_escape(stem)}-*") if p.name[len(stem) + 1 :].isdecimal()
    ]
    number = max(taken, default=0) + 1
    while True:
        path = root / f"{stem}-{number:03d}"
        try:
            path.mkdir(parents=True)
            return Run(path)
        except FileExistsError:
            if not root.is_dir():
                raise storage_error(root, NotADirectoryError(20, "not a directory")) from None
            number += 1
        except OSError as error:
            raise storage_error(path, error) from None


def _escape(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)


def list_runs(root: Path) -> list[Run]:
    """What lies in a folder of runs, whole or broken, by name."""
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [Run(p) for p in found if p.is_dir() and p.name[0] != "." and not _is_study(p)]


def _is_study(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a folder that we may not look into is a run that is broken
        return (path / STUDY).exists()
    return False


def find_run(path: Path) -> Path:
    """Where a run is: a bare name that is no path from here is looked for under the root. Raises RunError for what the
    system refuses to look at."""
    under = runs_root() / path
    try:
        return under if len(path.parts) == 1 and not path.exists() and under.exists() else path
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def newest_run(fits: Callable[[RunConfig], bool] | None = None) -> Run:
    """The run that was started last under the root, of those that fit. Raises RunError if there is none."""
    root = runs_root()
    configs = [p for p in root.glob("*/config.json") if p.is_file()]
    what = "no run that is whole" if configs else "no runs"
    for path in sorted(configs, key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True):
        with contextlib.suppress(RunError):
            if fits is None or fits(read_config(path)):
                return Run(path.parent)
            what = "no run of such a task"
    raise RunError(f"{what} under {root}", "train one first, or name one with --run or --model")
