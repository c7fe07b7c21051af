"""The training loop. It yields events and prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from charrnn.corpus.batch import BatchPass
from charrnn.engines.select import new_engine
from charrnn.errors import DivergedError, RunError, UsageError, WorkerError
from charrnn.models.architecture import Architecture, chrono_initialise
from charrnn.models.transfer import initial_parameters
from charrnn.nn import schedules
from charrnn.nn.arrays import Array
from charrnn.nn.optimizers import clip_factor
from charrnn.nn.parameters import named_views
from charrnn.options import ResolvedTraining, RunConfig
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.runs.directory import Run
from charrnn.runs.files import append_line, cut, dump_json
from charrnn.runs.reports import Metrics, Result
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.base import Task
from charrnn.training.budget import Budget
from charrnn.training.events import Done, Evaluated, Event, Sampled, Saved, Step, TrainingState, Validating

# Without --eval-every, the run is evaluated when it passes a milestone, which is a multiple of 1 / EVALUATIONS of its
# budget. The run must also have taken MIN_STEPS_PER_VALIDATION_STEP training steps per batch of the validation data
# since the last evaluation, so that validation takes at most about 4 % of the time. All batches have the same numbers
# of time steps and streams.
EVALUATIONS = 20
MIN_STEPS_PER_VALIDATION_STEP = 8
VALIDATION_STEP_COST = 0.4  # assumed time of a validation batch relative to a training step, until one is measured
# Without --save-every, the run is saved after SAVE_SECONDS and at each evaluation. SECONDS_PER_SAVE_SECOND times the
# duration of the last save must have passed since then, so that saves take at most 5 % of the time.
SAVE_SECONDS = 30.0
SECONDS_PER_SAVE_SECOND = 20
LEARNED_LOSS = 1e-3  # nats; the run ends when the training loss and the validation loss are lower
MAX_LOSS_RATIO = 10  # the run has diverged if the loss exceeds about this multiple of the loss of a random guess


class Trainer:
    """Trains one run, from its start or from its last checkpoint to its end."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        task: Task,
        architecture: Architecture,
        *,
        initial: Array | None = None,
        checkpoint: Checkpoint | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        """config: its training options must have values (see ResolvedTraining). initial: the flat parameters to start
        from (--init-from). checkpoint: the last one of the run, to resume from. notices: messages for the user."""
        self.run_directory = run
        self.config = config
        self.train = ResolvedTraining.from_options(config.train)
        self.task = task
        self.architecture = architecture
        self.initial = initial
        self.checkpoint = checkpoint
        self.notices = [*task.notices, *task.window_notices(self.train.seq_length), *notices]
        self.stream = task.training_stream(self.train.batch_size, self.train.seq_length, self.train.seed)
        self.validation = task.validation_pass(self.train.batch_size, self.train.seq_length, self.train.val_limit)
        self.budget = Budget.from_options(self.train, self.stream.epoch_steps)
        self.state = TrainingState() if checkpoint is None else self._saved_state(checkpoint)
        self.signal: int | None = None  # the first signal that interrupted the run
        self.save_requested = False
        self.max_loss = math.inf  # the run has diverged if the loss of a step is not lower
        if architecture.loss == "softmax":
            self.max_loss = MAX_LOSS_RATIO * (1 + math.log(architecture.output_size))
        self.weights_are_useless = False  # whether the loss of the last step reached max_loss
        self.samples_at_evaluations = False  # whether to make a sample at each evaluation without --sample-every

    def interrupt(self, signal: int) -> None:
        """Makes the trainer save and end the run after the current step. A signal handler can call this method."""
        if self.signal is None:
            self.signal = signal

    def request_save(self) -> None:
        """Makes the trainer save the run after the current step and continue. A signal handler can call this method."""
        self.save_requested = True

    @property
    def is_spent(self) -> bool:
        """Whether the budget is used up."""
        return self._progress() >= 1

    def run(self) -> Iterator[Event]:
        """Trains until the run ends. Raises StorageError, OutOfMemoryError, WorkerError and RunError, and DivergedError
        after the event Done."""
        with self.run_directory.lock(), new_engine(self.architecture, self.train) as engine:
            self.run_directory.remove_temporary_files()
            self.engine = engine
            engine.stream = self.stream
            if self.checkpoint is None:
                self._initialise()
            else:
                self._restore(self.checkpoint)
                self.checkpoint = None  # its arrays are no longer needed
            self.start_time = time.monotonic() - self.state.seconds
            # The checkpoint is written first, so that a run with a config.json can always be resumed. It has the same
            # state as the previous checkpoint, so an old result stays valid until the first step.
            self._save()
            self.run_directory.write_json(self.run_directory.config, self.config.to_dict())
            self.run_directory.remove_result()
            try:
                yield from self._train()
            except WorkerError:
                if engine.is_consistent:
                    self._save()
                raise
            except DivergedError:
                if np.isfinite(engine.parameters).all() and not self.weights_are_useless:
                    self._save()
                else:  # the result is that of the last checkpoint
                    self._restore(load_checkpoint(self.run_directory.last))
                yield self._finish("diverged")
                raise

    def _train(self) -> Iterator[Event]:
        train = self.train
        state = self.state
        self._update_seconds()
        # If the budget was raised, the run has passed fewer milestones than when it was saved.
        state.milestone = min(state.milestone, int(EVALUATIONS * self._progress()))
        self.first_step = state.step
        loop_start = time.monotonic()
        if state.step and self._evaluation_is_due(self._progress()):  # the run was interrupted during its validation
            yield from self._evaluate()
        while not (status := self._status()):
            loss = self._step()
            self._update_seconds()
            progress = self._progress()
            chars = (state.step - self.first_step) * self.stream.symbols_per_step
            rate = chars / max(time.monotonic() - loop_start, 1e-9)
            seconds_left = state.seconds * (1 / progress - 1) if progress else math.inf
            yield Step(state.step, loss, progress, rate, seconds_left)
            if self._evaluation_is_due(progress):
                yield from self._evaluate()
            if self._sample_is_due():
                yield self._sample()
            if self._save_is_due():
                yield self._save()
            self._update_seconds()
        if status != "interrupted" and state.evaluated_step != state.step:
            yield from self._evaluate()
            if state.evaluated_step != state.step:
                status = "interrupted"
            elif not train.sample_every and self._sample_is_due():
                yield self._sample()
        yield self._save()
        yield self._finish(status)

    def _update_seconds(self) -> None:
        self.state.seconds = time.monotonic() - self.start_time

    def _progress(self) -> float:
        """The used fraction of the budget. Time for the last evaluation is reserved."""
        state = self.state
        reserved = state.evaluation_seconds
        if not reserved and state.step and self.validation is not None:
            reserved = VALIDATION_STEP_COST * self.validation.steps * state.seconds / state.step
        return self.budget.progress(state.step, state.seconds, reserved)

    def _evaluation_is_due(self, progress: float) -> bool:
        state = self.state
        if state.evaluated_step == state.step:
            return False
        if self.train.eval_every:
            return state.step % self.train.eval_every == 0
        steps = state.step - max(0, state.evaluated_step)
        validation_steps = self.validation.steps if self.validation else 0
        is_milestone = int(EVALUATIONS * progress) != state.milestone
        return is_milestone and steps >= MIN_STEPS_PER_VALIDATION_STEP * validation_steps

    def _sample_is_due(self) -> bool:
        if self.train.sample_every:
            return self.state.step % self.train.sample_every == 0
        return self.samples_at_evaluations and self.state.evaluated_step == self.state.step

    def _save_is_due(self) -> bool:
        state = self.state
        every = self.train.save_every
        if self.save_requested or (every and state.step % every == 0):
            return True
        elapsed = time.monotonic() - self.save_time
        is_wanted = state.evaluated_step == state.step or (not every and elapsed > SAVE_SECONDS)
        return is_wanted and elapsed >= SECONDS_PER_SAVE_SECOND * self.save_seconds

    def _status(self) -> str | None:
        """The status with which the run ends now, or None if it continues."""
        if self.signal is not None:
            return "interrupted"
        if self.train.patience and self.state.stale_evaluations >= self.train.patience:
            return "early_stopped"
        return "early_stopped" if self._is_learned() else "completed" if self.is_spent else None

    def _is_learned(self) -> bool:
        """Whether the run was evaluated at this step and its losses are below LEARNED_LOSS.

        False until this process has taken a step, so that such a run can be resumed.
        """
        state = self.state
        if self.architecture.loss != "softmax" or not self.first_step < state.step == state.evaluated_step:
            return False
        losses = [state.train_loss, state.val.loss if self.validation else 0.0]
        return all(loss is not None and loss < LEARNED_LOSS for loss in losses)

    def _step(self) -> float:
        """Takes one training step and returns the loss. If the loss or the gradient is not finite, the weights do not
        change."""
        train = self.train
        state = self.state
        loss, norm = self.engine.gradient(state.step)
        self.weights_are_useless = loss >= self.max_loss
        if self.weights_are_useless or not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(f"the loss is {loss:g} and the gradient norm is {norm:g}")
        factor = schedules.factor(train.schedule, self._progress(), state.step, train.warmup_steps)
        state.learning_rate = train.learning_rate * factor
        self.engine.update(state.learning_rate, clip_factor(norm, train.clip_norm))
        state.loss_sum += loss
        state.loss_steps += 1
        state.step += 1
        state.grad_norm = norm
        return loss

    def _diverged(self, reason: str) -> DivergedError:
        hint = "the last good state is saved; try a lower --learning-rate"
        return DivergedError(f"diverged at step {self.state.step + 1}: {reason}", hint)

    def _evaluate(self) -> Iterator[Event]:
        """Scores the averaged weights, writes the metrics, and saves the weights if they are the best so far.

        If the run is interrupted during the validation, nothing changes.
        """
        state = self.state
        start_time = time.monotonic()
        is_best = True
        if self.validation is not None:
            means = yield from self._validate(self.validation)
            if means is None:
                return
            is_best = self._set_scores(means)
        if state.loss_steps:
            state.train_loss = state.loss_sum / state.loss_steps
        if is_best:
            state.best = state.val
            state.best_step = state.step
        state.milestone = int(EVALUATIONS * self._progress())
        state.evaluated_step = state.step
        state.loss_sum = 0.0
        state.loss_steps = 0
        chars = round(state.step * self.stream.symbols_per_step)
        seconds = time.monotonic() - self.start_time
        metrics = Metrics(
            step=state.step,
            epoch=state.step / self.stream.epoch_steps,
            chars=chars,
            seconds=round(seconds, 3),
            train_loss=state.train_loss,
            val=state.val,
            learning_rate=state.learning_rate,
            grad_norm=state.grad_norm,
            chars_per_second=round(chars / seconds, 1),
        ).to_dict()
        state.metrics_size = append_line(self.run_directory.metrics, dump_json(metrics))
        if is_best:
            save_checkpoint(self.run_directory.best, self._averaged_model())
        state.evaluation_seconds = time.monotonic() - start_time
        yield Evaluated(metrics, is_best)

    def _validate(self, validation: BatchPass) -> Generator[Event, None, Array | None]:
        """Scores the validation data. Returns the sums of `Engine.score`, divided by the number of predictions; None if
        the run was interrupted."""
        total = np.zeros(self.architecture.num_sums)
        for step in range(validation.steps):
            if self.signal is not None:
                return None
            total += self.engine.score(step, validation.batch(step))
            yield Validating((step + 1) / validation.steps)
        return total / validation.predictions

    def _set_scores(self, means: Array) -> bool:
        """Sets the scores of a validation. Returns whether they are the best so far."""
        state = self.state
        loss = float(means[0])
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss:g}")
        state.val = self.task.scores(means)
        is_best = state.val.is_better_than(state.best, self.train.keep_best)
        state.stale_evaluations = 0 if is_best else state.stale_evaluations + 1
        return is_best

    def _averaged_model(self) -> Checkpoint:
        """A checkpoint with the averaged weights only."""
        training = {"step": self.state.step}
        return Checkpoint(self.architecture, self.task.metadata(), self.engine.average, training=training)

    def _sample(self) -> Sampled:
        """Makes sample output and appends it to the samples of the run."""
        text = self.task.preview(self._averaged_model(), self.train.seed)
        line = dump_json({"step": self.state.step, "text": text})
        self.state.samples_size = append_line(self.run_directory.samples, line)
        return Sampled(text, self.state.step)

    def _save(self) -> Saved:
        """Saves the averaged weights and everything that a resumed run needs."""
        self.save_requested = False
        self._update_seconds()
        start_time = time.monotonic()
        training = {
            "state": asdict(self.state),
            "config": self.config.to_dict(),
            "corpus": self.task.fingerprint,
        }
        checkpoint = Checkpoint(
            self.architecture, self.task.metadata(), self.engine.average, self.engine.tensors(), training
        )
        save_checkpoint(self.run_directory.last, checkpoint)
        self.save_time = time.monotonic()
        self.save_seconds = self.save_time - start_time
        return Saved(self.state.step)

    def _initialise(self) -> None:
        """Sets the initial parameters."""
        parameters = self.initial
        if parameters is None:
            parameters = random_parameters(self.task, self.architecture, self.train)
        self.engine.load(parameters=parameters, average=parameters)

    def _saved_state(self, checkpoint: Checkpoint) -> TrainingState:
        try:
            return TrainingState.from_dict(checkpoint.training["state"])
        except (KeyError, TypeError, UsageError):
            problem = f"{self.run_directory.last}: contains no training state"
            raise RunError(problem, "to start a new run from its weights, use --init-from") from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restores the state of a checkpoint. Raises RunError if it does not match the data or the options."""
        path = self.run_directory.last
        if checkpoint.training.get("corpus") != self.task.fingerprint:
            problem = f"{path}: the corpus has changed since this run was started"
            remedy = f"restore it, or train on it from these weights: train FILE --init-from {self.run_directory.path}"
            raise RunError(problem, remedy)
        self.state = self._saved_state(checkpoint)
        saved = checkpoint.tensors
        required = self.engine.tensors()
        for name, array in required.items():
            if name not in saved or (saved[name].shape, saved[name].dtype) != (array.shape, array.dtype):
                raise RunError(f"{path}: the training state does not match the configuration of the run")
        self.engine.load(average=checkpoint.parameters, **{name: saved[name] for name in required})
        # A resumed run that was stopped early continues at least until its next evaluation.
        self.state.stale_evaluations = min(self.state.stale_evaluations, max(0, self.train.patience - 1))
        cut(self.run_directory.metrics, self.state.metrics_size)
        cut(self.run_directory.samples, self.state.samples_size)

    def _finish(self, status: str) -> Done:
        """Tests the best model if the run is complete, and writes result.json."""
        state = self.state
        chars = round(state.step * self.stream.symbols_per_step)
        test_metrics: dict[str, Any] | None = None
        if status in ("completed", "early_stopped"):
            test_metrics = self.task.evaluate_test(load_checkpoint(self.run_directory.best))
        result = Result(
            run=str(self.run_directory.path),
            status=status,
            steps=state.step,
            epochs=state.step / self.stream.epoch_steps,
            chars=chars,
            seconds=round(state.seconds, 3),
            chars_per_second=round(chars / max(state.seconds, 1e-9), 1),
            train_loss=state.train_loss,
            val=state.val,
            best_val_loss=state.best.loss,
            best_val_bpc=state.best.bpc,
            best_step=state.best_step,
            test_loss=None if test_metrics is None else test_metrics["loss"],
            test_metrics=test_metrics,
            parameters=self.architecture.num_parameters,
            vocabulary_size=self.task.vocabulary_size,
            workers=self.train.workers,
            config=self.config.to_dict(),
        ).to_dict()
        self.run_directory.write_json(self.run_directory.result, result)
        return Done(result)


def random_parameters(task: Task, architecture: Architecture, train: ResolvedTraining) -> Array:
    """The random parameters from which a run of a task starts."""
    parameters = initial_parameters(architecture, train.seed)
    if task.defaults.chrono_init:
        named = named_views(architecture.specs(), parameters)
        chrono_initialise(named, architecture, train.seq_length, random_generator(train.seed, Purpose.CHRONO_INIT))
    return parameters
