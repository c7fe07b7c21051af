"""File locks that the operating system releases when a process ends, and the locks of the owners of trials.

Only `lock_file` and `is_locked` depend on the operating system.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from charrnn.runs.directory import STUDY
from charrnn.runs.files import storage_error


def lock_file(path: Path) -> int:
    """Locks a file, which is created if it is missing. Waits while another process holds the lock.

    Returns the open file descriptor. The lock lasts until this process and all child processes that inherited the
    descriptor have closed it or have ended.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of an existing file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class OwnerLocks:
    """Lock files under `<folder>/.study/owners`, one for each process that trains trials of this folder.

    Each trial of a study names its owner. While the owner or one of its training processes is alive, the file of that
    name is locked. If the file exists and is not locked, the owner is dead and another process may take over its
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
        """Excludes all other processes that use this folder."""
        descriptor = lock_file(self.mutex_file)
        try:
            yield
        finally:
            os.close(descriptor)

    def acquire(self) -> int:
        """Locks this process's file. Training processes must inherit the returned descriptor."""
        with self.mutex():
            return lock_file(self.directory / self.this_process)

    def uses_this_folder(self, owner: str) -> bool:
        return (self.directory / owner).exists()

    def is_dead(self, owner: str) -> bool:
        """Whether a process that used this folder has ended. Call it while holding the mutex."""
        return self.uses_this_folder(owner) and not is_locked(self.directory / owner)

    def remove_dead(self, keep: Collection[str]) -> None:
        """Deletes the files of dead owners, except those to keep. Call it while holding the mutex."""
        for path in self.directory.iterdir():
            if path.name not in keep and self.is_dead(path.name):
                path.unlink()
