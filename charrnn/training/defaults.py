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
    chosen: dict[str, Any] = {}  # training options
    decays_weights = train.optimizer == "adamw"
    if train.weight_decay and not decays_weights:
        raise UsageError(f"--weight-decay needs --optimizer adamw, not {train.optimizer}")
    if "weight_decay" in unset and decays_weights:
        chosen["weight_decay"] = defaults.weight_decay
    for name in ("schedule", "keep_best"):
        if name in unset:
            chosen[name] = getattr(defaults, name)
    model = replace(
        model,
        cell=defaults.cell if "cell" in unset else model.cell,
        embedding_size=defaults.embedding_size if "embedding_size" in unset else model.embedding_size,
    )
    batch_size, seq_length = task.fit_batch(train.batch_size, train.seq_length)
    check_workers(train.workers, batch_size)
    chosen |= {"batch_size": batch_size, "seq_length": seq_length}
    chosen["workers"] = train.workers or default_workers(batch_size, jobs)
    notices = []
    if train.device == "cpu" and chosen["workers"] > available_cores():
        notices.append(f"--workers {chosen['workers']}: slower than --workers {available_cores()}, the number of cores")
    if train.max_steps is None and train.max_epochs is None and train.max_minutes is None:
        chosen["max_minutes"] = DEFAULT_MINUTES
    check_device(replace(train, batch_size=batch_size))
    # Four values are still missing. They depend on the architecture, but do not affect the speed or the budget.
    draft = ResolvedTraining(
        **train.to_dict() | chosen | {"learning_rate": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0, "val_limit": 0}
    )
    stream = task.training_stream(batch_size, seq_length, train.seed)
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
    dropout = 0.0
    if train.dropout is None or train.recurrent_dropout is None:
        dropout = choose_dropout(architecture, task, trained)
    val_limit = train.val_limit
    if val_limit is None:
        val_limit = int(min(MAX_VALIDATED, max(MIN_VALIDATED, trained / TRAINED_PER_VALIDATED)))
    notices += val_limit_notices(task, batch_size, seq_length, val_limit)
    resolved = replace(
        draft,
        learning_rate=choose_learning_rate(model, train, task),
        val_limit=val_limit,
        dropout=dropout if train.dropout is None else train.dropout,
        recurrent_dropout=(
            round(defaults.recurrent_dropout_scale * dropout, 2)
            if train.recurrent_dropout is None
            else train.recurrent_dropout
        ),
    )
    check_memory(architecture, resolved)
    return ResolvedOptions(model, resolved, notices)


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


def val_limit_notices(task: Task, batch_size: int, seq_length: int, limit: int) -> list[str]:
    """A message for the user if an evaluation scores only a part of the validation data."""
    whole = task.validation_pass(batch_size, seq_length)
    part = task.validation_pass(batch_size, seq_length, limit)
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
