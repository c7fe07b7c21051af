"""Starts and resumes runs: makes a Trainer from options or from a run directory."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charrnn.engines.select import check_device
from charrnn.errors import CorpusError, RunError, UsageError
from charrnn.fields import flag
from charrnn.options import (
    ModelOptions,
    Origin,
    ResolvedTraining,
    RunConfig,
    TrainingOptions,
    absolute_paths,
    check_exclusive,
    select_options,
)
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, raising_run_error
from charrnn.runs.directory import Run, create_run, find_run
from charrnn.runs.files import checksum
from charrnn.system import shell_quote
from charrnn.tasks.registry import load_model, read_task
from charrnn.training.defaults import TASK_DEFAULTED, check_workers, resolve_options
from charrnn.training.memory import check_data_memory, check_memory
from charrnn.training.trainer import Trainer

BUDGETS = ("max_epochs", "max_steps", "max_minutes")
# Options that can be changed when a run is resumed.
RESUMABLE = (
    *BUDGETS,
    "patience",
    "workers",
    "device",
    "precision",
    "cache",
    "eval_every",
    "save_every",
    "sample_every",
)


def start_run(
    corpus: Sequence[str], options: dict[str, Any], *, run: Path | None = None, init_from: Path | None = None
) -> Trainer:
    """Creates a run from the given options of `charrnn train`, by name, and returns its trainer.

    run: the run directory (default: numbered). init_from: the run or checkpoint to start from.
    """
    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE")
    check_exclusive(options | {"init_from": init_from})
    config = RunConfig.from_options(corpus, options)
    source = load_model(init_from).checkpoint if init_from else None
    return new_run(run, config, source, unset=[name for name in TASK_DEFAULTED if name not in options])


def resume_run(path: Path, corpus: Sequence[str], options: dict[str, Any]) -> Trainer:
    """Returns a trainer that continues an existing run.

    corpus: the new paths of the corpus, if it has moved. options: the options that change, by name. Raises UsageError
    if an option cannot change, or if a given budget is already used up.
    """
    for name in options:
        if name not in RESUMABLE:
            raise UsageError(f"{flag(name)} cannot be changed with --resume", "to start a new run, see --init-from")
    budgets = [name for name in BUDGETS if name in options]
    trainer = _resume_with(Run(find_run(path)), corpus, options)
    if trainer.is_spent and budgets:
        given = ", ".join(f"{flag(name)} {options[name]:g}" for name in budgets)
        done = f"{trainer.state.step:,} steps and {trainer.state.seconds / 60:.1f} minutes"
        raise UsageError(f"{given}: the run has already used {done}", "give a larger budget")
    return trainer


def resume_same_run(path: Path, corpus: Sequence[str], options: dict[str, Any]) -> Trainer:
    """Returns a trainer that continues the run of an earlier call of `start_run` with the same options.

    Raises UsageError if an option that cannot change is not the same.
    """
    if not corpus:
        raise UsageError("no corpus to train on", "charrnn train FILE --run DIR --resume-or-start")
    run = Run(path)
    saved = run.read_config().to_options()
    given = RunConfig.from_options(corpus, options).to_options()
    for name in options:
        if name not in RESUMABLE and saved.get(name) != given.get(name):
            values = f"{saved.get(name, 'not set')} in this run, not {given.get(name, 'not set')}"
            problem = f"{path}: {flag(name)} is {values}"
            raise UsageError(problem, "give another --run, or the options with which this run was started")
    changes = {name: value for name, value in options.items() if name in RESUMABLE}
    return _resume_with(run, corpus, changes)


def _resume_with(run: Run, corpus: Sequence[str], changes: dict[str, Any]) -> Trainer:
    """The trainer that continues a run with some options changed. A budget replaces all budgets of the run."""
    config = run.read_config()
    if any(name in changes for name in BUDGETS):
        changes = dict.fromkeys(BUDGETS) | changes
    config = replace(config, train=TrainingOptions.from_dict(config.train.to_dict() | changes))
    if corpus:
        config = replace(config, corpus=absolute_paths(corpus))
    return resumed_run(run, config)


def new_run(
    path: Path | None,
    config: RunConfig,
    source: Checkpoint | None = None,
    *,
    unset: Collection[str] = (),
    jobs: int = 1,
) -> Trainer:
    """Reads the data, chooses values for all options and creates the run directory. Returns the trainer.

    path: the run directory (default: numbered). source: the model to start from (--init-from). unset, jobs: see
    `resolve_options`.
    """
    check_data_memory(config)
    task = read_task(config, source)
    model = config.model
    if source is not None:
        model = select_options(ModelOptions, source.architecture.to_dict())
        # The other options in TASK_DEFAULTED are taken from the other model.
        unset = set(unset) & {"weight_decay", "schedule", "keep_best"}
    resolved = resolve_options(model, config.train, task, unset=unset, jobs=jobs)
    train = resolved.train
    if train.patience and task.validation_pass(train.batch_size, train.seq_length) is None:
        raise UsageError("--patience needs validation data", "see --val-fraction and --val-file")
    architecture = task.architecture(resolved.model)
    initial = None
    origin = None
    if source is not None:
        initial = task.initial_parameters(source, architecture, train.seed)
        origin = Origin(os.path.abspath(source.path), checksum(source.path))
    config = replace(config, model=resolved.model, train=train, init_from=origin)
    run = create_run(path, corpus_stem(config.corpus[0]))
    return Trainer(run, config, task, architecture, initial=initial, notices=resolved.notices)


def resumed_run(run: Run, config: RunConfig) -> Trainer:
    """Returns a trainer that continues a run.

    config: the configuration of the run, in which only the options in RESUMABLE and the paths may have changed.
    """
    if "-" in config.corpus:
        problem = f"{run.path}: its corpus came from standard input"
        raise CorpusError(problem, "name a file with the same content after --resume RUN")
    check_device(config.train)
    missing = [path for path in config.corpus if not os.path.exists(path)]
    if missing:
        hint = f"if it has moved, give its new path: charrnn train --resume {shell_quote(str(run.path))} FILE"
        raise CorpusError(f"{missing[0]}: the corpus no longer exists", hint)
    checkpoint = load_checkpoint(run.last)
    _check_same_run(run, config, checkpoint)
    train = ResolvedTraining.from_options(config.train)
    check_workers(train.workers, train.batch_size)
    check_data_memory(config)
    task = read_task(config, checkpoint)
    try:
        task.fit_batch(train.batch_size, train.seq_length)
    except UsageError as error:
        raise RunError(f"{run.config}: is not valid for its corpus: {error.message}") from None
    # The run continues with the n-gram share of its checkpoint, even if new networks have another one.
    architecture = checkpoint.architecture
    expected = replace(task.architecture(config.model), ngram_share=architecture.ngram_share)
    if architecture != expected and checkpoint.training.get("corpus") == task.fingerprint:
        raise RunError(f"{run.last}: the architecture does not match the configuration of the run")
    check_memory(architecture, train)
    return Trainer(run, config, task, architecture, checkpoint=checkpoint)


def corpus_stem(path: str) -> str:
    """The file name of a corpus without suffix and without leading dots. The names of its runs start with it."""
    return "stdin" if path == "-" else Path(path.removesuffix(".gz")).stem.lstrip(".") or "corpus"


def _check_same_run(run: Run, config: RunConfig, checkpoint: Checkpoint) -> None:
    """Raises RunError if the checkpoint was not saved with the run's configuration."""
    with raising_run_error(run.last):
        saved = RunConfig.from_dict(checkpoint.training["config"]).to_dict()
    current = config.to_dict()
    may_differ = {"model": (), "data": ("val_file", "features"), "train": RESUMABLE}
    for group, names in may_differ.items():
        for name, value in current[group].items():
            if name not in names and saved[group][name] != value:
                values = f"{value} in {run.config.name} and {saved[group][name]} in {run.last.name}"
                raise RunError(f"{run.path}: {name} is {values}", "the files belong to different runs")
