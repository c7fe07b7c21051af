"""The vocabulary of the model that a run is initialised from (`--init-from`)."""

from __future__ import annotations

import numpy as np

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.nn.arrays import Array
from charrnn.runs.checkpoint import Checkpoint


def source_vocabulary(source: Checkpoint | None, *, is_bytes: bool = False) -> Vocabulary | None:
    """Returns the vocabulary of the source model, or None if there is no source model.

    source: a checkpoint of any task. is_bytes: whether the vocabulary of the new run consists of bytes.
    Raises UsageError if the model has no vocabulary, or if only one of the two vocabularies consists of bytes.
    """
    if source is None:
        return None
    if "vocabulary" not in source.task:
        raise UsageError(f"--init-from: a model of --task {source.task.get('name')} has no vocabulary")
    vocabulary = source.parse_task(Vocabulary.from_dict)
    if vocabulary.is_bytes != is_bytes:
        problem = "--init-from: one of the two models has a vocabulary of bytes, the other one of characters"
        raise UsageError(problem, "see --bytes")
    return vocabulary


def ids_in(vocabulary: Vocabulary, source: Checkpoint) -> Array:
    """Returns the id in `vocabulary` of each symbol of the source's vocabulary. `vocabulary` must include them all."""
    return np.searchsorted(vocabulary.codes, source.parse_task(Vocabulary.from_dict).codes)
