"""Errors that are the user's to mend: one line each, with the exit code that CLI.md promises for the kind.

Anything else that escapes is a bug (exit 1, with a traceback).
"""


class CharRNNError(Exception):
    """A mistake or a condition outside the program. `hint` says the way out; str() gives the whole line."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = printable(message), printable(hint)
        super().__init__(f"{self.message} ({self.hint})" if hint else self.message)


def printable(text: str) -> str:
    """The text with what a terminal would obey, or cannot show, written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(CharRNNError):
    """An option out of range, or options that exclude each other."""

    exit_code = 2


class CorpusError(CharRNNError):
    """A text that is missing, empty, undecodable or too small, or a character that a model does not know."""

    exit_code = 3


class RunError(CharRNNError):
    """A run or checkpoint that is missing, corrupt, locked, of another format, or in the way."""

    exit_code = 4


class DivergedError(CharRNNError):
    """The loss or the gradients are no longer finite."""

    exit_code = 5


class StorageError(CharRNNError):
    """The disk is full, failing or not writable."""

    exit_code = 6


class OutOfMemoryError(CharRNNError):
    """What was asked for does not fit into the memory that there is."""

    exit_code = 6

    def __init__(self, message: str) -> None:
        super().__init__(message, "lower --hidden-size, --num-layers, --batch-size, --seq-length or --workers")


class WorkerError(CharRNNError):
    """A worker process ended in the middle of a run."""

    exit_code = 4
