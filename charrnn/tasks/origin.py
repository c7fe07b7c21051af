"""What a run takes over from the model that it begins with (`--init-from`)."""

from __future__ import annotations

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.runs.checkpoint import Checkpoint


def initial_vocabulary(start: Checkpoint | None, *, is_bytes: bool = False) -> Vocabulary | None:
    """The symbols that a model of any task can read; None without one. Raises UsageError where they are of another
    kind."""
    if start is None:
        return None
    if "vocabulary" not in start.task:
        raise UsageError(f"--init-from: a model of --task {start.task.get('name')}, which reads no characters")
    known = start.read_task(Vocabulary.from_dict)
    if known.is_bytes != is_bytes:
        what = "--init-from: one of the two has bytes for a vocabulary, the other characters"
        raise UsageError(what, "see --bytes")
    return known
