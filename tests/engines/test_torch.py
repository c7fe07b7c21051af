"""The PyTorch engine: it computes the same numbers as the NumPy engine, and a run can change from one to the other.

Skipped if PyTorch is not installed. The tests also run on a GPU if there is one.
"""

import dataclasses
import itertools
import json
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.engines.masks import draw_masks
from charrnn.engines.select import check_device, job_devices, new_backend, new_engine
from charrnn.errors import OutOfMemoryError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.optimizers import clip_factor
from charrnn.nn.parameters import initialise
from charrnn.nn.stack import CELLS
from charrnn.options import OPTIMIZERS, ResolvedTraining, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.encoder_decoder.matrices import Matrix
from charrnn.tasks.registry import load_model, read_task
from charrnn.training import sizing
from charrnn.training.defaults import resolve_options
from charrnn.training.events import Step
from charrnn.training.start import new_run, resumed_run

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

DATA = Path(__file__).parents[2] / "data"
TASKS = {  # corpus and options
    "text": ("fables.txt", {"embedding_size": 3}),
    "lines": ("shapes.txt", {"lines": True}),
    "caption": ("shapes.txt", {"features": "shapes.csv"}),
    "classify": ("kinds.tsv", {"task": "classify"}),
    "tag": ("syllables.tsv", {"task": "tag", "embedding_size": 3}),
    "translate": ("dates.tsv", {"task": "translate"}),
    "series": ("season.csv", {"task": "series"}),
    "series of labels": ("labels.csv", {"task": "series", "target": ["kind"]}),
}
SMALL = {
    "hidden_size": 5,
    "num_layers": 2,
    "batch_size": 4,
    "seq_length": 10,
    "workers": 1,
    "max_steps": 200,
    "learning_rate": 0.01,
}
NO_DROPOUT = {"dropout": 0.0, "recurrent_dropout": 0.0}
DROPOUT = {"dropout": 0.2, "recurrent_dropout": 0.3}
DEVICES = ["torch", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def same_masks(monkeypatch):
    """Draws the dropout masks with NumPy on every device. A GPU's own masks have other values."""

    def draw(key, shapes, rate, dtype, device):
        return [torch.tensor(mask, device=device) for mask in draw_masks(key, shapes, rate, dtype)]

    monkeypatch.setattr("charrnn.engines.torch.engine.draw_masks_on_device", draw)


@pytest.fixture
def run_config(tmp_path):
    """A function that returns the configuration of a small run on the first lines of one of the project's data sets."""

    def make(name, **options):
        file, task_options = TASKS[name]
        (tmp_path / "labels.csv").write_text("a,kind\n" + "".join(f"{n % 7},{'xy'[n % 3 == 0]}\n" for n in range(90)))
        for path in {file, "shapes.csv"} - {"labels.csv"}:
            (tmp_path / path).write_text("".join((DATA / path).read_text().splitlines(keepends=True)[:60]))
        if "features" in task_options:
            task_options = task_options | {"features": str(tmp_path / task_options["features"])}
        return RunConfig.from_options([str(tmp_path / file)], SMALL | DROPOUT | task_options | options)

    return make


def train_engine(architecture, train, stream, validation, steps):
    """Trains in float64 as the trainer does. Returns all arrays of the engine, the losses and norms, and the scores."""
    parameters = np.empty(architecture.num_parameters)
    generators = (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count())
    initialise(architecture.specs(), parameters, generators)
    numbers = []
    with new_engine(architecture, train, "float64") as engine:
        engine.load(parameters=parameters, average=parameters)
        engine.stream = stream
        for step in range(steps):
            loss, norm = engine.gradient(step)
            engine.update(train.learning_rate, clip_factor(norm, 0.5))
            numbers += [loss, norm]
        total = sum(engine.score(step, validation.batch(step)) for step in range(validation.steps))
        scores = total / validation.predictions
        arrays = {"average": engine.average, **engine.tensors()}
        arrays = {name: array.copy() for name, array in arrays.items()}
    return {**arrays, "losses and norms": np.array(numbers), "validation": scores}


def assert_engines_agree(architecture, train, make_stream, make_validation, steps, tolerance):
    results = {
        device: train_engine(
            architecture, dataclasses.replace(train, device=device), make_stream(), make_validation(), steps
        )
        for device in ("cpu", *DEVICES)
    }
    assert np.abs(np.diff(results["cpu"]["losses and norms"])).max() > 0.01  # the losses change
    for device in DEVICES:
        for name, array in results["cpu"].items():
            message = f"{device}: {name}"
            np.testing.assert_allclose(results[device][name], array, rtol=0, atol=tolerance, err_msg=message)


def assert_engines_agree_on_task(config, steps):
    task = read_task(config)
    resolved = resolve_options(config.model, config.train, task)
    train = resolved.train
    assert_engines_agree(
        task.architecture(resolved.model),
        train,
        lambda: task.training_stream(train.batch_size, train.seq_length, 1),
        lambda: task.validation_pass(train.batch_size, train.seq_length),
        steps,
        tolerance=1e-8,
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", TASKS)
def test_both_engines_compute_the_same_in_60_steps_of_every_task(name, cell, run_config, same_masks):
    assert_engines_agree_on_task(run_config(name, cell=cell), 60)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_both_engines_compute_the_same_with_every_optimizer_and_clipped_elements(optimizer, run_config):
    weight_decay = 0.1 if optimizer.startswith("adamw") else 0.0
    options = {"optimizer": optimizer, "weight_decay": weight_decay, "clip_value": 0.01, **NO_DROPOUT}
    assert_engines_agree_on_task(run_config("text", **options), 50)


class ResetBatches:
    """Batches of random ids with various patterns of resets, and with steps that are not scored."""

    steps = 10
    predictions = 77

    def batch(self, step):
        rng = np.random.default_rng((9, step))
        x, targets = rng.integers(0, 7, (2, 6, 4))
        reset_mask = rng.random((6, 4, 1)) >= (0.0, 0.3, 0.8, 1.0)[step % 4]
        if step % 4 == 3:
            reset_mask[3, 1] = True  # the only reset
        if step % 7 == 0:
            reset_mask[1:] = False
        loss_mask = (rng.random((6, 4)) < 0.6).astype(float) if step % 3 else None
        return Batch(x, targets, loss_mask, None if step % 5 == 0 else reset_mask)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rates", [NO_DROPOUT, DROPOUT], ids=["no dropout", "dropout"])
def test_both_engines_compute_the_same_with_resets_at_any_step(cell, layers, rates, same_masks):
    architecture = Architecture(cell, 5, layers, input_size=7, output_size=7)
    train = ResolvedTraining(batch_size=4, seq_length=6, workers=1, learning_rate=0.01, **rates)
    assert_engines_agree(architecture, train, ResetBatches, ResetBatches, 20, tolerance=1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_without_scored_steps_has_loss_0_and_gradient_0(device):
    architecture = Architecture("gru", 5, 2, input_size=7, output_size=7)
    train = ResolvedTraining(
        batch_size=4, seq_length=6, workers=1, learning_rate=0.01, device=device, optimizer="sgd", **NO_DROPOUT
    )

    class Unscored(ResetBatches):
        steps = 1

        def batch(self, step):
            return dataclasses.replace(super().batch(step), loss_mask=np.zeros((6, 4)))

    parameters = np.random.default_rng(1).normal(size=architecture.num_parameters)
    with new_engine(architecture, train, "float64") as engine:
        engine.load(parameters=parameters, average=parameters)
        engine.stream = Unscored()
        assert engine.gradient(0) == (0, 0)
        engine.update(0.01, 1.0)
        np.testing.assert_array_equal(engine.parameters, parameters)
        np.testing.assert_array_equal(engine.score(0, Unscored().batch(0)), [0, 0])


def train_run(path, config=None, *, device=None, stop_after=None):
    """Trains a new run, or without a config continues the run, if given on another device. Returns the result."""
    if config is None:
        config = Run(path).read_config()
        if device is not None:
            config = dataclasses.replace(config, train=dataclasses.replace(config.train, device=device))
        trainer = resumed_run(Run(path), config)
    else:
        trainer = new_run(path, config)
    for event in trainer.run():
        if isinstance(event, Step) and event.step == stop_after:
            trainer.interrupt(signal.SIGINT)
    return event.result


def read_arrays(path):
    """All arrays of a run."""
    best = load_checkpoint(path / "best.safetensors")
    last = load_checkpoint(path / "last.safetensors")
    return {"best": best.parameters, "last": last.parameters, **last.tensors}


def read_bytes(path):
    return {name: array.tobytes() for name, array in read_arrays(path).items()}


def read_metrics(path):
    """The metrics of a run without times."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "chars_per_second")} for row in rows]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["text", "classify", "caption"])
def test_an_interrupted_and_resumed_run_writes_the_same_bytes_as_an_uninterrupted_one(
    name, device, run_config, tmp_path
):
    config = run_config(name, device=device, max_steps=30, eval_every=7)
    train_run(tmp_path / "whole", config)
    assert train_run(tmp_path / "stopped", config, stop_after=11)["status"] == "interrupted"
    assert train_run(tmp_path / "stopped")["status"] == "completed"
    assert read_metrics(tmp_path / "stopped") == read_metrics(tmp_path / "whole")
    assert read_bytes(tmp_path / "stopped") == read_bytes(tmp_path / "whole")


@pytest.mark.parametrize("devices", [pair for d in DEVICES for pair in pairwise(("cpu", d, "cpu"))], ids=" then ".join)
def test_a_run_continues_with_the_other_engine(devices, run_config, tmp_path, same_masks):
    first, second = devices
    config = run_config("lines", device=first, max_steps=40, eval_every=10)
    train_run(tmp_path / "whole", config)
    train_run(tmp_path / "half", config, stop_after=20)
    result = train_run(tmp_path / "half", device=second)
    assert (result["steps"], result["config"]["train"]["device"]) == (40, second)
    half = read_arrays(tmp_path / "half")
    for name, array in read_arrays(tmp_path / "whole").items():
        np.testing.assert_allclose(half[name], array, rtol=0, atol=1e-4, err_msg=name)
    losses = [[row["val_loss"] for row in read_metrics(tmp_path / run)] for run in ("whole", "half")]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["text", "caption", "classify", "tag", "translate"])
def test_a_trained_model_scores_the_same_on_both_backends(name, device, run_config, tmp_path):
    train_run(tmp_path / "run", run_config(name, max_steps=5))
    models = [load_model(tmp_path / "run", backend=backend) for backend in (None, new_backend(device))]
    if name == "text":
        scores = [model.score("The Fox said.") for model in models]
    elif name == "caption":
        scores = [model.score(Matrix("v", np.ones((1, model.coding.width))), "red") for model in models]
    else:
        source, output = (tmp_path / TASKS[name][0]).read_text().splitlines()[0].split("\t")
        scores = [model.score(source, output) for model in models]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_seed_gives_the_same_bits_twice(device, run_config, tmp_path):
    config = run_config("tag", device=device, max_steps=20)
    for path in ("first", "second"):
        train_run(tmp_path / path, config)
    assert read_bytes(tmp_path / "first") == read_bytes(tmp_path / "second")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:7"}, r"--device cuda:7: not available \(available: cpu, torch"),
        ({"device": "gpu"}, "--device gpu: not one of cpu, torch, cuda, cuda:N, mps"),
        ({"precision": "tf32"}, "--precision tf32 needs --device cuda, not cpu"),
    ],
)
def test_a_device_that_does_not_exist_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        check_device(TrainingOptions(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--device cpu cannot be used with torchrun"),
        ({"device": "torch", "batch_size": 2}, r"--batch-size 2: must be at least 3 \(one per torchrun process\)"),
        ({"device": "cuda"}, r"--device cuda: torchrun needs cuda:2 \(available: cpu, torch, cuda, cuda:0, cuda:1"),
        ({"device": "cuda:1"}, "--device cuda:1 cannot be used with torchrun"),
    ],
)
def test_options_that_do_not_fit_torchrun_are_refused(options, message, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=message):
        check_device(TrainingOptions(**options))


def test_parallel_jobs_share_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert job_devices("cuda") == ["cuda:0", "cuda:1"]
    assert job_devices("cuda:1") == ["cuda:1"]
    assert job_devices("cpu") == ["cpu"]


def test_an_out_of_memory_error_of_pytorch_becomes_ours(monkeypatch):
    """The allocation is too large for every system. Some systems allow smaller ones and kill the process later."""

    def zeros(*size, **_):
        return torch.empty(1 << 60)

    monkeypatch.setattr(torch, "zeros", zeros)
    architecture = Architecture(hidden_size=8, input_size=7, output_size=7)
    train = ResolvedTraining(batch_size=4, seq_length=6, workers=1, learning_rate=0.01, device="torch", **NO_DROPOUT)
    with pytest.raises(OutOfMemoryError, match=r"out of memory on --device torch \(lower --hidden-size"):
        new_engine(architecture, train).__enter__()


def test_masks_drawn_on_a_device_have_the_same_distribution_as_those_of_numpy():
    from charrnn.engines.torch.device import draw_masks_on_device

    first, same_key, other_key = (
        draw_masks_on_device((1, 2, step), [(200, 300)] * 2, 0.3, "float64", torch.device("cpu")) for step in (5, 5, 6)
    )
    for mask in first:
        assert mask.unique().tolist() == [0, pytest.approx(1 / 0.7)]
        assert (mask == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(first[0], same_key[0])
    assert torch.equal(first[1], same_key[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other_key[0])


@pytest.mark.parametrize("name", ["text", "series", "caption", "tag"])
def test_the_speed_of_a_device_can_be_measured_for_every_kind_of_input(name, run_config):
    config = run_config(name, device="torch")
    task = read_task(config)
    resolved = resolve_options(config.model, config.train, task)
    assert 100 < sizing.measured_rate(task.architecture(resolved.model), resolved.train) < 1e9


def test_the_speed_of_a_gpu_is_measured_and_not_estimated(monkeypatch):
    monkeypatch.setattr(sizing, "measured_rate", lambda architecture, train: 1234.0)
    train = ResolvedTraining(batch_size=4, seq_length=6, workers=1, learning_rate=0.01, device="cuda", **NO_DROPOUT)
    assert sizing.chars_per_second(Architecture(), train) == 1234
