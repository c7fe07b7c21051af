"""The training loop. It yields events and never prints; the command line draws them, a program may do as it likes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from charrnn.engines.select import new_team
from charrnn.errors import DivergedError, RunError, UsageError, WorkerError
from charrnn.models.architecture import chrono_initialise
from charrnn.nn import schedules
from charrnn.nn.arrays import Array
from charrnn.nn.optimizers import clip_factor
from charrnn.nn.parameters import count, flatten, initialise, views
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.runs.directory import Run
from charrnn.runs.files import append_line, cut
from charrnn.runs.reports import Metrics, Result
from charrnn.tasks.base import Task
from charrnn.training.budget import Budget
from charrnn.training.events import Done, Evaluated, Event, Sampled, Saved, Standing, Step

EVALUATIONS = 20  # in a budget, if --eval-every does not say,
EVALUATION_SHARE = 8  # but at least so many characters trained for one validated: 4 % of the time
MEMORY = 5  # purpose of random numbers: a generator is keyed by (seed, purpose)
ABSURD = 10  # times the loss of one who guesses: the weights have run away, and learn nothing any more
SAVE_SECONDS = 30.0  # between saves, if --save-every does not say


class Trainer:
    """One run, from its start or its last checkpoint to its end."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        task: Task,
        *,
        start: dict[str, Array] | None = None,
        checkpoint: Checkpoint | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        """start: weights to begin with (--init-from); checkpoint: the run's last, to go on from (--resume); notices:
        what the user should know of what was chosen. The settings of `config.train` must all be chosen."""
        self.run_directory, self.config, self.task = run, config, task
        self.start, self.checkpoint = start, checkpoint
        train = config.train
        assert train.batch_size and train.seq_length and train.workers and train.learning_rate is not None
        self.notices = [*task.notices, *task.window_notices(train.seq_length), *notices]
        self.learning_rate, self.chars_per_step = train.learning_rate, train.batch_size * train.seq_length
        self.architecture = task.architecture(config.model)
        self.specs = self.architecture.specs()
        self.stream = task.training(train.batch_size, train.seq_length, train.seed)
        self.validation = task.validation(train.batch_size, train.seq_length)
        self.budget = Budget.of(train, self.stream.epoch_steps)
        self.standing = Standing() if checkpoint is None else self._stood(checkpoint)
        self.signal: int | None = None
        chooses = self.architecture.loss == "softmax"
        self.absurd = ABSURD * (1 + math.log(self.architecture.output_size)) if chooses else math.inf  # of a loss
        self.lost = False  # whether the weights are worth nothing any more, though finite

    def interrupt(self, signal: int) -> None:
        """Asks the run to save and stop after the current step. For signal handlers."""
        self.signal = signal

    def run(self) -> Iterator[Event]:
        """Trains to the end of the budget. Raises StorageError, OutOfMemoryError, WorkerError, RunError, and
        DivergedError after the result has been told."""
        with self.run_directory.lock(), new_team(self.architecture, self.config.train) as team:
            self.team = team
            team.stream = self.stream
            if self.checkpoint is None:
                self._initialise()
            else:
                self._restore(self.checkpoint)
            self.began = time.monotonic() - self.standing.seconds
            # In this order: a run with a config.json can be resumed.
            self._save()
            self.run_directory.write_json(self.run_directory.config, self.config.to_dict())
            try:
                yield from self._train()
            except WorkerError:
                if team.whole:
                    self._save()
                raise
            except DivergedError:
                if np.isfinite(team.params).all() and not self.lost:
                    self._save()
                else:  # a step of absurd size: back to what was saved before it
                    self._restore(load_checkpoint(self.run_directory.last))
                yield self._end("diverged")
                raise

    def _train(self) -> Iterator[Event]:
        config, standing = self.config.train, self.standing
        self._tick()
        standing.milestone = min(standing.milestone, int(EVALUATIONS * self._progress()))
        first_step, first_second = standing.step, time.monotonic()
        while not (status := self._status()):
            loss = self._step()
            self._tick()
            progress = self._progress()
            rate = (standing.step - first_step) * self.chars_per_step / max(time.monotonic() - first_second, 1e-9)
            left = standing.seconds * (1 / progress - 1) if progress else math.inf
            yield Step(standing.step, loss, progress, rate, left)
            if self._evaluation_is_due(progress):
                yield self._evaluate()
            if config.sample_every and standing.step % config.sample_every == 0:
                yield Sampled(self.task.sample(self._weights(), config.seed))
            evaluated = standing.evaluated_step == standing.step
            late = time.monotonic() - self.saved_at > SAVE_SECONDS
            if evaluated or (standing.step % config.save_every == 0 if config.save_every else late):
                yield self._save()
            self._tick()
        if status != "interrupted" and standing.evaluated_step != standing.step:
            yield self._evaluate()
        yield self._save()
        yield self._end(status)

    def _tick(self) -> None:
        self.standing.seconds = time.monotonic() - self.began

    @property
    def spent(self) -> bool:
        """Whether nothing of the budget is left."""
        return self._progress() >= 1

    def _progress(self) -> float:
        return self.budget.progress(self.standing.step, self.standing.seconds)

    def _evaluation_is_due(self, progress: float) -> bool:
        standing, every = self.standing, self.config.train.eval_every
        if every:
            return standing.step % every == 0
        trained = (standing.step - max(0, standing.evaluated_step)) * self.chars_per_step
        validated = self.validation.predictions if self.validation else 0
        return int(EVALUATIONS * progress) != standing.milestone and trained >= EVALUATION_SHARE * validated

    def _status(self) -> str | None:
        """Why the run is over, or None."""
        if self.signal is not None:
            return "interrupted"
        if self.config.train.patience and self.standing.stale_evaluations >= self.config.train.patience:
            return "early_stopped"
        return "completed" if self.spent else None

    def _step(self) -> float:
        """One step: gradient, clipping, update. The weights stay as they were if anything in it is not finite."""
        config, standing = self.config.train, self.standing
        loss, norm = self.team.gradient(standing.step)
        self.lost = loss >= self.absurd
        if self.lost or not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(f"the loss is {loss:g}, the norm of its gradient {norm:g}")
        factor = schedules.factor(config.schedule, self._progress(), standing.step, config.warmup_steps)
        standing.learning_rate = self.learning_rate * factor
        self.team.update(standing.learning_rate, clip_factor(norm, config.clip_norm))
        standing.loss_sum += loss
        standing.loss_steps += 1
        standing.step += 1
        standing.grad_norm = norm
        return loss

    def _diverged(self, what: str) -> DivergedError:
        hint = "the last good state is saved; try a lower --learning-rate"
        return DivergedError(f"diverged at step {self.standing.step + 1}: {what}", hint)

    def _evaluate(self) -> Evaluated:
        """Validates the averaged weights, notes the metrics, and keeps them if they are the best so far."""
        standing = self.standing
        if standing.loss_steps:
            standing.train_loss = standing.loss_sum / standing.loss_steps
        better = True
        if self.validation is not None:
            means = self.team.validate(self.validation)
            val_loss = float(means[0])
            if not math.isfinite(val_loss):
                raise self._diverged(f"the validation loss is {val_loss:g}")
            standing.val_loss, counted = val_loss, self.task.metrics(means[1:])
            standing.val_accuracy, standing.val_rmse = counted.get("val_accuracy"), counted.get("val_rmse")
            better = standing.best_val_loss is None or val_loss < standing.best_val_loss
            standing.stale_evaluations = 0 if better else standing.stale_evaluations + 1
            if better:
                standing.best_val_loss = val_loss
        if better:
            standing.best_step = standing.step
        standing.milestone = int(EVALUATIONS * self._progress())
        standing.evaluated_step, standing.loss_sum, standing.loss_steps = standing.step, 0.0, 0
        chars, seconds = standing.step * self.chars_per_step, time.monotonic() - self.began
        metrics = Metrics(
            step=standing.step,
            epoch=standing.step / self.stream.epoch_steps,
            chars=chars,
            seconds=round(seconds, 3),
            train_loss=standing.train_loss,
            val_loss=standing.val_loss,
            val_bpc=self.task.bits(standing.val_loss),
            val_accuracy=standing.val_accuracy,
            val_rmse=standing.val_rmse,
            learning_rate=standing.learning_rate,
            grad_norm=standing.grad_norm,
            chars_per_second=round(chars / seconds, 1),
        ).to_dict()
        standing.metrics_size = append_line(self.run_directory.metrics, json.dumps(metrics))
        if better:
            save_checkpoint(self.run_directory.best, self._weights())
        return Evaluated(metrics, better)

    def _weights(self) -> Checkpoint:
        """The averaged weights, to validate and to sample from."""
        weights = views(self.specs, self.team.average)
        return Checkpoint(self.architecture, self.task.metadata(), weights, training={"step": self.standing.step})

    def _save(self) -> Saved:
        """Those and everything that a resume needs."""
        self._tick()
        standing, task = asdict(self.standing), self.task
        training = {"standing": standing, "config": self.config.to_dict(), "corpus": task.fingerprint}
        weights = views(self.specs, self.team.average)
        whole = Checkpoint(self.architecture, task.metadata(), weights, self.team.tensors(), training)
        save_checkpoint(self.run_directory.last, whole)
        self.saved_at = time.monotonic()
        return Saved(self.standing.step)

    def _initialise(self) -> None:
        seed, flat = self.config.train.seed, np.empty(count(self.specs), np.float32)
        named = views(self.specs, flat)
        initialise(self.specs, flat, seed)
        if self.start is not None:
            for name, view in named.items():
                view[...] = self.start[name]
        elif self.task.defaults.chrono_init:
            steps = self.config.train.seq_length or 1
            chrono_initialise(named, self.architecture, steps, np.random.default_rng((seed, MEMORY)))
        self.team.load(params=flat, average=flat)

    def _stood(self, checkpoint: Checkpoint) -> Standing:
        """Where the run stood when it was saved. Raises RunError."""
        try:
            return Standing.from_dict(checkpoint.training["standing"])
        except (KeyError, TypeError, UsageError):
            path = self.run_directory.last
            raise RunError(f"{path}: it holds no training state", "to start from its weights use --init-from") from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Everything as it was saved in last.safetensors. Raises RunError if it does not belong here."""
        path = self.run_directory.last
        if checkpoint.training.get("corpus") != self.task.fingerprint:
            raise RunError(
                f"{path}: the corpus has changed since this run was started", "start a new run, or restore the text"
            )
        self.standing = self._stood(checkpoint)
        saved, needed = checkpoint.tensors, self.team.tensors()
        for name, array in needed.items():
            if name not in saved or (saved[name].shape, saved[name].dtype) != (array.shape, array.dtype):
                raise RunError(f"{path}: its training state does not fit its configuration")
        average = flatten(self.specs, checkpoint.weights)
        self.team.load(average=average, **{name: saved[name] for name in needed})
        self.standing.stale_evaluations = min(self.standing.stale_evaluations, max(0, self.config.train.patience - 1))
        cut(self.run_directory.metrics, self.standing.metrics_size)

    def _end(self, status: str) -> Done:
        """The result, written down."""
        standing, chars = self.standing, self.standing.step * self.chars_per_step
        tested: dict[str, Any] | None = None
        if status in ("completed", "early_stopped"):
            tested = self.task.test(load_checkpoint(self.run_directory.best))
        result = Result(
            run=str(self.run_directory.path),
            status=status,
            steps=standing.step,
            epochs=standing.step / self.stream.epoch_steps,
            chars=chars,
            seconds=round(standing.seconds, 3),
            chars_per_second=round(chars / max(standing.seconds, 1e-9), 1),
            train_loss=standing.train_loss,
            val_loss=standing.val_loss,
            best_val_loss=standing.best_val_loss,
            best_val_bpc=self.task.bits(standing.best_val_loss),
            best_step=standing.best_step,
            val_accuracy=standing.val_accuracy,
            val_rmse=standing.val_rmse,
            test_loss=None if tested is None else tested["loss"],
            test_metrics=tested,
            parameters=self.architecture.parameters,
            vocabulary_size=self.task.vocabulary_size,
            workers=self.config.train.workers or 1,
            config=self.config.to_dict(),
        ).to_dict()
        self.run_directory.write_json(self.run_directory.result, result)
        return Done(result)
