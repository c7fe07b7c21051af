"""Sends the progress of a run to TensorBoard, Weights & Biases or MLflow.

Everything is logged against the steps of the run. A resumed run continues its log: the identifiers of its logs are in
`logs.json` in the run directory.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from charrnn.errors import UsageError, needs_extra
from charrnn.training.events import Done, Evaluated, Event, Sampled
from charrnn.training.trainer import Trainer

PROJECT = "charrnn"  # default name of the W&B project and of the MLflow experiment
ALLOWED = re.compile(r"[^\w\-. /]")  # other characters are not allowed in the names of metrics
MLFLOW_DEFAULTS = {  # environment variables. With these, a server that does not answer delays a run only by seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
INIT_SECONDS = 20  # the longest time that W&B may take to start


class Logger(ABC):
    """A log of a run in a tracker."""

    library: str  # the module to import

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.run = trainer.run_directory
        self.module = self.load_library()

    def show(self, event: Event) -> None:
        match event:
            case Evaluated(metrics):
                self.log_metrics(_numbers(metrics), metrics["step"])
            case Sampled(text, step):
                self.log_text(text, step)
            case Done(result):
                self.end(result["status"], _numbers(result))

    def options(self) -> dict[str, str]:
        """The options of the run as text, with the name of the run and its number of parameters."""
        config = self.trainer.config
        names = {"run": self.run.path.name, "corpus": " ".join(config.corpus)}
        counts = {"parameters": self.trainer.architecture.num_parameters}
        return {name: str(value) for name, value in (names | config.to_options() | counts).items()}

    def known_id(self) -> str | None:
        """The identifier of the log of a resumed run. None for a new log."""
        return self._ids().get(self.library)

    def keep_id(self, identifier: str) -> None:
        self.run.write_json(self.run.logs, self._ids() | {self.library: identifier})

    def _ids(self) -> dict[str, str]:
        ids: dict[str, str] = json.loads(self.run.logs.read_text("utf-8")) if self.run.logs.exists() else {}
        return ids

    @staticmethod
    @abstractmethod
    def load_library() -> Any:
        """Imports the library."""

    @abstractmethod
    def begin(self) -> None:
        """Opens the log and logs the options of the run."""

    @abstractmethod
    def log_metrics(self, values: dict[str, float], step: int) -> None: ...

    @abstractmethod
    def log_text(self, text: str, step: int) -> None: ...

    @abstractmethod
    def end(self, status: str, values: dict[str, float]) -> None:
        """Closes the log. values: the numbers of the result."""


class TensorBoard(Logger):
    """Event files in the directory `tensorboard` of the run, written by tensorboardX."""

    library = "tensorboardX"

    @staticmethod
    def load_library() -> Any:
        import tensorboardX

        return tensorboardX

    def begin(self) -> None:
        step = self.trainer.state.step
        # A resumed run repeats the steps after its last checkpoint. `purge_step` makes TensorBoard discard what was
        # logged for them. The name of a file contains the time in seconds. The suffix makes the names of two files that
        # are created in the same second different.
        self.writer = self.module.SummaryWriter(
            str(self.run.path / "tensorboard"), purge_step=step + 1, filename_suffix=f".step-{step}"
        )
        rows = "\n".join(f"| {name} | {value} |" for name, value in self.options().items())
        self.writer.add_text("options", f"| option | value |\n|---|---|\n{rows}", step)

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def log_text(self, text: str, step: int) -> None:
        self.writer.add_text("sample", "\n".join(f"    {line}" for line in text.split("\n")), step)  # as code

    def end(self, status: str, values: dict[str, float]) -> None:
        self.writer.add_text("status", status, self.trainer.state.step)
        self.writer.close()


class WandB(Logger):
    """A run of Weights & Biases. Without a login, and without WANDB_MODE, it is kept offline in the run directory."""

    library = "wandb"

    @staticmethod
    def load_library() -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        return wandb

    def begin(self) -> None:
        mode = os.environ.get("WANDB_MODE") or (
            "online" if self.module.login(prompt=False, verify=False) else "offline"
        )
        self.log = self.module.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.run.path.name,
            id=self.known_id(),
            resume="allow",
            dir=str(self.run.path),
            mode=mode,
            config=self.options(),
            settings=self.module.Settings(silent=True, console="off", init_timeout=INIT_SECONDS),
        )
        self.keep_id(self.log.id)
        self.log.define_metric("*", step_metric="step")  # the steps of W&B cannot be repeated, as after a resume

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.log.log({"step": step, **values})

    def log_text(self, text: str, step: int) -> None:
        self.log.log({"step": step, "sample": text})

    def end(self, status: str, values: dict[str, float]) -> None:
        self.log.summary.update({"status": status, **values})
        self.log.finish(exit_code=0 if status != "diverged" else 1)


class MLflow(Logger):
    """A run of MLflow, in the experiment `charrnn` of the tracking server that MLFLOW_TRACKING_URI names."""

    library = "mlflow"

    @staticmethod
    def load_library() -> Any:
        for name, value in MLFLOW_DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow

        return mlflow

    def begin(self) -> None:
        self.client = self.module.MlflowClient()
        known = self.known_id()
        if known is not None:
            self.id = known
            self.client.update_run(self.id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        experiment_id = self.client.create_experiment(name) if experiment is None else experiment.experiment_id
        self.id = self.client.create_run(experiment_id, run_name=self.run.path.name).info.run_id
        self.keep_id(self.id)
        params = [self.module.entities.Param(name, value) for name, value in self.options().items()]
        self.client.log_batch(self.id, params=params)

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self.module.entities.Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def log_text(self, text: str, step: int) -> None:
        self.client.log_text(self.id, text, f"samples/step-{step:09d}.txt")

    def end(self, status: str, values: dict[str, float]) -> None:
        self.client.set_tag(self.id, "status", status)
        ended = {"diverged": "FAILED", "interrupted": "KILLED"}.get(status, "FINISHED")
        self.client.set_terminated(self.id, ended)


LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check_trackers(names: Sequence[str]) -> None:
    """Raises UsageError for a name of `--log` that is unknown, or whose library is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"--log {name}: not one of {', '.join(LOGGERS)}")
        with needs_extra("loggers", LOGGERS[name].library):
            LOGGERS[name].load_library()


def make_loggers(names: Sequence[str], trainer: Trainer) -> dict[str, Logger]:
    """The loggers of a run, by option. names: must have been checked with `check_trackers`."""
    return {f"--log {name}": LOGGERS[name](trainer) for name in dict.fromkeys(names)}


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """The finite numbers of an evaluation or a result, with one name for each column of a series."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name == "val_rmse":
            numbers |= {f"{name}/{ALLOWED.sub('_', column)}": number for column, number in value.items()}
        elif isinstance(value, int | float) and name != "step":
            numbers[name] = value
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
