"""Where a study is kept: a journal file, or any storage that Optuna has a URL for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import DatabaseError

from charrnn.errors import RunError, StorageError
from charrnn.runs.files import read_regular, storage_error

JOURNAL = "study.journal"
FIRST = b'{"op_code"'  # what a journal begins with
LARGEST = 1 << 30  # bytes of it


def open_storage(place: str) -> BaseStorage:
    """A journal file, made if need be, or what an Optuna storage URL names. Raises StorageError."""
    if "://" not in place:
        path = Path(place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and read_regular(path, LARGEST)[: len(FIRST)] not in (FIRST, b""):
                raise ValueError
            return JournalStorage(JournalFileBackend(str(path), JournalLock(path)))
        except OSError as error:
            raise storage_error(path, error) from None
        except Exception:  # whatever Optuna makes of lines that are none of its own
            raise RunError(f"{path}: not the journal of a study, or damaged") from None
    try:
        try:
            return RDBStorage(place)
        except DatabaseError:  # another process may be making the tables at this moment
            time.sleep(1)
            return RDBStorage(place)
    except Exception as error:  # whatever the database and its driver raise
        raise StorageError(f"--storage {place.rpartition('@')[2]}: {_reason(error)}") from None


def load_study(place: str, name: str | None) -> optuna.Study:
    """A study that exists, from its folder, journal or URL; without a name, the only one there. Raises RunError."""
    if "://" not in place:
        path = Path(place)
        path = path / JOURNAL if path.is_dir() else path
        if not path.is_file():
            raise RunError(f"{path}: no such study", "name its folder, its journal file or the URL of its storage")
        place = str(path)
    with storage_errors():
        storage = open_storage(place)
        names = optuna.get_all_study_names(storage)
        if name is None and len(names) > 1:
            raise RunError(f"{len(names)} studies are kept there", f"name one with --study: {', '.join(names)}")
        if not names or name not in (None, *names):
            raise RunError(f"no such study is kept there: {name or 'there is none'}", ", ".join(names))
        return optuna.load_study(study_name=name or names[0], storage=storage)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """What goes wrong in the storage, in one line."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, OSError) as error:
        raise StorageError(f"the study's storage: {_reason(error)}", "the same command goes on") from None


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).strip().split("\n")[0]


class JournalLock(JournalFileOpenLock):
    """A lock that, unlike Optuna's, dies with its owner. What a kill left of a line is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> bool:
        self.file = open(self.path, "rb+")  # noqa: SIM115
        fcntl.flock(self.file, fcntl.LOCK_EX)
        if self.file.seek(0, os.SEEK_END):
            self.file.seek(-1, os.SEEK_END)
            if self.file.read(1) != b"\n":
                self.file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.file.close()
