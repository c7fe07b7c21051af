"""Errors that a user can correct: one line each, with an exit code. `charrnn/cli/README.md` lists the exit codes.

Any other exception is a bug: exit code 1, with a traceback.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class CharRNNError(Exception):
    """An error that the user can correct. str() gives the message, followed by the hint in parentheses."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        """message: the problem, with the value and its limit. hint: how to correct it."""
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(f"{self.message} ({self.hint})" if hint else self.message)


def printable(text: str) -> str:
    """The text with escapes for control characters and for characters that a terminal cannot show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def format_count(number: float, noun: str) -> str:
    """A number with its noun: 1 minute, 2.5 minutes, 1,500 steps."""
    return f"{number:,.10g} {noun}{'' if number == 1 else 's'}"


class UsageError(CharRNNError):
    """An option is out of range, or two options cannot be used together."""

    exit_code = 2


class CorpusError(CharRNNError):
    """A text is missing, empty, undecodable or too small, or contains a character that is not in the vocabulary."""

    exit_code = 3


class RunError(CharRNNError):
    """A run or checkpoint is missing, damaged, locked or of another format, or already exists."""

    exit_code = 4


class DivergedError(CharRNNError):
    """The loss or the gradient is not finite, or the loss is far above that of a random guess."""

    exit_code = 5


class StorageError(CharRNNError):
    """The disk is full, failing or not writable."""

    exit_code = 6


class OutOfMemoryError(CharRNNError):
    """The memory is too small."""

    exit_code = 6

    def __init__(
        self, message: str, hint: str = "lower --hidden-size, --num-layers, --batch-size, --seq-length or --workers"
    ) -> None:
        super().__init__(message, hint)


class WorkerError(CharRNNError):
    """A worker process ended during a run."""

    exit_code = 4


@contextlib.contextmanager
def needs_extra(name: str, library: str) -> Iterator[None]:
    """Context manager that raises UsageError if an import in its body fails because `library` is not installed.

    name: the extra of charrnn that installs the library.
    """
    from charrnn.system import shell_quote

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise UsageError(
            f"{library} (extra {name}) is not installed", f"{shell_quote(sys.executable)} -m pip install {library}"
        ) from None


@contextlib.contextmanager
def converting_errors() -> Iterator[None]:
    """Context manager and decorator that converts errors of the system, and of a missing PyTorch, to errors of this
    module. It decorates the functions that users call from Python."""
    try:
        with needs_extra("torch", "torch"):
            yield
    except MemoryError:
        raise OutOfMemoryError("out of memory") from None
    except OSError as error:
        raise StorageError(f"{error.filename or 'system error'}: {error.strerror or error}") from None
