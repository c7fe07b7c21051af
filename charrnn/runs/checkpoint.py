"""Checkpoints: safetensors files whose metadata describes the weights. README.md in this folder specifies the format.

Loading checks the whole file, including its checksum. No other module reads or writes the format.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from charrnn.errors import RunError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.runs.files import PARSE_ERRORS, dump_json, parse_error_reason, write_atomically

FORMAT = 3  # the version of the file format; no other version can be read
METADATA_KEY = "charrnn"  # the only entry of the safetensors metadata, a JSON object
DTYPES = {"F32": np.float32, "F64": np.float64}  # of weights, by safetensors' names
TRAINING_PREFIX = "training."  # in the names of tensors that only a resumed run needs

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model. With `tensors` and `training` it also contains what a resumed run needs."""

    architecture: Architecture
    task: dict[str, Any]  # the metadata of the task: its name, vocabulary, labels ...
    parameters: Array  # all parameters as one flat vector, in the order of architecture.specs()
    tensors: dict[str, Array] = field(default_factory=dict)  # of the engine: parameters, moments, state
    training: dict[str, Any] = field(default_factory=dict)  # of the trainer, as plain JSON
    path: Path = Path("checkpoint")  # the file that it was read from

    @property
    def weights(self) -> dict[str, Array]:
        """Named views into the parameters, with PyTorch's names and shapes."""
        return named_views(self.architecture.specs(), self.parameters)

    def parse_task(self, parse: Callable[[dict[str, Any]], T]) -> T:
        """Calls a parser of the task's metadata. Raises RunError if the parser raises an error."""
        with raising_run_error(self.path):
            return parse(self.task)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically. Raises StorageError."""
    metadata = {
        "format": FORMAT,
        "architecture": checkpoint.architecture.to_dict(),
        "task": checkpoint.task,
        "training": checkpoint.training,
    }
    tensors = checkpoint.weights | {TRAINING_PREFIX + name: tensor for name, tensor in checkpoint.tensors.items()}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    metadata["sha256"] = _digest(metadata, tensors)
    write_atomically(path, _header(metadata, tensors), *(tensor.ravel().data for tensor in tensors.values()))


def _header(metadata: dict[str, Any], tensors: dict[str, Array]) -> bytes:
    """The start of a safetensors file with these tensors: the size of a JSON object, and the object.

    The file is not written by the safetensors library, because the library copies all tensors first.
    """
    entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: dump_json(metadata)}}
    start = 0
    for name, tensor in tensors.items():
        dtype = f"{tensor.dtype.kind.upper()}{8 * tensor.itemsize}"
        entries[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, start + tensor.nbytes]}
        start += tensor.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks a checkpoint. Raises RunError. `Checkpoint.parse_task` checks the metadata of the task."""
    with raising_run_error(path):
        if not path.is_file():
            raise RunError(f"{path}: no such checkpoint")
        open(path, "rb").close()  # safetensors reports any file that cannot be opened as missing
        return _load(path)


@contextlib.contextmanager
def raising_run_error(path: Path) -> Iterator[None]:
    """Replaces any error that a damaged checkpoint causes by a RunError with the name of the file."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    except (SafetensorError, *PARSE_ERRORS) as error:
        raise RunError(f"{path}: not a charrnn checkpoint, or damaged: {parse_error_reason(error)}") from None


def _load(path: Path) -> Checkpoint:
    with safe_open(path, framework="numpy") as file:
        metadata = _read_metadata(file, path)
        architecture = Architecture.from_dict(metadata["architecture"])
        specs = architecture.specs()
        dtype = _check_tensors(file, architecture)
        parameters = np.empty(count_parameters(specs), dtype)
        tensors: dict[str, Array] = named_views(specs, parameters)
        for name in file.keys():  # noqa: SIM118 - the file is not a dictionary
            if name in tensors:
                tensors[name][...] = file.get_tensor(name)
            else:
                tensors[name] = file.get_tensor(name)
    if metadata.pop("sha256") != _digest(metadata, tensors):
        raise ValueError("the checksum does not match")
    if not np.isfinite(parameters).all():
        raise ValueError("a weight is not finite")
    task = metadata["task"]
    training = metadata["training"]
    if not (isinstance(task, dict) and isinstance(task.get("name"), str) and isinstance(training, dict)):
        raise ValueError("the metadata is incomplete")
    training_tensors = {
        name.removeprefix(TRAINING_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(TRAINING_PREFIX)
    }
    return Checkpoint(architecture, task, parameters, training_tensors, training, path)


def _read_metadata(file: Any, path: Path) -> dict[str, Any]:
    entries = file.metadata() or {}
    if METADATA_KEY not in entries:
        raise RunError(f"{path}: is a safetensors file of another program")
    metadata = json.loads(entries[METADATA_KEY])
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise RunError(f"{path}: not a checkpoint of format {FORMAT}, the only format that this version reads")
    return metadata


def _check_tensors(file: Any, architecture: Architecture) -> Any:
    """Compares the tensors of a file with the architecture, before memory is allocated for them. Returns the dtype of
    the weights."""
    names = set(file.keys())
    dtypes = set[str]()
    for spec in architecture.specs():
        if spec.name not in names:
            raise ValueError(f"{spec.name} is missing")
        tensor = file.get_slice(spec.name)
        if tuple(tensor.get_shape()) != spec.shape or tensor.get_dtype() not in DTYPES:
            raise ValueError(f"{spec.name} has a shape or type that does not match the architecture")
        names.remove(spec.name)
        dtypes.add(tensor.get_dtype())
    if len(dtypes) > 1:
        raise ValueError("the weights have different types")
    for name in names:
        if not name.startswith(TRAINING_PREFIX):
            raise ValueError(f"{name} does not belong to this model")
    return DTYPES[dtypes.pop()]


def _digest(metadata: dict[str, Any], tensors: dict[str, Array]) -> str:
    digest = hashlib.sha256(dump_json(metadata).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
