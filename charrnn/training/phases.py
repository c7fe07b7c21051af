"""Where the time of a run goes: the time of each phase, and how often it occurs in a run."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charrnn.engines.masks import draw_step_masks
from charrnn.engines.numpy.engine import NumpyEngine
from charrnn.engines.numpy.worker import GRADIENT, REDUCE, UPDATE, VALIDATE
from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.options import ModelOptions, ResolvedTraining, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.tasks.base import Task
from charrnn.training.bench import training_step
from charrnn.training.defaults import resolve_options
from charrnn.training.trainer import EVALUATIONS, MIN_TRAINED_PER_VALIDATED, SAVE_SECONDS

NAMES = {GRADIENT: "gradient", REDUCE: "reduce", UPDATE: "update", VALIDATE: "evaluation"}
REPEATS = 3  # timings of an evaluation and of a save


class Phase(NamedTuple):
    """A phase of a run."""

    name: str
    seconds: float  # each time
    times: float  # in a run


class TimedEngine(NumpyEngine):
    """Measures how long its first process works in each phase, and how long it waits for the others."""

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
    """Trains on the NumPy engine for `seconds`, evaluates and saves. Returns the phases of a run of `max_minutes`.

    start: starting the workers. batch: preparing a batch. masks: drawing the dropout masks, which each worker does.
    gradient: forward and backward pass, without the masks. waiting: for the slower worker, in all phases. The
    checkpoint is saved to the directory of temporary files.
    """
    resolved = resolve_options(model, train, task)
    options = resolved.train
    assert options.max_minutes is not None
    run_seconds = options.max_minutes * 60
    architecture = task.architecture(resolved.model)
    stream = task.training_stream(options.batch_size, options.seq_length, options.seed)
    validation = task.validation_pass(options.batch_size, options.seq_length)
    start_time = time.perf_counter()
    with TimedEngine(architecture, options) as engine:
        step = training_step(engine, task)
        step()
        first_step = time.perf_counter() - start_time
        second_step = _mean_seconds(step, 1)
        engine.seconds.clear()
        steps = max(1, round(seconds / second_step))
        whole_step = _mean_seconds(step, steps)
        parts = {name: engine.seconds[name] / steps for name in ("gradient", "waiting", "reduce", "update")}
        parts["batch"] = _mean_seconds(lambda: engine.arena.put(0, stream.batch(0)), steps)
        parts["masks"] = _mean_seconds(lambda: draw_step_masks(architecture, options, 0, engine.dtype), steps)
        parts["gradient"] -= parts["masks"]
        parts["other"] = whole_step - sum(parts.values())
        start = max(0.0, first_step - whole_step)
        evaluation = 0.0
        evaluations = 0.0
        if validation is not None:
            evaluation = _mean_seconds(lambda: engine.validate(validation), REPEATS)
            chars = options.batch_size * options.seq_length
            min_steps = MIN_TRAINED_PER_VALIDATED * validation.predictions / chars  # between evaluations
            evaluations = min(EVALUATIONS, (run_seconds - start) / (min_steps * whole_step + evaluation))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "last.safetensors"
            checkpoint = Checkpoint(architecture, task.metadata(), engine.average, engine.tensors())
            save = _mean_seconds(lambda: save_checkpoint(path, checkpoint), REPEATS)
    saves = max(evaluations, run_seconds / SAVE_SECONDS)
    rare = [Phase("evaluation", evaluation, evaluations), Phase("save", save, saves), Phase("start", start, 1)]
    num_steps = (run_seconds - sum(phase.seconds * phase.times for phase in rare)) / whole_step
    return [*(Phase(name, part, num_steps) for name, part in parts.items()), *rare]


def _mean_seconds(function: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times
