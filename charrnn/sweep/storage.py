"""The storage of a study: a journal file, or a database that Optuna supports."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import DatabaseError

from charrnn.errors import CharRNNError, RunError, StorageError
from charrnn.runs.files import parse_error_reason, read_regular, storage_error
from charrnn.sweep.trials import check_study
from charrnn.system import lock_file

JOURNAL = "study.journal"
JOURNAL_PREFIX = b'{"op_code"'
MAX_JOURNAL_SIZE = 1 << 30  # bytes


def open_storage(location: str) -> BaseStorage:
    """Opens a storage, or creates it. location: path of a journal file or URL of a database.

    Raises RunError if the file is not a journal, StorageError if the storage cannot be reached.
    """
    return _open_database(location) if "://" in location else _open_journal(Path(location))


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = read_regular(path, MAX_JOURNAL_SIZE) if path.exists() else b""
        if content and not content.startswith(JOURNAL_PREFIX):
            raise ValueError
        return JournalStorage(JournalFileBackend(str(path), JournalLock(path)))
    except OSError as error:
        raise storage_error(path, error) from None
    except Exception:  # Optuna raises many types of errors for lines that it cannot read
        raise RunError(f"{path}: the file is not the journal of a study, or it is damaged") from None


def _open_database(url: str) -> BaseStorage:
    try:
        try:
            return RDBStorage(url)
        except DatabaseError:  # another process may be creating the tables
            time.sleep(1)
            return RDBStorage(url)
    except Exception as error:  # each database driver has its own types of errors
        raise StorageError(f"--storage {hide_passwords(url)}: {_first_line(error)}") from None


def hide_passwords(text: str) -> str:
    """The text with `***` instead of the passwords in URLs, both before the host and among the parameters."""
    text = re.sub(r"://[^\s'\"]*@", "://***@", text)
    return re.sub(r"([?&][^=&\s]*(?:pass|pw|secret|token|key)[^=&\s]*=)[^&\s'\"]*", r"\1***", text, flags=re.IGNORECASE)


def load_study(location: str, name: str | None) -> optuna.Study:
    """Loads an existing study. location: its folder, its journal file or the URL of its database.

    name: may be None if the storage contains only one study. Raises RunError if there is no such study, if it was not
    created by charrnn or if it is damaged.
    """
    if "://" in location:
        label = hide_passwords(location)
    else:
        path = Path(location)
        try:
            path = path / JOURNAL if path.is_dir() else path
            is_file = path.is_file()
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from None
        if not is_file:
            raise RunError(f"{path}: no such study", "give its folder, its journal file or the URL of its storage")
        location = label = str(path)
    with storage_errors(), reading_study(label):
        storage = open_storage(location)
        names = optuna.get_all_study_names(storage)
        if not names:
            raise RunError(f"{label}: contains no study")
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise RunError(f"{label}: --study must name one of the studies stored there", ", ".join(names))
        study = optuna.load_study(study_name=name, storage=storage)
        check_study(study)
        return study


@contextlib.contextmanager
def reading_study(label: str) -> Iterator[None]:
    """Turns the errors of a damaged study into a RunError of one line. Optuna raises many types of errors for them."""
    try:
        yield
    except (CharRNNError, optuna.exceptions.StorageInternalError, OSError):
        raise
    except Exception as error:
        raise RunError(f"{label}: the study is damaged: {parse_error_reason(error)}") from None


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors of the storage into a StorageError of one line."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, OSError) as error:
        message = f"the study's storage failed: {_first_line(error)}"
        raise StorageError(message, "run the same command again to continue") from None


def _first_line(error: Exception) -> str:
    return hide_passwords(str(error.__cause__ or error).strip().split("\n")[0])


class JournalLock(JournalFileOpenLock):
    """A lock of the journal that is released when its process ends. Optuna's own locks persist for 30 s after a kill.

    If a killed process has left an incomplete last line in the journal, `acquire` removes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path.with_name(f"{path.name}.mutex")

    def acquire(self) -> bool:
        self.lock = lock_file(self.lock_path)
        with open(self.path, "rb+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()
