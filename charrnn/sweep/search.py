"""The sweep: trials in processes of their own, as many at a time as there are jobs, until the study is full."""

from __future__ import annotations

import dataclasses
import queue
import signal
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import charrnn.errors
from charrnn.engines.select import devices_of_jobs
from charrnn.errors import CharRNNError, CorpusError, StorageError, UsageError
from charrnn.sweep.child import Child
from charrnn.sweep.events import TrialEnded, TrialEvaluated
from charrnn.sweep.importance import importances
from charrnn.sweep.space import Plan
from charrnn.sweep.storage import storage_errors
from charrnn.sweep.study import Study, Trial, rows
from charrnn.tasks.registry import read_task
from charrnn.training.defaults import resolve_options

POLL_SECONDS = 0.5  # how often an idle job looks for a trial that another process has left


def check(plan: Plan) -> str:
    """The fingerprint of the corpus. Raises what would end a trial, before there is one."""
    if "-" in plan.corpus:
        raise CorpusError("standard input can be read only once, by one trial", "name a file")
    points = plan.points()
    first = next(points)
    task = read_task(dataclasses.replace(plan.run_config(first), corpus=plan.corpus))
    if task.validation(1, 1) is None:
        raise UsageError("a sweep compares validation losses: there is no text to validate on", "see --val-fraction")
    for point in (first, *points):
        config = plan.run_config(point)
        resolve_options(config.model, config.train, task, unset=plan.unset(point), jobs=plan.jobs)
    return task.fingerprint


class Search:
    """One process's work on a study."""

    def __init__(self, plan: Plan, folder: Path, storage: str | None = None) -> None:
        """Raises what `check` and Study raise."""
        self.plan, self.folder = plan, folder
        self.study = Study(plan, folder, storage, check(plan))
        self.inbox: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
        self.running: dict[int, tuple[Trial, Child, str]] = {}  # the last: the device
        self.signal: int | None = None
        self.error: CharRNNError | None = None

    def interrupt(self, signal: int) -> None:
        """Asks all trials to save and stop. For signal handlers."""
        self.signal = signal

    def run(self) -> Iterator[TrialEvaluated | TrialEnded]:
        """Trains until the study has its trials. Raises the error that ended it, once the trials are saved."""
        with storage_errors(), self.study:
            try:
                while self._fill() or self.running:
                    if self._stopping:
                        self._stop()
                    try:
                        number, message = self.inbox.get(timeout=POLL_SECONDS)
                    except queue.Empty:
                        continue
                    yield from self._hear(number, message)
            finally:
                self._stop()
        if self.error is not None:
            raise self.error

    def rows(self) -> list[dict[str, Any]]:
        return rows(self.study.study, self.folder)

    def importances(self) -> dict[str, float]:
        return importances([(row["params"], row["value"]) for row in self.rows() if row["state"] == "completed"])

    def _fill(self) -> bool:
        """Gives each idle job a trial, if there is one. False if there is none and will be none."""
        while not self._stopping and len(self.running) < self.plan.jobs:
            trial = self.study.next_trial()
            if trial is None:
                return self.study.others_running()
            self._start(trial)
        return not self._stopping

    def _start(self, trial: Trial) -> None:
        """The next run of a trial."""
        repeat = len(trial.losses)
        config, busy = self.plan.run_config(trial.params, repeat), [device for *_, device in self.running.values()]
        device = min(devices_of_jobs(config.train.device), key=busy.count)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, device=device))
        task = {
            "run": str(trial.runs[repeat].path),
            "config": config.to_dict(),
            "unset": self.plan.unset(trial.params),
            "jobs": self.plan.jobs,
        }
        child = Child(task, partial(self._put, trial.number), self.study.owner_fd)
        self.running[trial.number] = trial, child, device

    def _put(self, number: int, message: dict[str, Any] | None) -> None:
        self.inbox.put((number, message))

    def _hear(self, number: int, message: dict[str, Any] | None) -> Iterator[TrialEvaluated | TrialEnded]:
        """What a child said; None when it has ended."""
        trial, child, _ = self.running[number]
        if message is None:
            del self.running[number]
            if trial.heard or self._stopping:
                return
            if child.done:
                self._start(trial)
            else:
                trial.tell("failed", error="its process died")
                yield TrialEnded(number, "failed")
        elif "progress" in message:
            if not trial.losses and trial.report(message["progress"], message["val_loss"]):
                trial.pruned = True
                child.stop()
            yield TrialEvaluated(number, (len(trial.losses) + message["progress"]) / len(trial.runs))
        else:
            child.done = True
            state = self._error(trial, message) if "error" in message else self._result(trial, message["result"])
            trial.heard = state is not None
            if state is not None:
                yield TrialEnded(number, state)

    def _result(self, trial: Trial, result: dict[str, Any]) -> str | None:
        """Tells the study how a trial ended; None if it goes on, now with another seed or another time."""
        state = "completed"
        if result["status"] == "interrupted":
            if not trial.pruned:
                self.interrupt(self.signal or signal.SIGTERM)  # somebody stopped the child: the machine goes down
                return None
            state = "pruned"
        elif result["status"] == "diverged":
            state = "diverged"
        else:
            trial.losses.append(result["best_val_loss"])
            if len(trial.losses) < len(trial.runs):
                return None
        loss = statistics.median(trial.losses) if state == "completed" else None
        trial.tell(state, loss=loss, workers=result["workers"])
        return state

    def _error(self, trial: Trial, message: dict[str, Any]) -> str | None:
        """A mistake of the user's ends the sweep; what befell one run fails that trial."""
        error: CharRNNError = getattr(charrnn.errors, message["error"])(message["message"], message["hint"])
        if isinstance(error, CorpusError | StorageError | UsageError):
            self.error = error
        if isinstance(error, CorpusError | StorageError):  # the trial can go on once that is mended
            return None
        trial.tell("failed", error=str(error))
        return "failed"

    @property
    def _stopping(self) -> bool:
        return self.signal is not None or self.error is not None

    def _stop(self) -> None:
        for _, child, _ in list(self.running.values()):
            child.stop()
