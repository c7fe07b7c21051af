"""Where the time of a run goes: what each phase takes here, and how often it comes in a run."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charrnn.engines.numpy.team import Team
from charrnn.engines.numpy.worker import GRADIENT, REDUCE, UPDATE, VALIDATE, dropped
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import views
from charrnn.options import ModelOptions, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.tasks.base import Task
from charrnn.training.bench import training_step
from charrnn.training.defaults import resolve_options
from charrnn.training.trainer import EVALUATION_SHARE, EVALUATIONS, SAVE_SECONDS

NAMES = {GRADIENT: "gradient", REDUCE: "reduce", UPDATE: "update", VALIDATE: "evaluation"}
REPEATED = 3  # times that an evaluation, and a save, is timed


class Phase(NamedTuple):
    """A phase: its seconds each time, and how many times it comes in a run."""

    name: str
    seconds: float
    times: float


class TimedTeam(Team):
    """A team that notes how long its first process works in each phase, and how long it waits for the others."""

    def __init__(self, architecture: Architecture, train: TrainingOptions) -> None:
        super().__init__(architecture, train)
        self.spent: defaultdict[str, float] = defaultdict(float)  # seconds

    def run(self, phase: bytes) -> Array:
        start, waited = time.perf_counter(), self.spent["waiting"]
        results = super().run(phase)
        self.spent[NAMES[phase]] += time.perf_counter() - start - (self.spent["waiting"] - waited)
        return results

    def wait(self) -> None:
        start = time.perf_counter()
        super().wait()
        self.spent["waiting"] += time.perf_counter() - start


def measured_phases(task: Task, model: ModelOptions, train: TrainingOptions, seconds: float) -> list[Phase]:
    """Trains on the NumPy engine for `seconds`, evaluates and saves: the phases of a run of `train.max_minutes`.

    start: of the workers; batch: what a step reads; masks: of dropout, which each worker draws for itself; gradient:
    forward and backward, without those; waiting: for the slower worker, in all phases. It saves to where
    temporary files go.
    """
    model, train, _ = resolve_options(model, train, task)
    assert train.batch_size and train.seq_length and train.max_minutes
    architecture, chars = task.architecture(model), train.batch_size * train.seq_length
    stream = task.training(train.batch_size, train.seq_length, train.seed)
    validation = task.validation(train.batch_size, train.seq_length)
    began = time.perf_counter()
    with TimedTeam(architecture, train) as team:
        step = training_step(team, task)
        step()
        first, second = time.perf_counter() - began, _mean(step, 1)
        team.spent.clear()
        steps = max(1, round(seconds / second))
        whole = _mean(step, steps)
        parts = {name: team.spent[name] / steps for name in ("gradient", "waiting", "reduce", "update")}
        parts["batch"] = _mean(lambda: team.arena.put(0, stream.batch(0)), steps)
        parts["masks"] = _mean(lambda: dropped(architecture, train, 0, team.dtype), steps)
        parts["gradient"] -= parts["masks"]
        parts["other"] = whole - sum(parts.values())
        evaluation, evaluations = 0.0, 0.0
        total, start = train.max_minutes * 60, max(0.0, first - whole)
        if validation is not None:
            evaluation = _mean(lambda: team.validate(validation), REPEATED)
            enough = EVALUATION_SHARE * validation.predictions / chars  # steps
            evaluations = min(EVALUATIONS, (total - start) / (enough * whole + evaluation))
        with tempfile.TemporaryDirectory() as directory:
            weights = views(architecture.specs(), team.average)
            state = Checkpoint(architecture, task.metadata(), weights, team.tensors())
            save = _mean(lambda: save_checkpoint(Path(directory) / "last.safetensors", state), REPEATED)
    saves = max(evaluations, total / SAVE_SECONDS)
    seldom = [Phase("evaluation", evaluation, evaluations), Phase("save", save, saves), Phase("start", start, 1)]
    trained = (total - sum(phase.seconds * phase.times for phase in seldom)) / whole
    return [*(Phase(name, each, trained) for name, each in parts.items()), *seldom]


def _mean(work: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times
