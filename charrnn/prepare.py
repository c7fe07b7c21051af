"""From what the user asked to a Trainer: what was left open is chosen, what cannot work is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint, load_checkpoint
from charrnn.config import RunConfig, TrainConfig
from charrnn.corpus import Vocabulary, extend_vocabulary, fit_batch, load_corpus
from charrnn.errors import CorpusError, UsageError
from charrnn.models.language import parameter_specs
from charrnn.optim import OPTIMIZERS
from charrnn.params import count, initialise, views
from charrnn.runs import Run, create_run
from charrnn.trainer import Trainer

Array = NDArray[Any]

DEFAULT_MINUTES = 5.0
STREAMS_PER_WORKER = 8  # fewer make the products so thin that another process does not pay


def choose(train: TrainConfig, pairs: int, jobs: int = 1) -> TrainConfig:
    """Fills in everything that was left open, for a text of so many pairs of a character and the next.

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
    rate = OPTIMIZERS[train.optimizer].learning_rate if train.learning_rate is None else train.learning_rate
    return dataclasses.replace(
        train,
        batch_size=batch_size,
        seq_length=seq_length,
        learning_rate=rate,
        workers=train.workers or default_workers(batch_size, jobs),
        max_minutes=DEFAULT_MINUTES if no_budget else train.max_minutes,
    )


def default_dropout(characters: int) -> float:
    """The less text, the sooner it is learnt by heart: 0.1 for a million characters, more for less, at most 0.5.

    Measured at 0.18 and 1 million characters with one layer of 256.
    """
    return round(min(0.5, 1e5 / characters), 2)


def default_workers(batch_size: int, jobs: int = 1) -> int:
    """The share of a job in the processors that this process may use, as far as the batch keeps them busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // jobs, batch_size // STREAMS_PER_WORKER))


def new_run(path: Path | None, config: RunConfig, start: Checkpoint | None = None, jobs: int = 1) -> Trainer:
    """Reads the corpus, then makes the run's directory. start: --init-from; jobs: how many runs share the cores."""
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
    if config.model.dropout is None:
        model = dataclasses.replace(config.model, dropout=default_dropout(len(corpus.train)))
        config = dataclasses.replace(config, model=model)
    config = dataclasses.replace(config, train=choose(config.train, len(corpus.train) - 1, jobs))
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
