"""Checkpoints: safetensors files whose metadata says what the weights are. The only user of safetensors.

A checkpoint's metadata is one entry, `charrnn`: a JSON object (version, architecture, task, training), last in it
`sha256`, over the rest of it and every tensor. A file that does not add up is refused before anything in it is used.
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
from safetensors.numpy import save

from charrnn.errors import CharRNNError, RunError
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.runs.files import write_atomically
from charrnn.runs.versions import todays_checkpoint

VERSION = 2
DTYPES = {"F32": np.float32, "F64": np.float64}
DAMAGE = (SafetensorError, RecursionError, LookupError, TypeError, AttributeError, ValueError, OverflowError)
TRAINING = "training."  # prefix of what only a resume needs

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A model, and with `tensors` and `training` also the state of its training."""

    architecture: Architecture
    task: dict[str, Any]  # the task's own words: its name, and what it must know to read and to answer
    weights: dict[str, Array]  # PyTorch's names and shapes
    tensors: dict[str, Array] = field(default_factory=dict)  # the trainer's: moments, carried state
    training: dict[str, Any] = field(default_factory=dict)  # the trainer's: plain JSON
    path: Path = Path("checkpoint")  # where it was read

    def read_task(self, parse: Callable[[dict[str, Any]], T]) -> T:
        """The task's words, understood. Raises RunError for what `parse` takes exception to."""
        with refusing(self.path):
            return parse(self.task)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes atomically. Raises StorageError."""
    about = {
        "version": VERSION,
        "architecture": checkpoint.architecture.to_dict(),
        "task": checkpoint.task,
        "training": checkpoint.training,
    }
    tensors = checkpoint.weights | {TRAINING + name: tensor for name, tensor in checkpoint.tensors.items()}
    # safetensors saves a view that is not contiguous wrongly, without a word.
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    about["sha256"] = _digest(about, tensors)
    write_atomically(path, save(tensors, {"charrnn": json.dumps(about)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks all but the task's words. Raises RunError for whatever is not a whole checkpoint of ours."""
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    with refusing(path):
        return _load(path)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever is found wrong with what a checkpoint says, in one line that names it."""
    try:
        yield
    except RunError:
        raise
    except CharRNNError as error:
        raise RunError(f"{path}: damaged checkpoint: {error.message}") from None
    except DAMAGE as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RunError(f"{path}: not a charrnn checkpoint, or damaged: {reason}") from None
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None


def _load(path: Path) -> Checkpoint:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if "charrnn" not in metadata:
            raise RunError(f"{path}: a safetensors file of another program")
        about = json.loads(metadata["charrnn"])
        written = about.get("version") if isinstance(about, dict) else None
        if isinstance(written, bool) or written not in (1, VERSION):
            raise RunError(f"{path}: a checkpoint of another version of charrnn")
        today = todays_checkpoint(about)
        architecture = Architecture.from_dict(today["architecture"])
        names = set(file.keys())
        types = set[str]()
        # Shapes are compared before anything is allocated: a file cannot claim more than it holds.
        for spec in architecture.specs():
            if spec.name not in names:
                raise ValueError(f"{spec.name} is missing")
            part = file.get_slice(spec.name)
            if tuple(part.get_shape()) != spec.shape or part.get_dtype() not in DTYPES:
                raise ValueError(f"{spec.name} has another shape or type than its configuration says")
            names.remove(spec.name)
            types.add(part.get_dtype())
        if len(types) > 1:
            raise ValueError("its weights are of several types")
        strangers = [name for name in names if not name.startswith(TRAINING)]
        if strangers:
            raise ValueError(f"{strangers[0]} does not belong to this model")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    if about.pop("sha256") != _digest(about, tensors):
        raise ValueError("the checksum does not match")
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINING)}
    for name, tensor in weights.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite")
    extra = {name.removeprefix(TRAINING): tensor for name, tensor in tensors.items() if name.startswith(TRAINING)}
    task = today["task"]
    if not (isinstance(task, dict) and isinstance(task.get("name"), str) and isinstance(today["training"], dict)):
        raise ValueError("its metadata is incomplete")
    return Checkpoint(architecture, today["task"], weights, extra, today["training"], path)


def _digest(about: dict[str, Any], tensors: dict[str, Array]) -> str:
    digest = hashlib.sha256(json.dumps(about).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
