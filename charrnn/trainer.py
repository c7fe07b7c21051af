"""The training loop. It yields events and never prints; the command line draws them, a program may do as it likes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import schedules
from charrnn.arena import Plan
from charrnn.budget import Budget
from charrnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.config import RunConfig, SampleConfig
from charrnn.corpus import BatchStream, Corpus
from charrnn.errors import DivergedError, RunError, UsageError, WorkerError
from charrnn.evaluate import bits
from charrnn.events import Done, Evaluated, Event, Progress, Sampled, Saved, Step
from charrnn.files import append_line, cut
from charrnn.models.language import parameter_specs
from charrnn.optim import clip_factor
from charrnn.parallel import Team
from charrnn.params import count, initialise, views
from charrnn.runs import Run
from charrnn.textmodel import TextModel

Array = NDArray[Any]

EVALUATIONS = 20  # in a budget, if --eval-every does not say,
EVALUATION_SHARE = 3  # but at least so many characters trained for one validated: about a tenth of the time
SAVE_SECONDS = 30.0  # between saves, if --save-every does not say
SAMPLE_LENGTH = 200


class Trainer:
    """One run, from its start or its last checkpoint to its end."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        corpus: Corpus,
        *,
        start: dict[str, Array] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """start: weights to begin with (--init-from); checkpoint: the run's last, to go on from (--resume).

        The settings of `config.train` must all be chosen.
        """
        self.run_directory, self.config, self.corpus = run, config, corpus
        self.start, self.checkpoint = start, checkpoint
        train = config.train
        assert train.batch_size and train.seq_length and train.workers and train.learning_rate is not None
        self.learning_rate, self.chars_per_step = train.learning_rate, train.batch_size * train.seq_length
        newline = corpus.vocabulary.newline if config.text.lines else None
        self.stream = BatchStream(corpus.train, train.batch_size, train.seq_length, newline)
        self.budget = Budget.of(train, self.chars_per_step, self.stream.pairs)
        self.specs = parameter_specs(config.model, len(corpus.vocabulary))
        self.plan = Plan(
            model=config.model,
            vocabulary_size=len(corpus.vocabulary),
            workers=train.workers,
            batch_size=train.batch_size,
            seq_length=train.seq_length,
            optimizer=train.optimizer,
            clip_value=train.clip_value,
            weight_decay=train.weight_decay,
            dtype="float32",
            val_length=len(corpus.val) if len(corpus.val) > 1 else 0,
            record_end=newline,
            seed=train.seed,
        )
        self.progress = Progress()
        self.signal: int | None = None

    def interrupt(self, signal: int) -> None:
        """Asks the run to save and stop after the current step. For signal handlers."""
        self.signal = signal

    def run(self) -> Iterator[Event]:
        """Trains to the end of the budget. Raises DivergedError, StorageError, WorkerError or RunError."""
        with self.run_directory.lock(), Team(self.plan) as team:
            self.team, self.arena = team, team.arena
            if self.plan.val_length:
                self.arena.val[:] = self.corpus.val
            if self.checkpoint is None:
                self._initialise()
            else:
                self._restore(self.checkpoint)
            self.began = time.monotonic() - self.progress.seconds
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
                if np.isfinite(self.arena.params).all():
                    self._save()
                else:  # a step of absurd size: back to what was saved before it
                    self._restore(load_checkpoint(self.run_directory.last))
                self._write_result("diverged")
                raise

    def _train(self) -> Iterator[Event]:
        config, progress = self.config.train, self.progress
        progress.milestone = min(progress.milestone, int(EVALUATIONS * self._share()))
        first_step, first_second = progress.step, time.monotonic()
        while not (status := self._status()):
            loss = self._step()
            now = time.monotonic()
            share = self._share()
            rate = (progress.step - first_step) * self.chars_per_step / max(now - first_second, 1e-9)
            yield Step(progress.step, loss, share, rate, progress.seconds * (1 / share - 1) if share else math.inf)
            if self._evaluation_is_due(share):
                yield self._evaluate()
            if config.sample_every and progress.step % config.sample_every == 0:
                yield Sampled(self._sample())
            evaluated = progress.evaluated_step == progress.step
            late = time.monotonic() - self.saved_at > SAVE_SECONDS
            if evaluated or (progress.step % config.save_every == 0 if config.save_every else late):
                yield self._save()
        if status != "interrupted" and progress.evaluated_step != progress.step:
            yield self._evaluate()
        yield self._save()
        yield Done(self._write_result(status))

    def _evaluation_is_due(self, share: float) -> bool:
        progress, every = self.progress, self.config.train.eval_every
        if every:
            return progress.step % every == 0
        trained = (progress.step - max(0, progress.evaluated_step)) * self.chars_per_step
        if int(EVALUATIONS * share) == progress.milestone or trained < EVALUATION_SHARE * self.plan.val_length:
            return False
        progress.milestone = int(EVALUATIONS * share)
        return True

    def _status(self) -> str | None:
        """Why the run is over, or None."""
        if self.signal is not None:
            return "interrupted"
        if self.config.train.patience and self.progress.stale_evaluations >= self.config.train.patience:
            return "early_stopped"
        return "completed" if self._share() >= 1 else None

    def _share(self) -> float:
        self.progress.seconds = time.monotonic() - self.began
        return self.budget.progress(self.progress.step, self.progress.seconds)

    def _step(self) -> float:
        """One step: gradient, clipping, update. The weights stay as they were if anything in it is not finite."""
        config, progress = self.config.train, self.progress
        self.team.set_batch(progress.step, *self.stream.batch(progress.step))
        loss, norm = self.team.gradient()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(f"the loss is {loss:g}, the norm of its gradient {norm:g}")
        share = self.budget.progress(progress.step, progress.seconds)
        factor = schedules.factor(config.schedule, share, progress.step, config.warmup_steps)
        progress.learning_rate = self.learning_rate * factor
        self.team.update(progress.learning_rate, clip_factor(norm, config.clip_norm))
        progress.step += 1
        progress.loss_sum += loss
        progress.loss_steps += 1
        progress.grad_norm = norm
        return loss

    def _diverged(self, what: str) -> DivergedError:
        hint = "the last good state is saved; try a lower --learning-rate"
        return DivergedError(f"diverged at step {self.progress.step + 1}: {what}", hint)

    def _evaluate(self) -> Evaluated:
        """Validates the averaged weights, notes the metrics, and keeps them if they are the best so far."""
        progress = self.progress
        if progress.loss_steps:
            progress.train_loss = progress.loss_sum / progress.loss_steps
        better = True
        if self.plan.val_length:
            val_loss = self.team.validate()
            if not math.isfinite(val_loss):
                raise self._diverged(f"the validation loss is {val_loss:g}")
            progress.val_loss = val_loss
            better = progress.best_val_loss is None or val_loss < progress.best_val_loss
            progress.stale_evaluations = 0 if better else progress.stale_evaluations + 1
            if better:
                progress.best_val_loss = val_loss
        if better:
            progress.best_step = progress.step
        progress.evaluated_step, progress.loss_sum, progress.loss_steps = progress.step, 0.0, 0
        chars = progress.step * self.chars_per_step
        seconds = time.monotonic() - self.began
        metrics = {
            "step": progress.step,
            "epoch": chars / self.stream.pairs,
            "chars": chars,
            "seconds": round(seconds, 3),
            "train_loss": progress.train_loss,
            "val_loss": progress.val_loss,
            "val_bpc": bits(progress.val_loss),
            "learning_rate": progress.learning_rate,
            "grad_norm": progress.grad_norm,
            "chars_per_second": round(chars / seconds, 1),
        }
        progress.metrics_size = append_line(self.run_directory.metrics, json.dumps(metrics))
        if better:
            save_checkpoint(self.run_directory.best, self._checkpoint())
        return Evaluated(metrics, better)

    def _checkpoint(self, *, training: bool = False) -> Checkpoint:
        """The averaged weights, and with `training` everything that a resume needs."""
        weights = views(self.specs, self.arena.average)
        vocabulary, lines = self.corpus.vocabulary, self.config.text.lines
        if not training:
            return Checkpoint(self.config.model, vocabulary, lines, weights, training={"step": self.progress.step})
        tensors = self._training_tensors(int(self.arena.current))
        state = {"progress": asdict(self.progress), "config": self.config.to_dict(), "corpus": self.corpus.fingerprint}
        return Checkpoint(self.config.model, vocabulary, lines, weights, tensors, state)

    def _training_tensors(self, state: int) -> dict[str, Array]:
        return {"params": self.arena.params, "moments": self.arena.moments, "state": self.arena.states[state]}

    def _save(self) -> Saved:
        self.progress.seconds = time.monotonic() - self.began
        save_checkpoint(self.run_directory.last, self._checkpoint(training=True))
        self.saved_at = time.monotonic()
        return Saved(self.progress.step)

    def _initialise(self) -> None:
        initialise(self.specs, self.arena.params, self.config.train.seed)
        for name, view in views(self.specs, self.arena.params).items():
            if self.start is not None:
                view[...] = self.start[name]
        self.arena.average[:] = self.arena.params

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Everything as it was saved in last.safetensors. Raises RunError if it does not belong here."""
        path = self.run_directory.last
        if checkpoint.training.get("corpus") != self.corpus.fingerprint:
            raise RunError(
                f"{path}: the corpus has changed since this run was started", "start a new run, or restore the text"
            )
        try:
            self.progress = Progress.from_dict(checkpoint.training["progress"])
        except (KeyError, TypeError, UsageError):
            raise RunError(f"{path}: it holds no training state", "to start from its weights use --init-from") from None
        for name, view in views(self.specs, self.arena.average).items():
            view[...] = checkpoint.weights[name]
        for name, target in self._training_tensors(0).items():
            if name not in checkpoint.tensors or checkpoint.tensors[name].shape != target.shape:
                raise RunError(f"{path}: its training state does not fit its configuration")
            target[...] = checkpoint.tensors[name]
        self.progress.stale_evaluations = min(self.progress.stale_evaluations, max(0, self.config.train.patience - 1))
        self.arena.current[...] = 0
        cut(self.run_directory.metrics, self.progress.metrics_size)

    def _sample(self) -> str:
        model = TextModel(self._checkpoint())
        seeds: list[int | None] = [self.config.train.seed]
        pieces = model.sample_many(model.vocabulary.encode(""), SAMPLE_LENGTH, seeds, SampleConfig())
        return "".join(text for ((text, _),) in pieces)

    def _write_result(self, status: str) -> dict[str, Any]:
        progress, chars = self.progress, self.progress.step * self.chars_per_step
        result = {
            "run": str(self.run_directory.path),
            "status": status,
            "steps": progress.step,
            "epochs": chars / self.stream.pairs,
            "chars": chars,
            "seconds": round(progress.seconds, 3),
            "chars_per_second": round(chars / max(progress.seconds, 1e-9), 1),
            "train_loss": progress.train_loss,
            "val_loss": progress.val_loss,
            "best_val_loss": progress.best_val_loss,
            "best_val_bpc": bits(progress.best_val_loss),
            "best_step": progress.best_step,
            "test_loss": self._test_loss() if status in ("completed", "early_stopped") else None,
            "parameters": count(self.specs),
            "vocabulary_size": self.plan.vocabulary_size,
            "workers": self.plan.workers,
            "config": self.config.to_dict(),
        }
        self.run_directory.write_json(self.run_directory.result, result)
        return result

    def _test_loss(self) -> float | None:
        """Of the best weights, on the test part of the corpus."""
        if len(self.corpus.test) < 2:
            return None
        model = TextModel(load_checkpoint(self.run_directory.best))
        return float(model.part_nats(self.corpus.test, self.plan.record_end).mean(dtype=np.float64))
