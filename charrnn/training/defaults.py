"""Chooses values for options that the user did not give, for the task, the data, the budget and the machine."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.engines.select import check_device
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.options import ModelOptions, ResolvedTraining, TrainingOptions
from charrnn.system import available_cores
from charrnn.tasks.base import Task
from charrnn.training.budget import Budget
from charrnn.training.memory import check_memory
from charrnn.training.sizing import SIZES, affordable_size, chars_per_second, default_dropout

DEFAULT_MINUTES = 5.0
# Options whose default in options.py is replaced by the default of the task, or by a chosen value, if the user did not
# give them.
TASK_DEFAULTED = ("cell", "hidden_size", "embedding_size", "weight_decay", "schedule", "keep_best")
SMALL_SIZES = (16, 32, 48)  # hidden sizes for very little data
REFERENCE_SIZE = 256  # above this hidden size, the default learning rate is inversely proportional to the hidden size
# The default of --val-limit is the number of symbols trained on in the whole run, divided by TRAINED_PER_VALIDATED,
# between MIN_VALIDATED and MAX_VALIDATED. An evaluation takes about a third of the time of training on as many symbols,
# so one evaluation takes about 4 % of the time of a run, and less of the time of a long run.
MAX_VALIDATED = 1_000_000
MIN_VALIDATED = 200_000
TRAINED_PER_VALIDATED = 8
MIN_STREAMS_PER_WORKER = 8  # with fewer streams the matrix products are too small for another worker to help


@dataclass(frozen=True)
class ResolvedOptions:
    """Options after all values have been chosen, and messages for the user about the choices."""

    model: ModelOptions
    train: ResolvedTraining
    notices: list[str]


def resolve_options(
    model: ModelOptions, train: TrainingOptions, task: Task, *, unset: Collection[str] = (), jobs: int = 1
) -> ResolvedOptions:
    """Chooses a value for each option that has none.

    unset: the options of TASK_DEFAULTED that the user did not give. jobs: the number of runs that share the cores.
    Raises UsageError if options do not fit the data or each other, OutOfMemoryError if the memory is too small.
    """
    defaults = task.defaults
    model = replace(
        model,
        cell=defaults.cell if "cell" in unset else model.cell,
        embedding_size=defaults.embedding_size if "embedding_size" in unset else model.embedding_size,
    )
    draft = draft_training(train, task, unset, jobs)
    notices = []
    if draft.device == "cpu" and draft.workers > available_cores():
        notices.append(f"--workers {draft.workers}: slower than --workers {available_cores()}, the number of cores")
    stream = task.training_stream(draft.batch_size, draft.seq_length, draft.seed)
    budget = Budget.from_options(draft, stream.epoch_steps)
    if "hidden_size" in unset:
        size = choose_hidden_size(model, draft, task, budget)
        if size != model.hidden_size:
            reason = "fits the data" if budget.steps is not None else "fits the data and the time on this machine"
            notices.append(f"hidden size {size}: {reason}; --hidden-size overrides it")
        model = replace(model, hidden_size=size)
    architecture = task.architecture(model)
    if draft.keep_best == "accuracy" and task.scores(np.zeros(architecture.num_sums)).accuracy is None:
        raise UsageError("--keep-best accuracy: the predictions of this task have no accuracy", "use --keep-best loss")
    trained = trained_symbols(architecture, draft, budget, stream.symbols_per_step)
    resolved = complete_training(draft, train, task, model, trained)
    notices += val_limit_notices(task, resolved)
    check_memory(architecture, resolved)
    return ResolvedOptions(model, resolved, notices)


def draft_training(train: TrainingOptions, task: Task, unset: Collection[str], jobs: int) -> ResolvedTraining:
    """Chooses the training options that do not depend on the size of the network.

    The others (learning rate, dropout rates, limit of the validation) are 0. They affect neither speed nor budget.
    """
    defaults = task.defaults
    chosen: dict[str, Any] = {"learning_rate": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0, "val_limit": 0}
    decays_weights = train.optimizer == "adamw"
    if train.weight_decay and not decays_weights:
        raise UsageError(f"--weight-decay needs --optimizer adamw, not {train.optimizer}")
    if "weight_decay" in unset and decays_weights:
        chosen["weight_decay"] = defaults.weight_decay
    for name in ("schedule", "keep_best"):
        if name in unset:
            chosen[name] = getattr(defaults, name)
    batch_size, seq_length = task.fit_batch(train.batch_size, train.seq_length)
    check_workers(train.workers, batch_size)
    chosen |= {"batch_size": batch_size, "seq_length": seq_length}
    chosen["workers"] = train.workers or default_workers(batch_size, jobs)
    if train.max_steps is None and train.max_epochs is None and train.max_minutes is None:
        chosen["max_minutes"] = DEFAULT_MINUTES
    check_device(replace(train, batch_size=batch_size))
    return ResolvedTraining(**train.to_dict() | chosen)


def complete_training(
    draft: ResolvedTraining, train: TrainingOptions, task: Task, model: ModelOptions, trained: float
) -> ResolvedTraining:
    """Chooses the training options that depend on the size of the network.

    draft: the result of `draft_training`. train: the user's options. trained: the number of symbols that the run is
    trained on.
    """
    dropout = train.dropout
    recurrent_dropout = train.recurrent_dropout
    if dropout is None or recurrent_dropout is None:
        default = choose_dropout(task.architecture(model), task, trained)
        if dropout is None:
            dropout = default
        if recurrent_dropout is None:
            recurrent_dropout = round(task.defaults.recurrent_dropout_scale * default, 2)
    val_limit = train.val_limit
    if val_limit is None:
        val_limit = int(min(MAX_VALIDATED, max(MIN_VALIDATED, trained / TRAINED_PER_VALIDATED)))
    return replace(
        draft,
        learning_rate=choose_learning_rate(model, train, task),
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        val_limit=val_limit,
    )


def choose_hidden_size(model: ModelOptions, train: ResolvedTraining, task: Task, budget: Budget) -> int:
    """Chooses the hidden size for the amount of data and, if there is only a time budget, for the time."""

    def architecture_of(size: int) -> Architecture:
        return task.architecture(replace(model, hidden_size=size))

    size = model.hidden_size
    if budget.steps is None and budget.seconds is not None:
        size = affordable_size(architecture_of, train, budget.seconds)
    max_weights = task.defaults.max_weights_per_symbol * task.training_size
    while size > SMALL_SIZES[0] and architecture_of(size).recurrent_weights > max_weights:
        size = max(smaller for smaller in (*SMALL_SIZES, *SIZES) if smaller < size)
    return size


def trained_symbols(
    architecture: Architecture, train: ResolvedTraining, budget: Budget, symbols_per_step: float
) -> float:
    """The number of symbols that a run can be trained on within its budget, as an estimate."""
    symbols = math.inf
    if budget.steps is not None:
        symbols = budget.steps * symbols_per_step
    if budget.seconds is not None:
        symbols = min(symbols, budget.seconds * chars_per_second(architecture, train))
    return symbols


def val_limit_notices(task: Task, train: ResolvedTraining) -> list[str]:
    """A message for the user if an evaluation scores only a part of the validation data."""
    whole = task.validation_pass(train.batch_size, train.seq_length)
    part = task.validation_pass(train.batch_size, train.seq_length, train.val_limit)
    if whole is None or part is None or part.predictions >= whole.predictions:
        return []
    sizes = f"{part.predictions:,} of {whole.predictions:,} predictions, spread evenly"
    return [f"an evaluation scores {sizes}; --val-limit 0 scores all"]


def choose_dropout(architecture: Architecture, task: Task, trained: float) -> float:
    """The dropout rate for the number of weights, the amount of data and the number of epochs.

    trained: the number of symbols that the run is trained on.
    """
    epochs = trained / task.training_size
    usual = default_dropout(architecture.weights_in_products, task.training_size, epochs)
    return round(task.defaults.dropout_scale * usual, 2)


def choose_learning_rate(model: ModelOptions, train: TrainingOptions, task: Task) -> float:
    """The given peak learning rate, or the optimizer's default, scaled for the task and the hidden size."""
    if train.learning_rate is not None:
        return train.learning_rate
    scale = task.defaults.learning_rate_scale * min(1.0, REFERENCE_SIZE / model.hidden_size)
    return round(OPTIMIZERS[train.optimizer].learning_rate * scale, 6)


def check_workers(workers: int | None, batch_size: int) -> None:
    """Raises UsageError if there are more workers than streams."""
    if workers is not None and workers > batch_size:
        problem = f"--workers {workers}: more workers than streams in a batch"
        raise UsageError(problem, f"the largest that fits is {batch_size}")


def default_workers(batch_size: int, jobs: int = 1) -> int:
    """One worker for each core that this process may use, shared by `jobs` runs; fewer if the batch is small."""
    return max(1, min(available_cores() // jobs, batch_size // MIN_STREAMS_PER_WORKER))
