"""Trains the trials of a study, each in a child process, with a given number of trials at the same time."""

from __future__ import annotations

import dataclasses
import queue
import signal
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charrnn.engines.select import job_devices
from charrnn.errors import CharRNNError, CorpusError, StorageError, UsageError
from charrnn.sweep.child import Child, Message
from charrnn.sweep.events import TrialEnded, TrialEvaluated
from charrnn.sweep.importance import option_importances
from charrnn.sweep.plan import Plan
from charrnn.sweep.storage import storage_errors
from charrnn.sweep.study import Study, Trial
from charrnn.sweep.trials import trial_rows

POLL_SECONDS = 0.5  # interval at which an idle job looks for a trial whose owner is dead

# Errors that end the sweep, because they concern all trials. Any other error concerns one trial.
FATAL_ERRORS: dict[str, type[CharRNNError]] = {
    error.__name__: error for error in (CorpusError, StorageError, UsageError)
}


@dataclass
class RunningTrial:
    """A trial whose child process is running."""

    trial: Trial
    child: Child
    device: str
    is_pruned: bool = False
    outcome: Message | None = None  # the child's last message: a result or an error


class SweepRunner:
    """Trains the trials of a study that this process owns."""

    def __init__(self, plan: Plan, folder: Path, storage: str | None = None) -> None:
        """Raises the errors of Plan.check and Study."""
        self.plan = plan
        self.folder = folder
        self.study = Study(plan, folder, storage, plan.check())
        self.messages: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()  # (trial number, message)
        self.running: dict[int, RunningTrial] = {}
        self.signal: int | None = None
        self.save_requested = False
        self.error: CharRNNError | None = None

    def interrupt(self, signal: int) -> None:
        """Asks all trials to save and stop. For signal handlers."""
        if self.signal is None:
            self.signal = signal

    def request_save(self) -> None:
        """Asks all trials to save and continue. For signal handlers."""
        self.save_requested = True

    def run(self) -> Iterator[TrialEvaluated | TrialEnded]:
        """Trains until the study has all its trials. Raises a fatal error after the running trials are saved."""
        with storage_errors(), self.study:
            try:
                while self._start_trials() or self.running:
                    if self._is_stopping:
                        self._stop_children()
                    if self.save_requested:
                        self.save_requested = False
                        for running in self.running.values():
                            running.child.request_save()
                    try:
                        number, message = self.messages.get(timeout=POLL_SECONDS)
                    except queue.Empty:
                        continue
                    yield from self._handle_message(number, message)
            finally:
                self._stop_children()
        if self.error is not None:
            raise self.error

    def trial_rows(self) -> list[dict[str, Any]]:
        return trial_rows(self.study.study, self.folder)

    def importances(self) -> dict[str, float]:
        completed = [row for row in self.trial_rows() if row["state"] == "completed"]
        return option_importances([(row["params"], row["value"]) for row in completed])

    def _start_trials(self) -> bool:
        """Starts a trial in each idle job. Returns False if this process has no trials to train, now or later."""
        while not self._is_stopping and len(self.running) < self.plan.jobs:
            trial = self.study.next_trial()
            if trial is None:
                return self.study.other_owners_exist()
            self._start_next_run(trial)
        return not self._is_stopping

    def _start_next_run(self, trial: Trial) -> None:
        repeat = len(trial.losses)
        config = self.plan.run_config(trial.params, repeat)
        busy_devices = [running.device for running in self.running.values()]
        device = min(job_devices(config.train.device), key=busy_devices.count)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, device=device))
        request = {
            "run": str(trial.runs[repeat].path),
            "config": config.to_dict(),
            "unset": self.plan.unset_options(trial.params),
            "jobs": self.plan.jobs,
            "owner": str(self.study.owners.owner_file.absolute()),
        }
        child = Child(request, partial(self._enqueue, trial.number))
        self.running[trial.number] = RunningTrial(trial, child, device)

    def _enqueue(self, number: int, message: Message | None) -> None:
        self.messages.put((number, message))

    def _handle_message(self, number: int, message: Message | None) -> Iterator[TrialEvaluated | TrialEnded]:
        """Handles a message of a trial's child, or None when the child has ended."""
        running = self.running[number]
        trial = running.trial
        if message is None:
            del self.running[number]
            state = self._finish_run(running)
            if state is not None:
                yield TrialEnded(number, state)
            elif not self._is_stopping:
                self._start_next_run(trial)
        elif "progress" in message:
            is_first_run = not trial.losses
            if is_first_run and trial.report_progress(message["progress"], message["val_loss"]) and self.plan.prune:
                running.is_pruned = True
                running.child.stop()
            yield TrialEvaluated(number, (len(trial.losses) + message["progress"]) / len(trial.runs))
        else:
            running.outcome = message

    def _finish_run(self, running: RunningTrial) -> str | None:
        """Saves how a run ended. Returns the state of its trial, or None if the trial has not ended.

        A trial has not ended if another run of it follows, or if it was interrupted and can be resumed.
        """
        trial = running.trial
        outcome = running.outcome
        if outcome is None:
            if self._is_stopping:
                return None
            trial.finish("failed", error="the training process died")
            return "failed"
        if "error" in outcome:
            return self._finish_with_error(trial, outcome)
        result = outcome["result"]
        if result["status"] == "interrupted":
            if not running.is_pruned:
                if not self._is_stopping:  # another program sent a signal to the child, for example at shutdown
                    self.interrupt(signal.SIGTERM)
                return None
            state = "pruned"
        elif result["status"] == "diverged":
            state = "diverged"
        else:
            trial.losses.append(result["best_val_loss"])
            if len(trial.losses) < len(trial.runs):
                return None
            state = "completed"
        loss = statistics.median(trial.losses) if state == "completed" else None
        trial.finish(state, loss, workers=result["workers"])
        return state

    def _finish_with_error(self, trial: Trial, outcome: Message) -> str | None:
        error_class = FATAL_ERRORS.get(outcome["error"], CharRNNError)
        error = error_class(outcome["message"], outcome["hint"])
        if isinstance(error, tuple(FATAL_ERRORS.values())):
            self.error = error
        if isinstance(error, CorpusError | StorageError):
            return None  # the trial can be resumed after the user has removed the cause
        trial.finish("failed", error=str(error))
        return "failed"

    @property
    def _is_stopping(self) -> bool:
        return self.signal is not None or self.error is not None

    def _stop_children(self) -> None:
        for running in self.running.values():
            running.child.stop()
