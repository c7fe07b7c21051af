"""The child process of a sweep, which trains one run of a trial.

Parent and child exchange JSON objects, one per line. The parent writes one line to the child's standard input:

    {"run": directory, "config": RunConfig.to_dict(), "unset": options that the task may choose, "jobs": number of jobs,
     "owner": file of the parent as an owner of trials (see OwnerLocks)}

The child writes to its standard output:

    {"progress": used fraction of the budget from 0 to 1, "val_loss": loss}      after each evaluation
    {"result": content of result.json}                                   at the end of the run
    {"error": name of the exception class, "message": text, "hint": text}    if the run cannot be trained

The parent asks the child to save by writing an empty line, and to stop by closing the child's standard input. The
operating system closes it if the parent is killed. In both cases the child saves the run and ends.
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
from charrnn.runs.files import dump_json
from charrnn.runs.reports import read_result
from charrnn.sweep.locks import lock_child
from charrnn.system import handle_signals
from charrnn.training.events import Done, Evaluated, Step
from charrnn.training.start import new_run, resumed_run
from charrnn.training.trainer import Trainer

Message = dict[str, Any]


class Child:
    """Starts and stops a child process, and receives its messages. Used by the parent."""

    def __init__(self, request: Message, receive: Callable[[Message | None], None]) -> None:
        """Starts the process.

        receive: called in another thread with each message of the child, and with None when the child has ended.
        """
        self.process = start_child("charrnn.sweep.child")
        assert self.process.stdin
        with contextlib.suppress(OSError):  # the child has died
            self.process.stdin.write(dump_json(request).encode() + b"\n")
        threading.Thread(target=self._read_messages, args=(receive,), daemon=True).start()

    def _read_messages(self, receive: Callable[[Message | None], None]) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                receive(json.loads(line))
        self.process.wait()
        self.stop()
        receive(None)

    def stop(self) -> None:
        """Asks the child to save its run and end."""
        assert self.process.stdin
        self.process.stdin.close()

    def request_save(self) -> None:
        """Asks the child to save its run and continue."""
        assert self.process.stdin
        if not self.process.stdin.closed:
            with contextlib.suppress(OSError):  # the child has died
                self.process.stdin.write(b"\n")


def main() -> None:
    """Entry point of the child process: trains or resumes the requested run and sends messages to the parent."""
    request = json.loads(os.fdopen(os.dup(0), "rb", buffering=0).readline() or "null")
    if request is None:  # the parent was killed
        return
    lock = lock_child(Path(request["owner"]))
    if lock is None:
        return
    run = Run(Path(request["run"]))
    try:
        result = _read_final_result(run)
        if result is not None:
            _send({"result": result})
        else:
            _train(_new_or_resumed(run, request))
    except DivergedError:
        pass  # the result has been sent
    except CharRNNError as error:
        _send({"error": type(error).__name__, "message": error.message, "hint": error.hint})


def _read_final_result(run: Run) -> dict[str, Any] | None:
    """The result of a run that ended after its parent was killed. None if the run has not ended."""
    if not run.result.exists():
        return None
    result = read_result(run.result)
    return None if result["status"] == "interrupted" else result


def _new_or_resumed(run: Run, request: Message) -> Trainer:
    config = RunConfig.from_dict(request["config"])
    if not run.config.exists():
        return new_run(run.path, config, unset=request["unset"], jobs=request["jobs"])
    saved = run.read_config()
    train = dataclasses.replace(saved.train, device=config.train.device)
    return resumed_run(run, dataclasses.replace(saved, corpus=config.corpus, train=train))


def _train(trainer: Trainer) -> None:
    handle_signals(trainer.interrupt, trainer.request_save)
    threading.Thread(target=_obey_parent, args=(trainer,), daemon=True).start()
    progress = 0.0
    for event in trainer.run():
        if isinstance(event, Step):
            progress = event.progress
        elif isinstance(event, Evaluated):
            _send({"progress": progress, "val_loss": event.metrics["val_loss"]})
        elif isinstance(event, Done):
            _send({"result": event.result})


def _obey_parent(trainer: Trainer) -> None:
    while os.read(0, 1):
        trainer.request_save()
    trainer.interrupt(signal.SIGTERM)  # the parent has closed standard input, or has ended


def _send(message: Message) -> None:
    with contextlib.suppress(OSError):  # if the parent was killed, the run is saved nevertheless
        os.write(1, dump_json(message).encode() + b"\n")
