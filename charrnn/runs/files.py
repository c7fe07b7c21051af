"""Writing that cannot be torn: a file is either the old one or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from charrnn.errors import StorageError


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line for a disk that is full, failing or not writable."""
    hint = "" if isinstance(error, FileNotFoundError | NotADirectoryError) else "what was saved before is intact"
    return StorageError(f"cannot write {path}: {error.strerror or error}", hint)


def write_atomically(path: Path, data: bytes) -> None:
    """Temporary file in the same directory, fsync, rename, fsync of the directory. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error(path, error) from None


def read_regular(path: Path, largest: int) -> bytes:
    """A regular file of reasonable size: no pipe is waited for, no endless device is read.

    Raises OSError, and ValueError for what is no such file."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > largest:
            raise ValueError(f"{status.st_size:,} bytes, too large to be one of ours")
        return file.read(largest)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> int:
    """Appends a whole line, durably; returns the file's size. Raises StorageError."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # no pipe is waited for
        with open(os.open(path, flags, 0o666), "ab") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise storage_error(path, error) from None


def cut(path: Path, size: int) -> None:
    """Cuts a file back to `size` bytes if it is longer. Raises StorageError."""
    try:
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
    except OSError as error:
        raise storage_error(path, error) from None


def sync_directory(path: Path) -> None:
    """Makes a rename in `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
