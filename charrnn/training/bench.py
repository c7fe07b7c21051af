"""Measures the speed of training and sampling on this machine, relative to a large matrix product."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.engines.base import Engine
from charrnn.engines.select import new_engine
from charrnn.models.transfer import initial_parameters
from charrnn.nn.optimizers import clip_factor
from charrnn.options import ModelOptions, ResolvedTraining, SamplingOptions, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.system import available_cores, peak_memory
from charrnn.tasks.base import GeneratesText, Task
from charrnn.tasks.language.corpus import Corpus
from charrnn.tasks.language.task import LanguageTask
from charrnn.tasks.registry import make_model
from charrnn.training.defaults import resolve_options

SYMBOLS = 65  # as in Tiny Shakespeare
CHARACTERS = 1_000_000
ROUNDS = 3
SGEMM_SIZE = 2048
SAMPLE_LENGTH = 200  # characters


def random_text(seed: int) -> LanguageTask:
    """A language task on random characters. A tenth of them is for validation."""
    ids = np.random.default_rng(seed).integers(0, SYMBOLS, CHARACTERS, np.uint8)
    vocabulary = Vocabulary(np.arange(32, 32 + SYMBOLS, dtype=np.uint32))
    train_size = CHARACTERS - CHARACTERS // 10
    corpus = Corpus(
        vocabulary,
        lines=False,
        train=ids[:train_size],
        val=ids[train_size:],
        test=ids[:0],
        fingerprint="",
        notices=(),
    )
    return LanguageTask(corpus)


def measure(
    task: Task, model: ModelOptions, train: TrainingOptions, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains, multiplies matrices and samples in turn, for `seconds` in total. Returns the results and the options.

    The results are medians:
      chars_per_second         of training
      gflops                   of training: 6 operations per character and weight in a product, 2 forward and 4 backward
      sgemm_gflops             of a product of two large float32 matrices, on as many cores or on the device
      fraction_of_peak         gflops / sgemm_gflops
      sample_chars_per_second  of sampling one text; None if the model does not write text
      peak_rss_mb              sum of the peak resident sets of all processes, each including the shared memory;
                               None on Windows
      workers                  number of workers
    """
    resolved = resolve_options(model, train, task)
    options = resolved.train
    architecture = task.architecture(resolved.model)
    turn_seconds = seconds / ROUNDS / 3
    multiply = large_product(options)
    rates: dict[str, list[float]] = {"train": [], "sgemm": [], "sample": []}
    with new_engine(architecture, options) as engine:
        step = training_step(engine, task)
        trained = make_model(Checkpoint(architecture, task.metadata(), engine.parameters.copy()))
        for _ in range(ROUNDS):
            rates["train"].append(_rate(step, turn_seconds) * engine.stream.symbols_per_step)
            with threadpool_limits(min(options.workers, available_cores())):
                rates["sgemm"].append(_rate(multiply, turn_seconds) * 2 * SGEMM_SIZE**3 / 1e9)
                if isinstance(trained, GeneratesText):
                    sample = partial(_write_sample, trained, options.seed)
                    rates["sample"].append(_rate(sample, turn_seconds) * SAMPLE_LENGTH)
        peak = peak_memory(engine.process_ids)
    medians = {name: statistics.median(values) for name, values in rates.items() if values}
    gflops = 6 * architecture.weights_in_products * medians["train"] / 1e9
    result = {
        "chars_per_second": medians["train"],
        "gflops": gflops,
        "sgemm_gflops": medians["sgemm"],
        "fraction_of_peak": gflops / medians["sgemm"],
        "sample_chars_per_second": medians.get("sample"),
        "peak_rss_mb": None if peak is None else peak / 2**20,
        "workers": options.workers,
    }
    return result, resolved.model.to_dict() | options.to_dict()


def training_step(engine: Engine, task: Task) -> Callable[[], None]:
    """Returns a function that takes one training step per call, like the trainer. Sets the initial parameters."""
    train = engine.train
    engine.stream = task.training_stream(train.batch_size, train.seq_length, train.seed)
    parameters = initial_parameters(engine.architecture, train.seed)
    engine.load(parameters=parameters, average=parameters)
    steps = itertools.count()

    def step() -> None:
        _, norm = engine.gradient(next(steps))
        engine.update(train.learning_rate, clip_factor(norm, train.clip_norm))

    return step


def large_product(train: ResolvedTraining) -> Callable[[], object]:
    """Returns a function that multiplies two large matrices on the device and waits for the result."""
    if train.device != "cpu":
        import torch

        from charrnn.engines.torch.device import prepare_device

        matrix = torch.ones(SGEMM_SIZE, SGEMM_SIZE, device=prepare_device(train))
        return lambda: (matrix @ matrix)[0, 0].item()
    a = np.random.default_rng(train.seed).standard_normal((SGEMM_SIZE, SGEMM_SIZE)).astype(np.float32)
    return partial(np.matmul, a, a, out=np.empty_like(a))


def _write_sample(model: GeneratesText, seed: int) -> None:
    for _ in model.sample_many(np.empty(0, np.intp), SAMPLE_LENGTH, [seed], SamplingOptions()):
        pass


def _rate(function: Callable[[], object], seconds: float) -> float:
    """The number of calls per second. The first call is not counted."""
    function()
    calls = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not calls:
        function()
        calls += 1
    return calls / elapsed
