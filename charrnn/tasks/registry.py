"""The tasks by name: from files to a task, from a checkpoint to a model."""

from __future__ import annotations

from pathlib import Path

from charrnn.config import RunConfig
from charrnn.errors import RunError
from charrnn.inference.textmodel import TextModel
from charrnn.storage.checkpoint import Checkpoint, load_checkpoint
from charrnn.storage.runs import Run
from charrnn.tasks.language import LanguageTask
from charrnn.tasks.task import Task

TASKS = {"lm": LanguageTask}


def read_task(config: RunConfig, start: Checkpoint | None = None) -> Task:
    """The task of a configuration, with its data; what it must know besides from the checkpoint `start`."""
    return LanguageTask.read(config, start)


def load(path: str | Path, *, checkpoint: str = "best") -> TextModel:
    """A model from a run directory (its `best` or `last` checkpoint) or from a checkpoint file. Raises RunError."""
    path = Path(path)
    if path.is_dir():
        run = Run(path)
        file = run.best if checkpoint == "best" else run.last
        if not file.exists():
            other = run.last if checkpoint == "best" else run.best
            if checkpoint == "best" and other.exists():
                file = other  # stopped before its first evaluation
            else:
                raise RunError(f"{path}: this run has no {file.name} yet", "train it further with --resume")
        path = file
    loaded = load_checkpoint(path)
    return TASKS[loaded.read_task(_name)].model(loaded)


def _name(task: dict[str, object]) -> str:
    name = task["name"]
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError("a model of a task that this version does not know")
    return name
