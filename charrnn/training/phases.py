"""Measures how long each phase of a run takes, and estimates how often it occurs."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charrnn.engines.masks import draw_step_masks
from charrnn.engines.numpy.engine import NumpyEngine
from charrnn.engines.numpy.worker import GRADIENT, REDUCE, SCORE, UPDATE
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions, ResolvedTraining, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.tasks.base import Task
from charrnn.training.bench import training_step
from charrnn.training.defaults import resolve_options
from charrnn.training.trainer import EVALUATIONS, MIN_STEPS_PER_VALIDATION_STEP, SAVE_SECONDS, SECONDS_PER_SAVE_SECOND

NAMES = {GRADIENT: "gradient", REDUCE: "reduce", UPDATE: "update", SCORE: "evaluation"}
REPEATS = 3  # timings of an evaluation and of a save


class Phase(NamedTuple):
    """A phase of a run."""

    name: str
    seconds: float  # duration
    times: float  # occurrences in a run


class TimedEngine(NumpyEngine):
    """Measures how long worker 0, the parent process, works in each phase and waits for the other workers."""

    def __init__(self, architecture: Architecture, train: ResolvedTraining) -> None:
        super().__init__(architecture, train)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, phase: bytes) -> Array:
        start = time.perf_counter()
        waited_before = self.seconds["waiting"]
        results = super().run(phase)
        waited = self.seconds["waiting"] - waited_before
        self.seconds[NAMES[phase]] += time.perf_counter() - start - waited
        return results

    def wait(self) -> None:
        start = time.perf_counter()
        super().wait()
        self.seconds["waiting"] += time.perf_counter() - start


def measure_phases(task: Task, model: ModelOptions, train: TrainingOptions, seconds: float) -> list[Phase]:
    """Trains on the NumPy engine for `seconds`, evaluates and saves. Returns the phases of a run of `max_minutes`:

    gradient    forward and backward pass, without drawing masks
    waiting     for slower workers, in all phases
    reduce      sum of the workers' gradients
    update      optimizer step
    batch       preparing a batch
    masks       drawing the dropout masks, in each worker
    other       rest of the step
    evaluation  validation
    save        saving a checkpoint, here to the directory of temporary files
    start       starting the workers
    """
    resolved = resolve_options(model, train, task)
    options = resolved.train
    assert options.max_minutes is not None
    run_seconds = options.max_minutes * 60
    architecture = task.architecture(resolved.model)
    stream = task.training_stream(options.batch_size, options.seq_length, options.seed)
    validation = task.validation_pass(options.batch_size, options.seq_length, options.val_limit)
    start_time = time.perf_counter()
    with TimedEngine(architecture, options) as engine:
        step = training_step(engine, task)
        step()
        first_step_seconds = time.perf_counter() - start_time  # with the start of the workers
        timed_steps = max(1, round(seconds / _mean_seconds(step, 1)))
        engine.seconds.clear()
        step_seconds = _mean_seconds(step, timed_steps)
        parts = {name: engine.seconds[name] / timed_steps for name in ("gradient", "waiting", "reduce", "update")}
        parts["batch"] = _mean_seconds(lambda: engine.arena.put(0, stream.batch(0)), timed_steps)
        parts["masks"] = _mean_seconds(lambda: draw_step_masks(architecture, options, 0, engine.dtype), timed_steps)
        parts["gradient"] -= parts["masks"]
        parts["other"] = step_seconds - sum(parts.values())
        start_seconds = max(0.0, first_step_seconds - step_seconds)
        evaluation_seconds = 0.0
        evaluations = 0.0
        if validation is not None:
            evaluation_seconds = validation.steps * _mean_seconds(
                lambda: engine.score(0, validation.batch(0)), REPEATS * validation.steps
            )
            min_steps = MIN_STEPS_PER_VALIDATION_STEP * validation.steps  # between two evaluations
            min_seconds = min_steps * step_seconds + evaluation_seconds
            evaluations = min(EVALUATIONS, (run_seconds - start_seconds) / min_seconds)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "last.safetensors"
            checkpoint = Checkpoint(architecture, task.metadata(), engine.average, engine.tensors())
            save_seconds = _mean_seconds(lambda: save_checkpoint(path, checkpoint), REPEATS)
    saves = min(max(evaluations, run_seconds / SAVE_SECONDS), run_seconds / (SECONDS_PER_SAVE_SECOND * save_seconds))
    rare = [
        Phase("evaluation", evaluation_seconds, evaluations),
        Phase("save", save_seconds, saves),
        Phase("start", start_seconds, 1),
    ]
    num_steps = (run_seconds - sum(phase.seconds * phase.times for phase in rare)) / step_seconds
    return [*(Phase(name, part, num_steps) for name, part in parts.items()), *rare]


def _mean_seconds(function: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times
