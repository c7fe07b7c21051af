"""A trial: one run, trained in a process of its own.

The parent writes the task, a line of JSON, to the child's standard input, and reads a line of JSON for each evaluation
and for the end from its standard output. When its standard input closes, because the parent wants it to stop or has
died, the child saves its run and ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.engines.processes import start_child
from charrnn.errors import CharRNNError, DivergedError
from charrnn.options import RunConfig
from charrnn.runs.directory import Run
from charrnn.runs.reports import read_result
from charrnn.training.events import Done, Evaluated, Step
from charrnn.training.start import new_run, resumed_run
from charrnn.training.trainer import Trainer


class Child:
    """The parent's side."""

    def __init__(self, task: dict[str, Any], tell: Callable[[dict[str, Any] | None], None], owner_fd: int) -> None:
        """task: run, config, unset (see `settled`), and how many jobs share the cores. `tell` is called, in a
        thread, with each message and at the end with None."""
        # The trial is its owner's until this process has ended, too.
        self.process = start_child("charrnn.sweep.child", fds=[owner_fd])
        self.done = False  # whether it has said how its run ended
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
        threading.Thread(target=self._listen, args=(tell,), daemon=True).start()

    def _listen(self, tell: Callable[[dict[str, Any] | None], None]) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                tell(json.loads(line))
        self.process.wait()
        self.stop()
        tell(None)

    def stop(self) -> None:
        """Asks it to save and end."""
        assert self.process.stdin
        self.process.stdin.close()


def main() -> None:
    """The child's side."""
    task = json.loads(os.fdopen(os.dup(0), "rb", buffering=0).readline() or "null")
    if task is None:
        return
    run = Run(Path(task["run"]))
    try:
        result = _finished(run)
        if result is None:
            _train(_trainer(run, RunConfig.from_dict(task["config"]), task["unset"], task["jobs"]))
        else:
            _send({"result": result})
    except DivergedError:
        pass  # told with the result
    except CharRNNError as error:
        _send({"error": type(error).__name__, "message": error.message, "hint": error.hint})


def _finished(run: Run) -> dict[str, Any] | None:
    """The result of a run that was over when its parent died."""
    result = read_result(run.result) if run.result.exists() else None
    return None if result is None or result["status"] == "interrupted" else result


def _trainer(run: Run, config: RunConfig, unset: list[str], jobs: int) -> Trainer:
    """Goes on with the run if it has begun."""
    if not run.config.exists():
        return new_run(run.path, config, unset=unset, jobs=jobs)
    begun = run.read_config()
    train = dataclasses.replace(begun.train, device=config.train.device)
    return resumed_run(run, dataclasses.replace(begun, corpus=config.corpus, train=train))


def _train(trainer: Trainer) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: trainer.interrupt(caught))
    threading.Thread(target=_watch, args=(trainer,), daemon=True).start()
    progress = 0.0
    for event in trainer.run():
        if isinstance(event, Step):
            progress = event.progress
        elif isinstance(event, Evaluated):
            _send({"progress": progress, "val_loss": event.metrics["val_loss"]})
        elif isinstance(event, Done):
            _send({"result": event.result})


def _watch(trainer: Trainer) -> None:
    os.read(0, 1)  # returns when the pipe closes
    trainer.interrupt(signal.SIGTERM)


def _send(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent has died: the run is saved all the same
        os.write(1, json.dumps(message).encode() + b"\n")
