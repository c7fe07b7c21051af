"""How fast a configuration trains and samples on this machine, and how near that is to what the machine can do."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.arena import Plan
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, SampleConfig, TrainConfig
from charrnn.corpus import Vocabulary
from charrnn.models.language import parameter_specs
from charrnn.optim import clip_factor
from charrnn.pace import parameters_in_products
from charrnn.parallel import Team
from charrnn.params import initialise, views
from charrnn.textmodel import TextModel

Array = NDArray[Any]

VOCABULARY = 65  # Tiny Shakespeare's
ROUNDS = 3
SGEMM_SIZE = 2048


def measure(model: ModelConfig, train: TrainConfig, workers: int, seconds: float) -> dict[str, Any]:
    """Trains, multiplies and samples in turn, ROUNDS times, for `seconds` in all; the medians.

    chars_per_second of training; gflops = 6 x parameters in products x characters / s (forward, and twice that
    backward); sgemm_gflops, a product of two large float32 matrices on as many cores; fraction_of_peak, their ratio;
    sample_chars_per_second of one stream; peak_rss_mb, each process's highest resident set, summed (what they share
    is counted in each); workers. train.batch_size and .seq_length must be chosen.
    """
    assert train.batch_size and train.seq_length and train.learning_rate is not None
    rate, turn = train.learning_rate, seconds / ROUNDS / 3
    batch, decay = (train.seq_length, train.batch_size), train.weight_decay
    shape = (model, VOCABULARY, workers, *batch[::-1])
    plan = Plan(*shape, train.optimizer, train.clip_value, decay, "float32", 0, None, train.seed)
    specs = parameter_specs(model, VOCABULARY)
    rng = np.random.default_rng(train.seed)
    a = rng.standard_normal((SGEMM_SIZE, SGEMM_SIZE)).astype(np.float32)
    product = np.empty_like(a)
    measured: dict[str, list[float]] = {"train": [], "sgemm": [], "sample": []}
    with Team(plan) as team:
        initialise(specs, team.arena.params, train.seed)
        x, targets = rng.integers(0, VOCABULARY, (2, *batch))
        steps = itertools.count()

        def step() -> None:
            team.set_batch(next(steps), x, targets)
            _, norm = team.gradient()
            team.update(rate, clip_factor(norm, train.clip_norm))

        vocabulary = Vocabulary(np.arange(32, 32 + VOCABULARY, dtype=np.uint32))
        text_model = TextModel(Checkpoint(model, vocabulary, False, views(specs, team.arena.params)))

        def sample() -> None:
            for _ in text_model.sample_many(vocabulary.encode("A"), 200, [train.seed], SampleConfig()):
                pass

        for _ in range(ROUNDS):
            measured["train"].append(_rate(step, turn) * batch[0] * batch[1])
            with threadpool_limits(workers):
                measured["sgemm"].append(_rate(lambda: np.matmul(a, a, out=product), turn) * 2 * SGEMM_SIZE**3 / 1e9)
                measured["sample"].append(_rate(sample, turn) * 200)
        peak = _peak_mb([child.pid for child in team.children])
    medians = {name: statistics.median(values) for name, values in measured.items()}
    gflops = 6 * parameters_in_products(model, VOCABULARY) * medians["train"] / 1e9
    return {
        "chars_per_second": medians["train"],
        "gflops": gflops,
        "sgemm_gflops": medians["sgemm"],
        "fraction_of_peak": gflops / medians["sgemm"],
        "sample_chars_per_second": medians["sample"],
        "peak_rss_mb": peak,
        "workers": workers,
    }


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
