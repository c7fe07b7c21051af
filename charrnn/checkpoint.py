"""Checkpoints: safetensors files whose metadata says what the weights are. The only user of safetensors.

A checkpoint's metadata is one entry, `charrnn`: a JSON object (version, model, vocabulary, lines, training), last in
it `sha256`, over the rest of it and every tensor. A file that does not add up is refused before anything in it is used.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from charrnn.config import ModelConfig
from charrnn.corpus import Vocabulary
from charrnn.errors import CharRNNError, RunError
from charrnn.files import write_atomically
from charrnn.models.language import parameter_specs

Array = NDArray[Any]

VERSION = 1
DTYPES = {"F32": np.float32, "F64": np.float64}
TRAINING = "training."  # prefix of what only a resume needs


@dataclass(frozen=True)
class Checkpoint:
    """A model, and with `tensors` and `training` also the state of its training."""

    model: ModelConfig
    vocabulary: Vocabulary
    lines: bool  # the state resets at each line feed
    weights: dict[str, Array]  # PyTorch's names and shapes
    tensors: dict[str, Array] = field(default_factory=dict)  # the trainer's: moments, carried state
    training: dict[str, Any] = field(default_factory=dict)  # the trainer's: plain JSON

    @property
    def record_end(self) -> int | None:
        return self.vocabulary.newline if self.lines else None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes atomically. Raises StorageError."""
    about = {
        "version": VERSION,
        "model": checkpoint.model.to_dict(),
        "vocabulary": checkpoint.vocabulary.codes.tolist(),
        "bytes": checkpoint.vocabulary.is_bytes,
        "lines": checkpoint.lines,
        "training": checkpoint.training,
    }
    tensors = checkpoint.weights | {TRAINING + name: tensor for name, tensor in checkpoint.tensors.items()}
    # safetensors saves a view that is not contiguous wrongly, without a word.
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    about["sha256"] = _digest(about, tensors)
    write_atomically(path, save(tensors, {"charrnn": json.dumps(about)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks everything. Raises RunError, in one line, for whatever is not a whole checkpoint of ours."""
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        return _load(path)
    except (
        SafetensorError,
        json.JSONDecodeError,
        RecursionError,
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RunError(f"{path}: not a charrnn checkpoint, or damaged: {reason}") from None
    except RunError:
        raise
    except CharRNNError as error:
        raise RunError(f"{path}: damaged checkpoint: {error.message}") from None
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None


def _load(path: Path) -> Checkpoint:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if "charrnn" not in metadata:
            raise RunError(f"{path}: a safetensors file of another program")
        about = json.loads(metadata["charrnn"])
        if not isinstance(about, dict) or about.get("version") != VERSION:
            raise RunError(f"{path}: a checkpoint of another version of charrnn")
        model = ModelConfig.from_dict(about["model"])
        vocabulary = _vocabulary(about["vocabulary"], about["bytes"])
        names = set(file.keys())
        # Shapes are compared before anything is allocated: a file cannot claim more than it holds.
        for spec in parameter_specs(model, len(vocabulary)):
            if spec.name not in names:
                raise ValueError(f"{spec.name} is missing")
            part = file.get_slice(spec.name)
            if tuple(part.get_shape()) != spec.shape or part.get_dtype() not in DTYPES:
                raise ValueError(f"{spec.name} has another shape or type than its configuration says")
            names.remove(spec.name)
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
    if not isinstance(about["lines"], bool) or not isinstance(about["training"], dict):
        raise ValueError("its metadata is incomplete")
    return Checkpoint(model, vocabulary, about["lines"], weights, extra, about["training"])


def _vocabulary(codes: Any, is_bytes: Any) -> Vocabulary:
    if not isinstance(codes, list) or not all(type(code) is int for code in codes) or not isinstance(is_bytes, bool):
        raise ValueError("its vocabulary is not a list of codes")
    limit = 0xFF if is_bytes else 0x10FFFF
    if not codes or codes[0] < 0 or codes[-1] > limit or any(a >= b for a, b in pairwise(codes)):
        raise ValueError("its vocabulary is not in order")
    return Vocabulary(np.array(codes, np.uint32), is_bytes)


def _digest(about: dict[str, Any], tensors: dict[str, Array]) -> str:
    digest = hashlib.sha256(json.dumps(about).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
