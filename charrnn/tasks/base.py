"""What training asks of a task: batches, an architecture, the words for its metrics, and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions
from charrnn.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class TaskDefaults:
    """What suits a task where the user left it open, as measured."""

    cell: str = "lstm"
    embedding_size: int = 0
    weight_decay: float = 0.0
    learning_rate_scale: float = 1.0  # the learning rate, as a share of the optimizer's
    dropout: float = 1.0  # of both kinds, as a share of what is usual
    max_weights_per_symbol: float = math.inf  # recurrent weights at most, for each symbol to train on
    chrono_init: bool = False  # whether what was read many steps ago decides: see `remember`


class Stream(Protocol):
    """The batches of training, without end: each a function of its step."""

    @property
    def epoch_steps(self) -> float:
        """Steps in which all that there is to train on is read once."""

    def batch(self, step: int) -> Batch: ...


class Pass(Protocol):
    """The batches in which every prediction is scored once."""

    @property
    def steps(self) -> int: ...

    @property
    def predictions(self) -> int:
        """How many are scored."""

    def batch(self, step: int) -> Batch: ...


class Task(Protocol):
    """A task with its data, read and split."""

    defaults: TaskDefaults
    fingerprint: str  # of the data: a run goes on with the same alone

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know of the data."""

    @property
    def size(self) -> int:
        """Symbols to train on."""

    @property
    def vocabulary_size(self) -> int: ...

    def describe(self) -> str:
        """The data in a line."""

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint must say of the task, as plain JSON."""

    def architecture(self, model: ModelOptions) -> Architecture: ...

    def initial_weights(self, start: Checkpoint, architecture: Architecture, seed: int) -> dict[str, Array]:
        """Those of another model, and fresh ones for what is new."""

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        """(B, T): those given, the others fitted to the data. Raises UsageError if the given ones do not fit."""

    def training(self, batch_size: int, seq_length: int, seed: int) -> Stream: ...

    def validation(self, batch_size: int, seq_length: int) -> Pass | None:
        """None where there is nothing to validate on."""

    def window_notices(self, seq_length: int) -> Sequence[str]:
        """What the user should know of the data in steps of such a length."""

    def metrics(self, tally: Array) -> dict[str, Any]:
        """What a validation shows besides the loss, from the means of the loss's tally: val_accuracy, or val_rmse."""

    def bits(self, loss: float | None) -> float | None:
        """A loss in bits, where that has a meaning."""

    def sample(self, checkpoint: Checkpoint, seed: int) -> str:
        """What the model makes of it, to look at while it trains."""

    def test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """What `eval` says of the part kept for the end, its loss at least; None where there is none."""
