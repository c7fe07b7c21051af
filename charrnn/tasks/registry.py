"""Finds a task by name. Makes the task of a configuration, with its data, and the trained model of a checkpoint."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.corpus.files import find_files
from charrnn.engines.base import Backend
from charrnn.engines.ensemble import EnsembleBackend
from charrnn.errors import CorpusError, RunError
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint
from charrnn.runs.directory import Run, find_run
from charrnn.system import shell_quote
from charrnn.tasks.base import Task, TrainedModel

if TYPE_CHECKING:
    from charrnn.tasks.language.corpus import Corpus
    from charrnn.tasks.language.model import TextModel

# "module:class" of each task. Only the modules of the task in use are imported.
MODELS = {
    "lm": "language.model:TextModel",
    "classify": "classify.model:Classifier",
    "tag": "tag.model:Tagger",
    "translate": "translate.model:Translator",
    "transcribe": "transcribe.model:Transcriber",
    "series": "series.model:Forecaster",
    "caption": "caption.model:Captioner",
}
TASKS = {
    "lm": "language.task:LanguageTask",
    "translate": "translate.task:TranslateTask",
    "transcribe": "transcribe.task:TranscribeTask",
    "series": "series.task:SeriesTask",
    "caption": "caption.task:CaptionTask",
}


def read_task(config: RunConfig, source: Checkpoint | None = None) -> Task:
    """The task of a configuration, with its data.

    source: a model whose vocabulary and labels the task has to include. Raises CorpusError, UsageError.
    """
    config = replace(config, corpus=tuple(find_files(config.corpus, config.data.glob)))
    name = config.data.task
    if name in TASKS:
        task: Task = _import_class(TASKS[name]).read(config, source)
        return task
    from charrnn.tasks.records import RecordTask

    return RecordTask.read(_import_class(MODELS[name]), config, source)


def read_run_task(run: Run) -> Task:
    """The task of a run, with its data read again. Raises CorpusError if the data are not available or have changed."""
    config = run.read_config()
    if "-" in config.corpus:
        raise CorpusError(f"{run.path}: its corpus came from standard input and was not kept")
    last = load_checkpoint(run.last)
    task = read_task(config, last)
    if task.fingerprint != last.training.get("corpus"):
        raise CorpusError(f"{run.path}: its corpus has changed since training: {' '.join(config.corpus)}")
    return task


def read_corpus(model: TextModel) -> Corpus:
    """The corpus of the run that trained a language model. Raises CorpusError if it is not available."""
    run = Run(model.checkpoint.path.parent)
    if not run.config.exists():
        raise CorpusError(f"{model.checkpoint.path}: not in a run directory, so its corpus is unknown")
    task: Any = read_run_task(run)
    corpus: Corpus = task.corpus
    return corpus


def model_class(task: str) -> type[TrainedModel]:
    """The class of the trained models of a task."""
    cls: type[TrainedModel] = _import_class(MODELS[task])
    return cls


def make_model(checkpoint: Checkpoint, backend: Backend | None = None) -> TrainedModel:
    """The trained model of a checkpoint. Raises RunError if the checkpoint is damaged."""
    return model_class(checkpoint.parse_task(_parse_name))(checkpoint, backend)


def load_model(path: str | Path, *, checkpoint: str = "best", backend: Backend | None = None) -> TrainedModel:
    """The model in a run directory (the checkpoint `best` or `last`) or in a checkpoint file. Raises RunError."""
    path = find_run(Path(path))
    if path.is_dir():
        path = _checkpoint_file(Run(path), checkpoint)
    return make_model(load_checkpoint(path), backend)


def load_ensemble(paths: Sequence[Path], *, checkpoint: str = "best", backend: Backend | None = None) -> TrainedModel:
    """The model in a run directory, or the ensemble of the models in several directories. Raises RunError."""
    models = [load_model(path, checkpoint=checkpoint, backend=backend) for path in paths]
    first = models[0]
    if len(models) == 1:
        return first
    members = []
    for path, model in zip(paths, models, strict=True):
        parameters = model.parameters_for(first)
        if parameters is None:
            problem = f"{path}: the vocabulary or the task is not that of {paths[0]}"
            raise RunError(problem, "only models with the same vocabulary can be averaged")
        members.append((model.architecture, parameters))
    return make_model(first.checkpoint, EnsembleBackend(first.backend, members))


def _checkpoint_file(run: Run, checkpoint: str) -> Path:
    """The file of a run's checkpoint `best` or `last`. A run that was stopped before its first evaluation has only
    `last`, which is then used in place of `best`."""
    run.check_there()
    file = run.best if checkpoint == "best" else run.last
    if not file.exists() and checkpoint == "best":
        file = run.last
    if not file.exists():
        raise RunError(
            f"{run.path}: this run has no {checkpoint} checkpoint yet",
            f"train it further: charrnn train --resume {shell_quote(str(run.path))}",
        )
    return file


def _import_class(path: str) -> Any:
    """Imports a class, given as "module:class"."""
    module, name = path.split(":")
    return getattr(importlib.import_module(f"charrnn.tasks.{module}"), name)


def _parse_name(task: dict[str, Any]) -> str:
    name = task["name"]
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError("this version does not support the task of the model")
    return name
