"""Differences between Linux, macOS and Windows. No other module depends on the operating system."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from filelock import BaseFileLock

LOCK_POLL_SECONDS = 0.01  # interval at which a process checks whether a lock has been released
# On Windows, a file that another program has open (a virus scanner, `charrnn plot`) cannot be replaced or deleted.
OPEN_FILE_RETRIES = 100
OPEN_FILE_SECONDS = 0.1  # time between two attempts
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
NONBLOCKING = getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not wait for its other end


# Signals and processes


def _existing_signals(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# Signals after which a command saves its work and ends. A terminal sends SIGHUP when it is closed, a scheduler SIGUSR1
# before a time limit, Linux SIGXCPU at a limit on processor time, and Windows SIGBREAK on Ctrl-Break.
STOP_SIGNALS = _existing_signals("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU", "SIGBREAK")
SAVE_SIGNALS = _existing_signals("SIGUSR2")  # after these, a command saves its work and continues


def start_process(
    command: Sequence[str], environment: dict[str, str], memory: SharedMemory | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process with unbuffered pipes for its standard input and output.

    Ctrl-C on the terminal does not reach the process. STOP_SIGNALS and SAVE_SIGNALS are blocked until it calls
    `handle_signals`, so a signal to a whole group of processes cannot end it before its parent has saved.

    memory: the process can open this memory by its name.
    """
    import subprocess

    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, env=environment, creationflags=flags, **pipes)
    fds = () if memory is None else (int(memory.name),)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, *SAVE_SIGNALS))  # a child inherits the mask
    try:
        return subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=fds, **pipes)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def handle_signals(stop: Callable[[int], None], save: Callable[[], None]) -> None:
    """Sets the signal handlers of a process that `start_process` has started. Blocked signals arrive now."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda received, _: stop(received))
    for number in SAVE_SIGNALS:
        signal.signal(number, lambda *_: save())
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, *SAVE_SIGNALS))


def is_closed_pipe(error: OSError) -> bool:
    """Whether a write failed because the reader of a pipe has ended."""
    if sys.platform == "win32":  # reported as EINVAL, without the name of a file
        return error.errno in (errno.EPIPE, errno.EINVAL) and error.filename is None
    return isinstance(error, BrokenPipeError)


def shell_join(words: Sequence[str]) -> str:
    """The command line that the shell of this system divides into these words."""
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)


def shell_quote(word: str) -> str:
    """A word, quoted for the shell of this system."""
    return shell_join([word])


# Memory and processors


class SharedMemory:
    """Memory that a process shares with its children. The system frees it when all of them have ended."""

    def __init__(self, size: int) -> None:
        """Allocates memory of zeros. Raises OSError."""
        if sys.platform == "win32":
            import uuid

            self.name = f"charrnn-{uuid.uuid4().hex}"
            self.buffer = mmap.mmap(-1, size, tagname=self.name)
            return
        fd = _unnamed_file()
        try:
            os.truncate(fd, size)
            self.buffer = mmap.mmap(fd, size)
        except OSError:
            os.close(fd)
            raise
        self.name = str(fd)

    def close(self) -> None:
        """Removes the name. The memory remains while an array uses it."""
        if sys.platform != "win32":
            os.close(int(self.name))


def open_shared_memory(name: str, size: int) -> mmap.mmap:
    """The memory that the parent of this process has allocated."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=name)
    return mmap.mmap(int(name), size)


def _unnamed_file() -> int:
    """The descriptor of a new file without a name."""
    if sys.platform == "linux":
        return os.memfd_create("charrnn")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def memory_limit() -> int | None:
    """Bytes that this process and its children can use: the memory of the machine or a lower limit. None: unknown."""
    if sys.platform == "win32":
        return None
    import resource

    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text(encoding="ascii")))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limits)


def peak_memory(children: Sequence[int]) -> int | None:
    """Bytes: the sum of the peak resident sets of this process and, on Linux, of its children. None: unknown."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in kB on Linux
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for pid in children:
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            lines = status.read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) * 2**10 for line in lines if line.startswith("VmHWM"))
    return total


def available_cores() -> int:
    """The number of processor cores that this process can use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Files


def sync_file(fd: int) -> None:
    """Writes an open file to the disk."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not every file system supports it
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # os.fsync does not empty the cache of the disk
            return
    os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Makes a rename or a deletion in a directory durable. Windows has no such operation."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(source: Path, target: Path) -> None:
    """Renames a file; an existing target is replaced."""
    _retry_while_open(lambda: os.replace(source, target))


def delete_file(path: Path) -> None:
    """Deletes a file. Raises FileNotFoundError if it does not exist."""
    _retry_while_open(lambda: os.unlink(path))


def _retry_while_open(change: Callable[[], None]) -> None:
    """Makes a change to a file. On Windows, waits while another program has the file open."""
    for _ in range(OPEN_FILE_RETRIES if sys.platform == "win32" else 0):
        try:
            return change()
        except PermissionError:
            time.sleep(OPEN_FILE_SECONDS)
    return change()


def lock_file(path: Path, *, timeout: float = -1) -> BaseFileLock:
    """Locks a file, which is created if it is missing and may have no other use. Waits until the lock is free.

    The lock lasts until its method `release` is called or the process ends. Raises TimeoutError after `timeout`
    seconds; a negative timeout is infinite.
    """
    from filelock import FileLock

    lock = FileLock(path, poll_interval=LOCK_POLL_SECONDS)
    lock.acquire(timeout)
    return lock


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. A file that this user must not lock counts as not locked."""
    if not path.exists():
        return False
    try:
        lock_file(path, timeout=0).release()
    except TimeoutError:
        return True
    except OSError:  # no permission, or a file system that is read-only
        return False
    return False
