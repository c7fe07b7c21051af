"""From what the user asked to a Trainer: what was left open is chosen, what cannot work is refused."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint, load_checkpoint
from charrnn.config import ModelConfig, RunConfig, TrainConfig
from charrnn.corpus import Vocabulary, extend_vocabulary, fit_batch, load_corpus
from charrnn.errors import CorpusError, UsageError
from charrnn.models.language import parameter_specs
from charrnn.optim import OPTIMIZERS
from charrnn.pace import affordable_size, chars_per_second, parameters_in_products
from charrnn.params import count, initialise, views
from charrnn.runs import Run, create_run
from charrnn.trainer import Trainer

Array = NDArray[Any]

DEFAULT_MINUTES = 5.0
REFERENCE_SIZE = 256  # for which the optimizers' learning rates are; a larger layer takes a proportionally lower one
STREAMS_PER_WORKER = 8  # fewer make the products so thin that another process does not pay


def choose(train: TrainConfig, pairs: int, jobs: int = 1) -> TrainConfig:
    """Fills in what was left open, for a text of so many pairs of a character and the next.

    jobs: how many runs share the cores. Raises UsageError for what does not fit.
    """
    batch_size, seq_length = fit_batch(pairs, train.batch_size, train.seq_length)
    if train.workers is not None and train.workers > batch_size:
        raise UsageError(
            f"--workers {train.workers}: more than the batch has streams", f"the largest that fits is {batch_size}"
        )
    if train.weight_decay and train.optimizer != "adamw":
        raise UsageError(f"--weight-decay goes with --optimizer adamw, not {train.optimizer}")
    no_budget = train.max_steps is None and train.max_epochs is None and train.max_minutes is None
    return dataclasses.replace(
        train,
        batch_size=batch_size,
        seq_length=seq_length,
        workers=train.workers or default_workers(batch_size, jobs),
        max_minutes=DEFAULT_MINUTES if no_budget else train.max_minutes,
    )


def default_dropout(weights: int, characters: int, epochs: float) -> float:
    """The more weights there are for a character of the text, and the more often it is read, the sooner it is learnt by
    heart. On a million characters 0.13 for 256 units and 2 minutes, 0.2 for 384 and 5 minutes, 0.4 for 512 and 30, as
    measured on two cores; also on texts of 0.2 and 3 million."""
    return round(min(0.4, 0.12 * math.sqrt(weights / characters) * math.cbrt(epochs)), 2)


def default_workers(batch_size: int, jobs: int = 1) -> int:
    """The share of a job in the processors that this process may use, as far as the batch keeps them busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // jobs, batch_size // STREAMS_PER_WORKER))


def choose_for_size(
    model: ModelConfig, train: TrainConfig, vocabulary_size: int, characters: int
) -> tuple[ModelConfig, TrainConfig]:
    """Fills in what depends on the sizes of model and text: dropout of both kinds and the learning rate."""
    if model.dropout is None or model.recurrent_dropout is None:
        weights = parameters_in_products(model, vocabulary_size)
        epochs = trained_characters(model, train, vocabulary_size, characters) / characters
        rate = default_dropout(weights, characters, epochs)
        model = dataclasses.replace(
            model,
            dropout=rate if model.dropout is None else model.dropout,
            recurrent_dropout=rate if model.recurrent_dropout is None else model.recurrent_dropout,
        )
    if train.learning_rate is None:
        peak = OPTIMIZERS[train.optimizer].learning_rate * min(1.0, REFERENCE_SIZE / model.hidden_size)
        train = dataclasses.replace(train, learning_rate=round(peak, 6))
    return model, train


def trained_characters(model: ModelConfig, train: TrainConfig, vocabulary_size: int, characters: int) -> float:
    """How many characters the budget will see trained; where minutes count, an estimate."""
    assert train.batch_size and train.seq_length and train.workers
    limits: list[float] = []
    if train.max_steps is not None:
        limits.append(train.max_steps * train.batch_size * train.seq_length)
    if train.max_epochs is not None:
        limits.append(train.max_epochs * characters)
    if train.max_minutes is not None:
        limits.append(train.max_minutes * 60 * chars_per_second(model, vocabulary_size, train.workers))
    return min(limits)


def fitted_size(model: ModelConfig, train: TrainConfig, vocabulary_size: int) -> int:
    """The hidden size for the minutes that there are; the model's own if another budget may end the run."""
    if train.max_minutes is None or train.max_steps is not None or train.max_epochs is not None:
        return model.hidden_size
    assert train.workers
    return affordable_size(model, vocabulary_size, train.workers, train.max_minutes * 60)


def new_run(
    path: Path | None, config: RunConfig, start: Checkpoint | None = None, *, fit_size: bool = False, jobs: int = 1
) -> Trainer:
    """Reads the corpus, then makes the run's directory. start: --init-from; fit_size: the hidden size is open;
    jobs: how many runs share the cores."""
    corpus = load_corpus(config.corpus, config.text)
    weights = None
    if start is not None:
        old = start.vocabulary
        if old.is_bytes != config.text.bytes:
            raise UsageError(
                "--init-from: one of the two has bytes for a vocabulary, the other characters", "see --bytes"
            )
        corpus = extend_vocabulary(corpus, old)
        config = dataclasses.replace(config, model=dataclasses.replace(start.model, dropout=config.model.dropout))
        weights = transfer(start, corpus.vocabulary, config.train.seed)
    if config.train.patience and len(corpus.val) < 2:
        raise UsageError("--patience: there is no text to validate on", "see --val-fraction and --val-file")
    model, train = config.model, choose(config.train, len(corpus.train) - 1, jobs)
    if fit_size and start is None:
        size = fitted_size(model, train, len(corpus.vocabulary))
        if size != model.hidden_size:
            notice = f"hidden size {size}: fits {train.max_minutes:g} minutes of this machine; --hidden-size overrules"
            corpus = dataclasses.replace(corpus, notices=(*corpus.notices, notice))
        model = dataclasses.replace(model, hidden_size=size)
    model, train = choose_for_size(model, train, len(corpus.vocabulary), len(corpus.train))
    config = dataclasses.replace(config, model=model, train=train)
    return Trainer(create_run(path, corpus_stem(config.corpus[0])), config, corpus, start=weights)


def resumed_run(run: Run, config: RunConfig) -> Trainer:
    """A trainer for a run that exists; `config` is its own, but for budgets, outputs, workers, moved corpus."""
    if "-" in config.corpus:
        raise CorpusError(
            f"{run.path}: its corpus came from standard input", "name the file that holds it, after --resume"
        )
    checkpoint = load_checkpoint(run.last)
    corpus = extend_vocabulary(load_corpus(config.corpus, config.text), checkpoint.vocabulary)
    return Trainer(run, config, corpus, checkpoint=checkpoint)


def corpus_stem(path: str) -> str:
    """What a run of this corpus is called."""
    return "stdin" if path == "-" else Path(path.removesuffix(".gz")).stem or "corpus"


def transfer(start: Checkpoint, vocabulary: Vocabulary, seed: int) -> dict[str, Array]:
    """The weights of `start` for a vocabulary that holds its own and more; what is new gets fresh initial values."""
    specs = parameter_specs(start.model, len(vocabulary))
    flat = np.empty(count(specs), np.float32)
    initialise(specs, flat, seed)
    named = views(specs, flat)
    places = np.searchsorted(vocabulary.codes, start.vocabulary.codes)
    for name, view in named.items():
        old = start.weights[name]
        if old.shape == view.shape:
            view[...] = old
        elif old.shape[0] == view.shape[0]:
            view[:, places] = old  # a one-hot input's columns
        else:
            view[places] = old  # rows of the embedding or the head
    return named
