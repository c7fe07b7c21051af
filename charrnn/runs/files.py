"""Safe reading and writing: atomic replacement, durable appending and deletion, and reads that cannot hang."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from charrnn.errors import CharRNNError, StorageError
from charrnn.system import NONBLOCKING, delete_file, replace_file, sync_directory, sync_file

# Exceptions that can be raised when a damaged file is parsed.
PARSE_ERRORS = (CharRNNError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)
TEMPORARY_FILES = ".*.tmp"  # the names of files that `write_atomically` has not renamed yet
MAX_REASON = 200  # characters of the reason that an error message quotes


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error for a disk that is full, failing or not writable."""
    hint = "" if isinstance(error, FileNotFoundError | NotADirectoryError) else "files saved earlier are intact"
    return StorageError(f"cannot write {path}: {error.strerror or error}", hint)


def dump_json(values: Any, indent: int | None = None, *, ensure_ascii: bool = True) -> str:
    """Converts values to JSON text. NaN and infinity become null, because JSON has no notation for them."""
    return json.dumps(_replace_non_finite(values), allow_nan=False, indent=indent, ensure_ascii=ensure_ascii)


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _replace_non_finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(member) for member in value]
    return value


def parse_error_reason(error: Exception) -> str:
    """Why a file could not be parsed, in one line."""
    if isinstance(error, CharRNNError):
        text = error.message.removeprefix("--")  # the names of options have no dashes in a file
    elif isinstance(error, KeyError):
        text = f"{error} is missing"
    else:
        text = str(error)
    lines = text.splitlines()
    return lines[0][:MAX_REASON] if lines else type(error).__name__


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Writes a temporary file in the same directory and renames it; syncs both. Raises StorageError.

    parts: the content, in order, as bytes or other buffers. They are not copied.

    If the path is a symbolic link, the file that it points to is replaced. A device or a pipe is refused. The name of
    the temporary file is short, so that it is valid even if the name of the file is long, and random, so that two
    writers do not use the same temporary file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise StorageError(f"cannot write {path}: not a regular file")
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                sync_file(file.fileno())
            replace_file(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise storage_error(path, error) from None


def read_regular(path: Path, max_size: int) -> bytes:
    """The content of a regular file of at most `max_size` bytes.

    Raises OSError, and ValueError if the file is too large or not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_size:
            raise ValueError(f"{size:,} bytes is more than the limit of {max_size:,}")
        return file.read(max_size)


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading. Does not wait for a pipe or read an endless device.

    Raises OSError, and ValueError if the file is not a regular file.
    """
    file = open(os.open(path, os.O_RDONLY | NONBLOCKING), "rb")  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("not a regular file")
    return file


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> int:
    """Appends a line and syncs the file. Returns the file's new size in bytes. Raises StorageError."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NONBLOCKING  # does not wait for the reader of a pipe
        with open(os.open(path, flags, 0o666), "ab") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            file.write(line.encode() + b"\n")
            file.flush()
            sync_file(file.fileno())
            return file.tell()
    except OSError as error:
        raise storage_error(path, error) from None


def cut(path: Path, size: int) -> None:
    """Truncates a file to `size` bytes if it is longer. Raises StorageError."""
    try:
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
    except OSError as error:
        raise storage_error(path, error) from None


def remove_file(path: Path) -> None:
    """Deletes a file, if it exists, and syncs its directory. Raises StorageError."""
    try:
        delete_file(path)
        sync_directory(path.parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise storage_error(path, error) from None
