"""The tasks by name: from files to a task, from a checkpoint to a model."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CorpusError, RunError
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint
from charrnn.runs.directory import Run, find_run

if TYPE_CHECKING:
    from charrnn.tasks.base import Task
    from charrnn.tasks.caption.task import Captioner
    from charrnn.tasks.classify.model import Classifier
    from charrnn.tasks.language.corpus import Corpus
    from charrnn.tasks.language.model import TextModel
    from charrnn.tasks.series.model import Forecaster
    from charrnn.tasks.tag.model import Tagger
    from charrnn.tasks.translate.model import Translator

    Model = TextModel | Classifier | Tagger | Translator | Forecaster | Captioner

# Classes by their modules: only what is asked for is imported.
CODINGS = {
    "classify": "tasks.classify.model:Classes",
    "tag": "tasks.tag.model:Tags",
    "translate": "tasks.translate.model:Pairs",
}
MODELS = {
    "lm": "tasks.language.model:TextModel",
    "captions": "tasks.caption.task:Captioner",
    "classify": "tasks.classify.model:Classifier",
    "tag": "tasks.tag.model:Tagger",
    "translate": "tasks.translate.model:Translator",
    "series": "tasks.series.model:Forecaster",
}


def imported(place: str) -> Any:
    """A class by `module:name`."""
    module, name = place.split(":")
    return getattr(importlib.import_module(f"charrnn.{module}"), name)


def read_task(config: RunConfig, start: Checkpoint | None = None) -> Task:
    """The task of a configuration, with its data; what it must know besides from the checkpoint `start`."""
    if config.data.task in CODINGS:
        from charrnn.tasks.records import RecordTask

        return RecordTask.read(imported(CODINGS[config.data.task]), config, start)
    kinds = {"series": "tasks.series.task:SeriesTask", "captions": "tasks.caption.task:CaptionTask"}
    name = config.data.task if config.data.features is None else "captions"
    task: Task = imported(kinds.get(name, "tasks.language.task:LanguageTask")).read(config, start)
    return task


def task_of(run: Run) -> Task:
    """What a run was trained on, its files read again as training reads them. Raises CorpusError where they are not to
    be had, or not what they were."""
    config = run.read_config()
    if "-" in config.corpus:
        raise CorpusError(f"{run.path}: its corpus came from standard input and was not kept")
    last = load_checkpoint(run.last)
    task = read_task(config, last)
    if task.fingerprint != last.training.get("corpus"):
        raise CorpusError(f"{run.path}: its corpus has changed since it was trained: {' '.join(config.corpus)}")
    return task


def corpus_of(model: TextModel) -> Corpus:
    """That of the run in which a language model's checkpoint lies. Raises CorpusError where it is not to be had."""
    run = Run(model.checkpoint.path.parent)
    if not run.config.exists():
        raise CorpusError(f"{model.checkpoint.path}: it lies in no run, which would know its corpus")
    task: Any = task_of(run)
    corpus: Corpus = task.corpus
    return corpus


def model_of(checkpoint: Checkpoint) -> Model:
    """The trained model, for its user. Raises RunError if the checkpoint is damaged."""
    model: Model = imported(MODELS[checkpoint.read_task(_name)])(checkpoint)
    return model


def load(path: str | Path, *, checkpoint: str = "best") -> Model:
    """A model from a run directory (its `best` or `last` checkpoint) or from a checkpoint file. Raises RunError."""
    path = find_run(Path(path))
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
    return model_of(load_checkpoint(path))


def _name(task: dict[str, Any]) -> str:
    name = task["name"]
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError("a model of a task that this version does not know")
    return "captions" if name == "lm" and "features" in task else name
