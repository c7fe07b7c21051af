"""How a run is started or resumed: from what the user asked to a Trainer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path

from charrnn.engines.select import check_engine
from charrnn.errors import CorpusError, RunError, UsageError
from charrnn.options import ModelOptions, Origin, RunConfig, select_options
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, refusing
from charrnn.runs.directory import Run, create_run
from charrnn.runs.files import checksum
from charrnn.runs.versions import todays_config
from charrnn.tasks.registry import read_task
from charrnn.training.defaults import check_workers, resolve_options
from charrnn.training.memory import check_memory
from charrnn.training.trainer import Trainer

# What a resume may change: how long, on what, what is shown and saved when.
BUDGETS = ("max_epochs", "max_steps", "max_minutes")
WITH_RESUME = (*BUDGETS, "patience", "workers", "device", "precision", "eval_every", "save_every", "sample_every")


def new_run(
    path: Path | None,
    config: RunConfig,
    start: Checkpoint | None = None,
    *,
    unset: Collection[str] = (),
    jobs: int = 1,
) -> Trainer:
    """Reads the data, then makes the run's directory. start: --init-from; unset: settings that were not given,
    see `settled`; jobs: how many runs share the cores."""
    task = read_task(config, start)
    model, weights = config.model, None
    if start is not None:
        model = select_options(ModelOptions, start.architecture.to_dict())
        unset = set(unset) & {"weight_decay"}
    model, train, notices = resolve_options(model, config.train, task, unset=unset, jobs=jobs)
    assert train.batch_size and train.seq_length
    if train.patience and task.validation(train.batch_size, train.seq_length) is None:
        raise UsageError("--patience: there is no text to validate on", "see --val-fraction and --val-file")
    if start is not None:
        weights = task.initial_weights(start, task.architecture(model), train.seed)
    origin = None if start is None else Origin(os.path.abspath(start.path), checksum(start.path))
    config = dataclasses.replace(config, model=model, train=train, init_from=origin)
    run = create_run(path, corpus_stem(config.corpus[0]))
    return Trainer(run, config, task, start=weights, notices=notices)


def resumed_run(run: Run, config: RunConfig) -> Trainer:
    """A trainer for a run that exists; `config` is its own, but for budgets, outputs, the machine, moved corpus."""
    if "-" in config.corpus:
        raise CorpusError(
            f"{run.path}: its corpus came from standard input", "name the file that holds it, after --resume"
        )
    check_engine(config.train)
    if gone := [path for path in config.corpus if not os.path.exists(path)]:
        hint = f"where it has moved, name it: charrnn train --resume {run.path} FILE"
        raise CorpusError(f"{gone[0]}: the corpus is not there any more", hint)
    checkpoint = load_checkpoint(run.last)
    _refuse_another(run, config, checkpoint)
    check_workers(config.train)
    task = read_task(config, checkpoint)
    try:
        task.fit_batch(config.train.batch_size, config.train.seq_length)
    except UsageError as error:
        raise RunError(f"{run.config}: does not fit its corpus: {error.message}") from None
    check_memory(task.architecture(config.model), config.train)
    return Trainer(run, config, task, checkpoint=checkpoint)


def _refuse_another(run: Run, config: RunConfig, checkpoint: Checkpoint) -> None:
    """Raises RunError where a run's checkpoint was not saved under its configuration: one of the files is another's."""
    with refusing(run.last):
        stored = RunConfig.from_dict(todays_config(checkpoint.training["config"])).to_dict()
    mine = config.to_dict()
    for group, free in (("model", ()), ("text", ("val_file", "features")), ("train", WITH_RESUME)):
        for name, value in mine[group].items():
            if name not in free and stored[group][name] != value:
                what = f"{run.path}: {run.config.name} says {name} {value}, {run.last.name} {stored[group][name]}"
                raise RunError(what, "they are not of one run")


def corpus_stem(path: str) -> str:
    """What a run of this corpus is called."""
    return "stdin" if path == "-" else Path(path.removesuffix(".gz")).stem or "corpus"
