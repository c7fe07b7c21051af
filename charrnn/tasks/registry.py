"""The tasks by name: from files to a task, from a checkpoint to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.config import RunConfig
from charrnn.corpus.text import Corpus
from charrnn.errors import CorpusError, RunError
from charrnn.inference.textmodel import TextModel
from charrnn.storage.checkpoint import Checkpoint, load_checkpoint
from charrnn.storage.runs import Run, find_run
from charrnn.tasks.caption import Captioner, CaptionTask
from charrnn.tasks.classify import Classes, Classifier
from charrnn.tasks.forecaster import Forecaster
from charrnn.tasks.language import LanguageTask
from charrnn.tasks.records import RecordTask
from charrnn.tasks.series import SeriesTask
from charrnn.tasks.tag import Tagger, Tags
from charrnn.tasks.task import Task
from charrnn.tasks.translate import Pairs, Translator

Model = TextModel | Classifier | Tagger | Translator | Forecaster | Captioner
CODINGS = {kind.name: kind for kind in (Classes, Tags, Pairs)}
MODELS: dict[str, type[Any]] = {
    "lm": TextModel,
    "captions": Captioner,
    "classify": Classifier,
    "tag": Tagger,
    "translate": Translator,
    "series": Forecaster,
}


def read_task(config: RunConfig, start: Checkpoint | None = None) -> Task:
    """The task of a configuration, with its data; what it must know besides from the checkpoint `start`."""
    if config.text.task in CODINGS:
        return RecordTask.read(CODINGS[config.text.task], config, start)
    if config.text.task == "series":
        return SeriesTask.read(config, start)
    if config.text.features is not None:
        return CaptionTask.read(config, start)
    return LanguageTask.read(config, start)


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
    task = task_of(run)
    assert isinstance(task, LanguageTask)
    return task.corpus


def model_of(checkpoint: Checkpoint) -> Model:
    """The trained model, for its user. Raises RunError if the checkpoint is damaged."""
    model: Model = MODELS[checkpoint.read_task(_name)](checkpoint)
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
