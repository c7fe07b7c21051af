"""What was left open is chosen: for the data, the budget and the machine at hand."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection

from charrnn.engines.select import check_engine
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.options import ModelOptions, TrainingOptions
from charrnn.tasks.base import Task
from charrnn.training.budget import Budget
from charrnn.training.memory import check_memory
from charrnn.training.sizing import SIZES, affordable_size, chars_per_second

DEFAULT_MINUTES = 5.0
TASK_DEFAULTED = (
    "cell",
    "hidden_size",
    "embedding_size",
    "weight_decay",
)  # the task may know better than their defaults
SMALL_SIZES = (16, 32, 48)  # of a hidden layer, for very little data
REFERENCE_SIZE = 256  # for which the optimizers' learning rates are; a larger layer takes a proportionally lower one
STREAMS_PER_WORKER = 8  # fewer make the products so thin that another process does not pay


def resolve_options(
    model: ModelOptions, train: TrainingOptions, task: Task, *, unset: Collection[str] = (), jobs: int = 1
) -> tuple[ModelOptions, TrainingOptions, list[str]]:
    """The settings with nothing left open, and what the user should know of the choices.

    unset: which of TASK_DEFAULTED the user did not give; jobs: how many runs share the cores. Raises UsageError for what does
    not fit the data or each other.
    """
    defaults, notices = task.defaults, list[str]()
    if "cell" in unset:
        model = dataclasses.replace(model, cell=defaults.cell)
    if "embedding_size" in unset:
        model = dataclasses.replace(model, embedding_size=defaults.embedding_size)
    if "weight_decay" in unset and train.optimizer == "adamw":
        train = dataclasses.replace(train, weight_decay=defaults.weight_decay)
    train = _fitted(train, task, jobs)
    assert train.batch_size and train.seq_length and train.workers
    step_size = train.batch_size * train.seq_length
    budget = Budget.of(train, task.training(train.batch_size, train.seq_length, train.seed).epoch_steps)
    if "hidden_size" in unset:
        model = _sized(model, train, task, budget)
        if model.hidden_size != ModelOptions.hidden_size:
            fits = "fits the data"
            if budget.steps is None:
                fits = "fits these minutes on this machine"
            notices.append(f"hidden size {model.hidden_size}: {fits}; --hidden-size overrules")
    if train.dropout is None or train.recurrent_dropout is None:
        architecture = task.architecture(model)
        trained = math.inf if budget.steps is None else float(budget.steps * step_size)
        if budget.seconds is not None:
            trained = min(trained, budget.seconds * chars_per_second(architecture, train))
        usual = default_dropout(architecture.weights_in_products, task.size, trained / task.size)
        rate = round(defaults.dropout * usual, 2)
        train = dataclasses.replace(
            train,
            dropout=rate if train.dropout is None else train.dropout,
            recurrent_dropout=rate if train.recurrent_dropout is None else train.recurrent_dropout,
        )
    if train.learning_rate is None:
        peak = (
            defaults.learning_rate_scale
            * OPTIMIZERS[train.optimizer].learning_rate
            * min(1.0, REFERENCE_SIZE / model.hidden_size)
        )
        train = dataclasses.replace(train, learning_rate=round(peak, 6))
    check_memory(task.architecture(model), train)
    return model, train, notices


def _sized(model: ModelOptions, train: TrainingOptions, task: Task, budget: Budget) -> ModelOptions:
    """With the hidden size for the minutes, if they are the only budget, and for the data."""

    def of_size(size: int) -> Architecture:
        return task.architecture(dataclasses.replace(model, hidden_size=size))

    size = model.hidden_size
    if budget.steps is None and budget.seconds is not None:
        size = affordable_size(of_size, train, budget.seconds)
    most = task.defaults.max_weights_per_symbol * task.size
    while size > SMALL_SIZES[0] and of_size(size).recurrent_weights > most:
        size = max(smaller for smaller in (*SMALL_SIZES, *SIZES) if smaller < size)
    return dataclasses.replace(model, hidden_size=size)


def _fitted(train: TrainingOptions, task: Task, jobs: int) -> TrainingOptions:
    """Batch, workers and budget, on an engine that is there."""
    batch_size, seq_length = task.fit_batch(train.batch_size, train.seq_length)
    train = dataclasses.replace(train, batch_size=batch_size, seq_length=seq_length)
    check_workers(train)
    if train.weight_decay and train.optimizer != "adamw":
        raise UsageError(f"--weight-decay goes with --optimizer adamw, not {train.optimizer}")
    no_budget = train.max_steps is None and train.max_epochs is None and train.max_minutes is None
    train = dataclasses.replace(
        train,
        workers=train.workers or default_workers(batch_size, jobs),
        max_minutes=DEFAULT_MINUTES if no_budget else train.max_minutes,
    )
    check_engine(train)
    return train


def check_workers(train: TrainingOptions) -> None:
    """Raises UsageError if there are more workers than streams."""
    if train.workers is not None and train.workers > (train.batch_size or 1):
        what = f"--workers {train.workers}: more than the batch has streams"
        raise UsageError(what, f"the largest that fits is {train.batch_size}")


def default_dropout(weights: int, characters: int, epochs: float) -> float:
    """The more weights there are for a character of the text, and the more often it is read, the sooner it is learnt by
    heart. On a million characters 0.13 for 256 units and 2 minutes, 0.2 for 384 and 5 minutes, 0.4 for 512 and 30, as
    measured on two cores; also on texts of 0.2 and 3 million."""
    return round(min(0.4, 0.12 * math.sqrt(weights / characters) * math.cbrt(epochs)), 2)


def default_workers(batch_size: int, jobs: int = 1) -> int:
    """The share of a job in the processors that this process may use, as far as the batch keeps them busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // jobs, batch_size // STREAMS_PER_WORKER))
