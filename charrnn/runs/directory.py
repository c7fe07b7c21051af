"""Run directories: the files of a run, and how a run is created, found and listed. README.md in this folder specifies
the files."""

from __future__ import annotations

import contextlib
import difflib
import errno
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import RunError, StorageError
from charrnn.options import RunConfig
from charrnn.runs.files import TEMPORARY_FILES, dump_json, remove_file, storage_error, write_atomically
from charrnn.runs.reports import MAX_SIZE, read_config
from charrnn.system import is_locked, lock_file

STUDY = ".study"  # marks the directory of a sweep, which contains runs and is not a run itself
LOCK = ".lock"
# The files that a new run may have written before its config.json, if it was killed then. A directory with no other
# files counts as empty.
LEFT_BY_KILL = (LOCK, TEMPORARY_FILES, "last.safetensors", "data", "logs.json", "tensorboard", "wandb")
MIN_SIMILARITY = 0.7  # minimum similarity of a suggested name to a misspelled name; see difflib


@dataclass(frozen=True)
class Run:
    """A run directory, which may not exist."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def logs(self) -> Path:
        return self.path / "logs.json"

    @property
    def live(self) -> Path:
        return self.path / "live.html"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def data(self) -> Path:
        """The directory of the data of a run that was trained from Python with data in memory."""
        return self.path / "data"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Context manager that locks the run, so that no other process can train it.

        The lock is released at the latest when the process ends. Raises RunError if another process holds it.
        """
        try:
            lock = lock_file(self.path / LOCK, timeout=0)
        except TimeoutError:
            raise RunError(f"{self.path}: another process is training this run") from None
        except OSError as error:
            raise storage_error(self.path / LOCK, error) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def locked(self) -> bool:
        """Whether a process is training this run."""
        return is_locked(self.path / LOCK)

    def check_there(self) -> None:
        """Raises RunError if the directory does not exist or cannot be read. Suggests a run with a similar name."""
        if self.path.is_file():
            hint = f"the run is {self.path.parent}; give a checkpoint with --model"
            raise RunError(f"{self.path}: is a file, not a run", hint)
        if not self.path.is_dir():
            folders = {self.path.parent, runs_root()}
            names = [config.parent.name for folder in folders for config in folder.glob("*/config.json")]
            similar = difflib.get_close_matches(self.path.name, names, 1, MIN_SIMILARITY)
            hint = f"did you mean {similar[0]}?" if similar else "charrnn runs lists all runs"
            raise RunError(f"{self.path}: no such run", hint)
        try:
            os.scandir(self.path).close()
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror}") from None

    def read_config(self) -> RunConfig:
        """Reads config.json. Raises RunError if it is missing or damaged."""
        self.check_there()
        if _is_study(self.path):
            hint = f"list its runs with charrnn runs {self.path}; see also plot --sweep"
            raise RunError(f"{self.path}: is a sweep, not a run", hint)
        return read_config(self.config)

    def write_json(self, path: Path, values: dict[str, Any]) -> None:
        """Writes one of the run's JSON files atomically. Raises StorageError, also if its reader would refuse it."""
        data = (dump_json(values, indent=2) + "\n").encode()
        if len(data) > MAX_SIZE:
            raise StorageError(f"cannot write {path}: {len(data):,} bytes is more than the limit of {MAX_SIZE:,}")
        write_atomically(path, data)

    def remove_temporary_files(self) -> None:
        """Deletes the files that processes left when they were killed. Call it while holding the lock."""
        for path in self.path.glob(TEMPORARY_FILES):
            remove_file(path)

    def remove_result(self) -> None:
        """Deletes result.json, because a run that is trained further has no result. Raises StorageError."""
        remove_file(self.result)


def runs_root() -> Path:
    """The directory of all runs: $CHARRNN_RUNS, or `runs`."""
    return Path(os.environ.get("CHARRNN_RUNS") or "runs")


def create_run(path: Path | None, stem: str) -> Run:
    """Creates the directory `path`. If it is None, creates `<stem>-<nnn>` with the next unused number.

    Raises RunError if `path` exists and is not empty (see LEFT_BY_KILL), StorageError if it cannot be created.
    """
    if path is None:
        return _create_numbered_run(runs_root(), stem)
    if path.is_dir() and all(any(map(file.match, LEFT_BY_KILL)) for file in path.iterdir()):
        return Run(path)
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        hint = "choose another --run, or continue this one with --resume"
        raise RunError(f"{path}: already exists", hint) from None
    except OSError as error:
        raise storage_error(path, error) from None
    return Run(path)


def _create_numbered_run(root: Path, stem: str) -> Run:
    prefix = f"{stem}-"
    suffixes = [path.name.removeprefix(prefix) for path in root.glob(f"{glob.escape(prefix)}*")]
    number = max((int(suffix) for suffix in suffixes if suffix.isdecimal()), default=0) + 1
    while True:
        path = root / f"{prefix}{number:03d}"
        try:
            path.mkdir(parents=True)
            return Run(path)
        except FileExistsError:
            if not root.is_dir():
                raise storage_error(root, NotADirectoryError(errno.ENOTDIR, "not a directory")) from None
            number += 1  # another process has created it in the meantime
        except OSError as error:
            raise storage_error(path, error) from None


def list_runs(root: Path) -> list[Run]:
    """The subdirectories of a folder, by name, without studies and without hidden directories that contain no run.

    Raises RunError.
    """
    try:
        paths = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise RunError(f"{root}: {error.strerror}") from None
    runs = [Run(path) for path in paths if path.is_dir() and not _is_study(path)]
    return [run for run in runs if not run.path.name.startswith(".") or run.config.exists()]


def _is_study(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a directory that cannot be read is listed as a broken run
        return (path / STUDY).exists()
    return False


def find_run(path: Path) -> Path:
    """Returns the path of a run. A bare name that is not in the working directory is looked up under `runs_root()`.

    Raises RunError if the path is invalid.
    """
    path_under_root = runs_root() / path
    try:
        is_bare_name = len(path.parts) == 1 and not path.exists()
        return path_under_root if is_bare_name and path_under_root.exists() else path
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def newest_run(fits: Callable[[RunConfig], bool] | None = None) -> Run:
    """Returns the run under `runs_root()` that was started or resumed last. Raises RunError if there is no such run.

    fits: returns whether a run with this configuration is suitable. If it is given, runs with a damaged configuration
    are skipped.
    """
    root = runs_root()
    configs = [path for path in root.glob("*/config.json") if path.is_file()]
    problem = "no valid run" if configs else "no runs"
    for path in sorted(configs, key=lambda path: (path.stat().st_mtime_ns, str(path)), reverse=True):
        with contextlib.suppress(RunError):
            if fits is None or fits(read_config(path)):
                return Run(path.parent)
            problem = "no run with a suitable task"
    raise RunError(f"{problem} under {root}", "train a model first, or select one with --run or --model")
