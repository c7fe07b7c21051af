"""Simulates Windows for charrnn, in each Python process that has this folder on its PYTHONPATH.

The modules of charrnn see a standard library without the modules, functions and signals that Windows lacks. Files that
are open cannot be replaced or deleted, directories cannot be opened, and processes are started with the arguments that
Windows accepts. The standard streams are those of a console with code page 1252. Opening a text file without naming its
encoding is an error. Other libraries see the system as it is.

Not simulated: paths with drives and backslashes, reserved names, the locks of Windows, and its signals between
processes. SIGUSR1 takes the place of SIGBREAK.
"""

import atexit
import builtins
import errno
import io
import mmap
import os
import signal
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

ABSENT_MODULES = ("curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
ABSENT = {
    "os": (
        *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "forkpty", "geteuid", "getpgid", "getpriority", "getsid"),
        *("getuid", "killpg", "memfd_create", "mkfifo", "nice", "pidfd_open", "posix_spawn", "sched_getaffinity"),
        *("setpgid", "setsid", "statvfs", "sysconf", "uname", "wait", "wait3", "wait4", "waitid"),
    ),
    "signal": (
        *(
            name
            for name in dir(signal)
            if name.startswith("SIG")
            and name[3] not in "_"
            and name[3:] not in (*("ABRT", "FPE", "ILL", "INT", "SEGV", "TERM"),)
        ),
        *("alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigpending", "sigwait"),
    ),
    "mmap": ("MAP_ANONYMOUS", "MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"),
    "time": ("clock_gettime",),
}
WINDOWS_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
SIGBREAK = signal.SIGUSR1
TAGS = "CHARRNN_TEST_TAGS"  # environment variable: the folder that contains the memory with tags
CREATE_NEW_PROCESS_GROUP = 0x200


class WindowsModule(types.ModuleType):
    """A module without some names, and with some other values."""

    def __init__(self, module, absent=(), **values):
        super().__init__(module.__name__)
        vars(self).update(values, _module=module, _absent=absent)

    def __getattr__(self, name):
        if name in self._absent:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}' on Windows", name=name)
        return getattr(self._module, name)

    def __setattr__(self, name, value):
        setattr(self._module, name, value)


class WindowsPopen(subprocess.Popen):
    """Takes the arguments that Windows accepts."""

    def __init__(self, *args, creationflags=0, **options):
        for name in ("pass_fds", "preexec_fn", "start_new_session", "process_group", "user", "group"):
            if name in options:
                raise ValueError(f"{name} is not supported on Windows platforms")
        options["start_new_session"] = bool(creationflags & CREATE_NEW_PROCESS_GROUP)
        super().__init__(*args, **options)


def mmap_with_tag(fd, length, *, tagname=None):
    """mmap.mmap of Windows. Memory with a tag is shared by all processes that use the tag."""
    if tagname is None:
        return mmap.mmap(fd, length)
    assert fd == -1
    path = Path(os.environ[TAGS], tagname)
    if not path.exists():
        with open(path, "xb") as file:
            file.truncate(length)
        atexit.register(path.unlink)
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), length)


def open_unless_directory(path, *args, **options):
    if not isinstance(path, int) and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return os.open(path, *args, **options)


def set_handler(number, handler):
    if number not in {*WINDOWS_SIGNALS, SIGBREAK}:
        raise ValueError("invalid signal value")
    return signal.signal(number, handler)


def check_not_open(path):
    """Raises PermissionError if a process has the file open or mapped, as Windows does."""
    target = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_open = any(os.readlink(fd) == target for fd in (process / "fd").iterdir())
            is_open = is_open or f" {target}\n" in (process / "maps").read_text(encoding="utf-8")
        except OSError:  # the process has ended
            continue
        if is_open:
            raise PermissionError(errno.EACCES, "Another process is using the file", str(path))


def checking(function):
    """The function of `os`, which refuses its last argument if that is an open file."""

    def checked(*paths, **options):
        check_not_open(paths[-1])
        return function(*paths, **options)

    return checked


MODULES = {
    "os": WindowsModule(os, ABSENT["os"], open=open_unless_directory),
    "sys": WindowsModule(sys, platform="win32"),
    "signal": WindowsModule(signal, ABSENT["signal"], signal=set_handler, SIGBREAK=SIGBREAK),
    "mmap": WindowsModule(mmap, ABSENT["mmap"], mmap=mmap_with_tag),
    "time": WindowsModule(time, ABSENT["time"]),
    "subprocess": WindowsModule(subprocess, Popen=WindowsPopen, CREATE_NEW_PROCESS_GROUP=CREATE_NEW_PROCESS_GROUP),
}
real_import = builtins.__import__


def import_on_windows(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__") or ""
    if importer.partition(".")[0] == "charrnn":
        if name.partition(".")[0] in ABSENT_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
        if name in MODULES:
            return MODULES[name]
    return real_import(name, globals, locals, fromlist, level)


builtins.__import__ = import_on_windows
for name in ("replace", "rename", "unlink", "remove"):
    setattr(os, name, checking(getattr(os, name)))
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="cp1252", newline="\r\n")
warnings.filterwarnings("error", category=EncodingWarning, module="charrnn")  # with PYTHONWARNDEFAULTENCODING=1
