"""Estimates the memory that training needs, before anything is allocated."""

from __future__ import annotations

import os

from charrnn.corpus.files import find_files
from charrnn.corpus.reading import MAX_TEXT_IN_MEMORY
from charrnn.engines.numpy.arena import Arena
from charrnn.errors import OutOfMemoryError
from charrnn.models.architecture import Architecture
from charrnn.nn.stack import CELLS
from charrnn.options import ResolvedTraining, RunConfig
from charrnn.system import memory_limit

FLOAT_BYTES = 4
WEIGHT_COPIES = 4  # copies of the weights in each worker, masked or in another layout
# The largest measured number of bytes of memory that reading the data of a task needs per byte of their files. If a
# text has a cache file, only MAX_TEXT_IN_MEMORY bytes of the text are in memory.
BYTES_PER_FILE_BYTE = {"lm": 5, "series": 16}
BYTES_PER_RECORD_BYTE = 40  # the same for all other tasks


def required_memory(architecture: Architecture, train: ResolvedTraining) -> int:
    """Bytes that all workers together need for shared arrays, copies of the weights, and buffers for each time step."""
    cell = CELLS[architecture.cell]
    arrays_per_step = len(cell.slots) + cell.num_states + cell.num_saved + 3
    floats_per_step = architecture.num_layers * architecture.hidden_size * arrays_per_step
    buffers = train.batch_size * train.seq_length * floats_per_step
    copies = WEIGHT_COPIES * architecture.num_parameters * train.workers
    return Arena(architecture, train, "float32").size + FLOAT_BYTES * (copies + buffers)


def check_data_memory(config: RunConfig) -> None:
    """Raises OutOfMemoryError if the memory is too small for the data of a run, judging by the sizes of the files.
    Raises CorpusError for a directory without files.

    Standard input and pipes are not counted, and neither are the matrices of transcribe.
    """
    data = config.data
    paths = find_files(config.corpus, data.glob)
    paths += [path for path in (data.val_file, data.features) if path is not None]
    size = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
    in_memory = min(size, MAX_TEXT_IN_MEMORY) if data.task == "lm" and config.train.cache else size
    required = in_memory * BYTES_PER_FILE_BYTE.get(data.task, BYTES_PER_RECORD_BYTE)
    available = memory_limit()
    if available is not None and required > available:
        problem = f"{_format_size(size)} of data need about {_format_size(required)} of memory"
        raise OutOfMemoryError(f"{problem}; {_format_size(available)} is available", "train on a part of the data")


def check_memory(architecture: Architecture, train: ResolvedTraining) -> None:
    """Raises OutOfMemoryError if the memory is too small for a run. The memory of a GPU is not checked."""
    if train.device not in ("cpu", "torch"):
        return
    required = required_memory(architecture, train)
    available = memory_limit()
    if available is not None and required > available:
        shape = f"{train.batch_size} x {train.seq_length} steps"
        raise OutOfMemoryError(
            f"{architecture.num_parameters:,} parameters and batches of {shape} need {_format_size(required)} "
            f"of memory; {_format_size(available)} is available"
        )


def _format_size(size: int) -> str:
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.0f} MB"
