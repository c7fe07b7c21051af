"""The locks of the processes that train the trials of a sweep, from which others learn which processes are alive."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.runs.directory import STUDY
from charrnn.runs.files import storage_error
from charrnn.system import delete_file, is_locked, lock_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"  # suffix of lock files


class OwnerLocks:
    """Files under `<folder>/.study/owners`, for each process that trains trials of this folder.

    Each trial of a study names its owner, and each owner has an empty file of that name. While the owner is alive,
    `<name>.lock` is locked. While one of its child processes is alive, `<name>-<process id>.lock` is locked. If the
    file of an owner exists and none of its locks is held, the owner is dead and another process may take over its
    trials. If the file does not exist, the owner uses another folder, perhaps on another machine.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StorageError."""
        self.this_process = uuid.uuid4().hex  # the name of this process as an owner
        self.mutex_file = folder / STUDY / "lock"
        self.directory = folder / STUDY / "owners"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.directory, error) from None

    @contextlib.contextmanager
    def mutex(self) -> Iterator[None]:
        """Context manager that only one of the processes that use this folder can be in at a time."""
        lock = lock_file(self.mutex_file)
        try:
            yield
        finally:
            lock.release()

    @property
    def owner_file(self) -> Path:
        """The file of this process as an owner."""
        return self.directory / self.this_process

    def acquire(self) -> BaseFileLock:
        """Declares this process an owner. Returns its lock."""
        with self.mutex():
            lock = lock_file(_owner_lock(self.owner_file))
            self.owner_file.touch()
            return lock

    def uses_this_folder(self, owner: str) -> bool:
        return (self.directory / owner).exists()

    def is_dead(self, owner: str) -> bool:
        """Whether a process that used this folder has ended. Call it while holding the mutex."""
        return self.uses_this_folder(owner) and not any(map(is_locked, self._locks(owner)))

    def remove_dead(self, keep: Collection[str]) -> None:
        """Deletes the files of dead owners, except those to keep. Call it while holding the mutex."""
        owners = [path.name for path in self.directory.iterdir() if path.suffix != LOCK]
        for owner in owners:
            if owner not in keep and self.is_dead(owner):
                for path in (*self._locks(owner), self.directory / owner):
                    delete_file(path)

    def _locks(self, owner: str) -> list[Path]:
        """The lock files of an owner and its child processes."""
        return list(self.directory.glob(f"{owner}*{LOCK}"))


def _owner_lock(owner_file: Path) -> Path:
    return owner_file.with_name(owner_file.name + LOCK)


def lock_child(owner_file: Path) -> BaseFileLock | None:
    """Locks the file of this child process of an owner. Returns None if the owner has been killed.

    The child must lock its file before it checks the lock of its owner. Otherwise another process could take over the
    trial between the death of the owner and the lock of the child.
    """
    lock = lock_file(owner_file.with_name(f"{owner_file.name}-{os.getpid()}{LOCK}"))
    if is_locked(_owner_lock(owner_file)):
        return lock
    lock.release()
    return None
