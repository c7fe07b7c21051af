"""How a run is started or resumed: from what the user asked to a Trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from charrnn.config import ModelConfig, RunConfig, part
from charrnn.errors import CorpusError, UsageError
from charrnn.storage.checkpoint import Checkpoint, load_checkpoint
from charrnn.storage.runs import Run, create_run
from charrnn.tasks.registry import read_task
from charrnn.training.choices import settled
from charrnn.training.trainer import Trainer


def new_run(
    path: Path | None,
    config: RunConfig,
    start: Checkpoint | None = None,
    *,
    left_open: Collection[str] = (),
    jobs: int = 1,
) -> Trainer:
    """Reads the data, then makes the run's directory. start: --init-from; left_open: settings that were not given,
    see `settled`; jobs: how many runs share the cores."""
    task = read_task(config, start)
    model, weights = config.model, None
    if start is not None:
        model = part(ModelConfig, start.architecture.to_dict())
        left_open = set(left_open) & {"weight_decay"}
    model, train, notices = settled(model, config.train, task, left_open=left_open, jobs=jobs)
    assert train.batch_size and train.seq_length
    if train.patience and task.validation(train.batch_size, train.seq_length) is None:
        raise UsageError("--patience: there is no text to validate on", "see --val-fraction and --val-file")
    if start is not None:
        weights = task.initial_weights(start, task.architecture(model), train.seed)
    config = dataclasses.replace(config, model=model, train=train)
    run = create_run(path, corpus_stem(config.corpus[0]))
    return Trainer(run, config, task, start=weights, notices=notices)


def resumed_run(run: Run, config: RunConfig) -> Trainer:
    """A trainer for a run that exists; `config` is its own, but for budgets, outputs, workers, moved corpus."""
    if "-" in config.corpus:
        raise CorpusError(
            f"{run.path}: its corpus came from standard input", "name the file that holds it, after --resume"
        )
    checkpoint = load_checkpoint(run.last)
    return Trainer(run, config, read_task(config, checkpoint), checkpoint=checkpoint)


def corpus_stem(path: str) -> str:
    """What a run of this corpus is called."""
    return "stdin" if path == "-" else Path(path.removesuffix(".gz")).stem or "corpus"
