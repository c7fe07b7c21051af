"""How fast a configuration trains and samples on this machine, and how near that is to what the machine can do."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.engines.numpy.team import Team
from charrnn.engines.select import new_team
from charrnn.nn.optimizers import clip_factor
from charrnn.nn.parameters import count, initialise, views
from charrnn.options import ModelOptions, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import Task
from charrnn.tasks.language.corpus import Corpus
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.task import LanguageTask
from charrnn.tasks.registry import model_of
from charrnn.training.defaults import resolve_options

if TYPE_CHECKING:
    from charrnn.engines.torch.team import TorchTeam

SYMBOLS = 65  # Tiny Shakespeare's
CHARACTERS = 1_000_000
ROUNDS = 3
SGEMM_SIZE = 2048
SAMPLED = 200  # characters a call


def random_text(seed: int) -> LanguageTask:
    """A text to train on, without a meaning; a tenth of it to validate."""
    ids = np.random.default_rng(seed).integers(0, SYMBOLS, CHARACTERS, np.uint8)
    vocabulary = Vocabulary(np.arange(32, 32 + SYMBOLS, dtype=np.uint32))
    val = CHARACTERS // 10
    return LanguageTask(Corpus(vocabulary, False, ids[:-val], ids[-val:], ids[:0], "", ()))


def measure(
    task: Task, model: ModelOptions, train: TrainingOptions, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains, multiplies and samples in turn, ROUNDS times, for `seconds` in all: the medians, and the configuration.

    chars_per_second of training; gflops = 6 x parameters in products x characters / s (forward, and twice that
    backward); sgemm_gflops, a product of two large float32 matrices on as many cores, or on the device;
    fraction_of_peak, their ratio; sample_chars_per_second of one stream (None: records); peak_rss_mb, each process's
    highest resident set, summed (what they share is counted in each); workers.
    """
    model, train, _ = resolve_options(model, train, task)
    assert train.batch_size and train.seq_length
    turn, architecture, step_size = seconds / ROUNDS / 3, task.architecture(model), train.batch_size * train.seq_length
    product = large_product(train)
    measured: dict[str, list[float]] = {"train": [], "sgemm": [], "sample": []}
    with new_team(architecture, train) as team:
        step = training_step(team, task)
        weights = views(architecture.specs(), team.params.copy())
        trained = model_of(Checkpoint(architecture, task.metadata(), weights))

        def sample(model: TextModel) -> None:
            for _ in model.sample(length=SAMPLED, seed=train.seed):
                pass

        for _ in range(ROUNDS):
            measured["train"].append(_rate(step, turn) * step_size)
            with threadpool_limits(train.workers):
                measured["sgemm"].append(_rate(product, turn) * 2 * SGEMM_SIZE**3 / 1e9)
                if isinstance(trained, TextModel):
                    measured["sample"].append(_rate(partial(sample, trained), turn) * SAMPLED)
        peak = _peak_mb([child.pid for child in team.children])
    medians = {name: statistics.median(values) for name, values in measured.items() if values}
    gflops = 6 * architecture.weights_in_products * medians["train"] / 1e9
    result = {
        "chars_per_second": medians["train"],
        "gflops": gflops,
        "sgemm_gflops": medians["sgemm"],
        "fraction_of_peak": gflops / medians["sgemm"],
        "sample_chars_per_second": medians.get("sample"),
        "peak_rss_mb": peak,
        "workers": train.workers,
    }
    return result, model.to_dict() | train.to_dict()


def training_step(team: Team | TorchTeam, task: Task) -> Callable[[], None]:
    """Trains the next step each time, as the trainer does, from the usual weights."""
    train, specs, steps = team.train, team.architecture.specs(), itertools.count()
    assert train.batch_size and train.seq_length and train.learning_rate is not None
    team.stream, rate = task.training(train.batch_size, train.seq_length, train.seed), train.learning_rate
    flat = np.empty(count(specs), np.float32)
    initialise(specs, flat, train.seed)
    team.load(params=flat, average=flat)

    def step() -> None:
        _, norm = team.gradient(next(steps))
        team.update(rate, clip_factor(norm, train.clip_norm))

    return step


def large_product(train: TrainingOptions) -> Callable[[], object]:
    """Multiplies two large matrices on the device, and waits for it."""
    if train.device != "cpu":
        import torch

        from charrnn.engines.torch.device import prepared_device

        there = torch.ones(SGEMM_SIZE, SGEMM_SIZE, device=prepared_device(train))
        return lambda: (there @ there)[0, 0].item()
    a = np.random.default_rng(train.seed).standard_normal((SGEMM_SIZE, SGEMM_SIZE)).astype(np.float32)
    return partial(np.matmul, a, a, out=np.empty_like(a))


def _rate(work: Any, seconds: float) -> float:
    """Calls of `work` a second, after one that is not counted."""
    work()
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or not calls:
        work()
        calls += 1
    return calls / spent


def _peak_mb(children: list[int]) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    peaks = [own]
    for pid in children:
        status = Path(f"/proc/{pid}/status")  # Linux; elsewhere the parent alone is counted
        if status.exists():
            peaks += [
                int(line.split()[1]) / 2**10 for line in status.read_text().splitlines() if line.startswith("VmHWM")
            ]
    return sum(peaks)
