"""The engine on PyTorch: the numbers of the engine on NumPy, for every cell and task, and runs that go from one to the
other.

Skipped where PyTorch is not installed; on a GPU too where there is one.
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
from charrnn.engines.numpy.worker import draw_masks
from charrnn.engines.select import check_engine, devices_of_jobs, new_team, scoring_network
from charrnn.errors import OutOfMemoryError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.optimizers import OPTIMIZERS, clip_factor
from charrnn.nn.parameters import initialise
from charrnn.nn.stack import CELLS
from charrnn.options import RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.registry import load, read_task
from charrnn.training.defaults import resolve_options
from charrnn.training.events import Step
from charrnn.training.start import new_run, resumed_run

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

DATA = Path(__file__).parents[2] / "data"
TASKS = {  # the options of a run of each
    "text": ("fables.txt", {"embedding_size": 3}),
    "lines": ("shapes.txt", {"lines": True}),
    "features": ("shapes.txt", {"features": "shapes.csv"}),
    "features, embedding": ("shapes.txt", {"features": "shapes.csv", "embedding_size": 3}),
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
DROPPED = {"dropout": 0.2, "recurrent_dropout": 0.3}
DEVICES = ["torch", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def same_masks(monkeypatch):
    """Masks from NumPy on every device: a GPU's own are other bits of the same law."""

    def draw(key, shapes, rate, dtype, device):
        return [torch.tensor(mask, device=device) for mask in draw_masks(key, shapes, rate, dtype)]

    monkeypatch.setattr("charrnn.engines.torch.team.draw_on_device", draw)


@pytest.fixture
def run_config(tmp_path):
    """The configuration of a small run of a task on the head of one of the project's data sets."""

    def of(name, **options):
        file, own = TASKS[name]
        (tmp_path / "labels.csv").write_text("a,kind\n" + "".join(f"{n % 7},{'xy'[n % 3 == 0]}\n" for n in range(90)))
        for path in {file, "shapes.csv"} - {"labels.csv"}:
            (tmp_path / path).write_text("".join((DATA / path).read_text().splitlines(keepends=True)[:60]))
        own = {key: str(tmp_path / value) if key == "features" else value for key, value in own.items()}
        return RunConfig.from_options([str(tmp_path / file)], SMALL | DROPPED | own | options)

    return of


def trained(architecture, train, stream, validation, steps):
    """So many steps in float64, as the trainer takes them: all that they leave, and each step's loss and norm."""
    flat, numbers = np.empty(architecture.parameters), []
    initialise(architecture.specs(), flat, (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count()))
    with new_team(architecture, train, "float64") as team:
        team.load(params=flat, average=flat)
        team.stream = stream
        for step in range(steps):
            loss, norm = team.gradient(step)
            team.update(train.learning_rate, clip_factor(norm, 0.5))
            numbers += [loss, norm]
        sums = team.validate(validation)
        return {"average": team.average.copy(), **{k: v.copy() for k, v in team.tensors().items()}} | {
            "losses and norms": np.array(numbers),
            "validation": sums,
        }


def assert_engines_agree(model, train, task, steps=200):
    assert train.batch_size and train.seq_length
    left = {}
    for device in ("cpu", *DEVICES):
        stream = task.training(train.batch_size, train.seq_length, 1)
        validation = task.validation(train.batch_size, train.seq_length)
        of_device = dataclasses.replace(train, device=device)
        left[device] = trained(task.architecture(model), of_device, stream, validation, steps)
    assert np.abs(np.diff(left["cpu"]["losses and norms"])).max() > 0.01  # it moves
    for device in DEVICES:
        for name, array in left["cpu"].items():
            np.testing.assert_allclose(left[device][name], array, rtol=0, atol=1e-8, err_msg=f"{device}: {name}")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", TASKS)
def test_200_steps_of_every_task_leave_what_they_leave_on_numpy(name, cell, run_config, same_masks):
    config = run_config(name, cell=cell)
    task = read_task(config)
    model, train, _ = resolve_options(config.model, config.train, task)
    assert_engines_agree(model, train, task)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_both_ways_to_clip_too(optimizer, run_config):
    decay = {"weight_decay": 0.1} if optimizer == "adamw" else {}
    config = run_config("text", optimizer=optimizer, clip_value=0.01, dropout=0.0, recurrent_dropout=0.0, **decay)
    task = read_task(config)
    model, train, _ = resolve_options(config.model, config.train, task)
    assert_engines_agree(model, train, task, steps=50)


class Batches:
    """Random ids, with resets of any pattern and steps that are not scored."""

    def batch(self, step):
        rng = np.random.default_rng((9, step))
        x, targets = rng.integers(0, 7, (2, 6, 4))
        keep = rng.random((6, 4, 1)) < (0.0, 0.3, 0.8, 1.0)[step % 4]
        keep[3, 1] &= step % 4 != 3  # at a single place
        keep[1:] |= step % 7 == 0  # at the first step alone
        weights = (rng.random((6, 4)) < 0.6).astype(float) if step % 3 else None
        return Batch(x, targets, weights, None if step % 5 == 0 else keep)

    steps, predictions = 10, 77


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dropped", [{}, DROPPED], ids=["whole", "dropped"])
def test_states_start_anew_anywhere(cell, layers, dropped, same_masks):
    """Packed sequences are the loop over time that resets a state where it is told to."""
    shape = {"cell": cell, "hidden_size": 5, "num_layers": layers, "input_size": 7, "output_size": 7}
    rest = {"dropout": 0.0, "recurrent_dropout": 0.0} | dropped
    train = TrainingOptions(batch_size=4, seq_length=6, workers=1, learning_rate=0.01, **rest)
    left = [
        trained(Architecture(**shape), dataclasses.replace(train, device=device), Batches(), Batches(), 20)
        for device in ("cpu", *DEVICES)
    ]
    for device, its in zip(DEVICES, left[1:], strict=True):
        for name, array in left[0].items():
            np.testing.assert_allclose(its[name], array, rtol=0, atol=1e-10, err_msg=f"{device}: {name}")


def train(path, config=None, *, device=None, stop_after=None):
    """A new run, or without a config the same one further on, on another device if one is named. The result."""
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


def arrays(path):
    """All arrays that a run leaves, and its metrics but for the clock."""
    best, last = load_checkpoint(path / "best.safetensors"), load_checkpoint(path / "last.safetensors")
    named = {f"best {name}": array for name, array in best.weights.items()} | last.weights | last.tensors
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "chars_per_second")} for row in metrics]
    return named, timeless


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["text", "classify", "features"])
def test_stopped_and_resumed_is_the_same_bytes_as_at_once(name, device, run_config, tmp_path):
    config = run_config(name, device=device, max_steps=30, eval_every=7)
    train(tmp_path / "whole", config)
    assert train(tmp_path / "stopped", config, stop_after=11)["status"] == "interrupted"
    assert train(tmp_path / "stopped")["status"] == "completed"
    whole, stopped = arrays(tmp_path / "whole"), arrays(tmp_path / "stopped")
    assert stopped[1] == whole[1]
    assert {n: a.tobytes() for n, a in stopped[0].items()} == {n: a.tobytes() for n, a in whole[0].items()}


@pytest.mark.parametrize("devices", [pair for d in DEVICES for pair in pairwise(("cpu", d, "cpu"))], ids=" then ".join)
def test_a_run_goes_on_with_the_other_engine(devices, run_config, tmp_path, same_masks):
    first, second = devices
    config = run_config("lines", device=first, max_steps=40, eval_every=10)
    train(tmp_path / "whole", config)
    train(tmp_path / "half", config, stop_after=20)
    result = train(tmp_path / "half", device=second)
    assert (result["steps"], result["config"]["train"]["device"]) == (40, second)
    (whole, metrics), (half, its_metrics) = arrays(tmp_path / "whole"), arrays(tmp_path / "half")
    for name, array in whole.items():
        np.testing.assert_allclose(half[name], array, rtol=0, atol=1e-4, err_msg=name)
    losses = [[row["val_loss"] for row in rows] for rows in (metrics, its_metrics)]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["text", "features", "classify", "tag", "translate"])
def test_a_trained_model_says_the_same_on_either(name, device, run_config, tmp_path):
    train(tmp_path / "run", run_config(name, max_steps=5))
    here, there = load(tmp_path / "run"), load(tmp_path / "run")
    there.new_network = scoring_network(device)
    if name == "text":
        said = [model.score("The Fox said.") for model in (here, there)]
    elif name == "features":
        vector = np.ones(here.architecture.features)
        said = [model.score("red", vector) for model in (here, there)]
    else:
        source, output = (tmp_path / TASKS[name][0]).read_text().splitlines()[0].split("\t")
        said = [model.score(source, output) for model in (here, there)]
    assert said[1] == pytest.approx(said[0], abs=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_seed_gives_the_same_bits_twice(device, run_config, tmp_path):
    config = run_config("tag", device=device, max_steps=20)
    for path in ("one", "two"):
        train(tmp_path / path, config)
    one, two = (arrays(tmp_path / path)[0] for path in ("one", "two"))
    assert {n: a.tobytes() for n, a in one.items()} == {n: a.tobytes() for n, a in two.items()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:7"}, r"--device cuda:7: not there \(there are cpu, torch"),
        ({"device": "gpu"}, "--device gpu: not one of cpu, torch, cuda, cuda:N, mps"),
        ({"precision": "tf32"}, "--precision tf32 goes with --device cuda, not cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        check_engine(TrainingOptions(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"--device cpu under torchrun"),
        (
            {"device": "torch", "batch_size": 2},
            r"--batch-size 2: fewer streams than torchrun has processes \(at least 3",
        ),
        (
            {"device": "cuda"},
            r"--device cuda: a process of torchrun would need cuda:2 \(there are cpu, torch, cuda, cu",
        ),
        ({"device": "cuda:1"}, r"--device cuda:1 under torchrun"),
    ],
)
def test_what_does_not_go_with_torchrun_is_refused(settings, message, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=message):
        check_engine(TrainingOptions(**settings))


def test_jobs_side_by_side_share_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of_jobs("cuda") == ["cuda:0", "cuda:1"]
    assert (devices_of_jobs("cuda:1"), devices_of_jobs("cpu")) == (["cuda:1"], ["cpu"])


def test_more_than_the_memory_is_said_in_a_line(monkeypatch):
    """PyTorch's own error: some systems give more memory than they have, and end the process when it is used."""

    def zeros(*size, **_):
        return torch.empty(1 << 60)

    monkeypatch.setattr(torch, "zeros", zeros)
    architecture = Architecture(hidden_size=8, input_size=7, output_size=7)
    settings = TrainingOptions(
        batch_size=4, seq_length=6, workers=1, device="torch", dropout=0.0, recurrent_dropout=0.0
    )
    with pytest.raises(OutOfMemoryError, match=r"out of memory on --device torch \(lower --hidden-size"):
        new_team(architecture, settings).__enter__()


def test_masks_drawn_on_a_device_are_of_the_law_of_numpy_s():
    from charrnn.engines.torch.device import draw_on_device

    one, again, other = (
        draw_on_device((1, 2, step), [(200, 300)] * 2, 0.3, "float64", torch.device("cpu")) for step in (5, 5, 6)
    )
    for mask in one:
        assert mask.unique().tolist() == [0, pytest.approx(1 / 0.7)]
        assert (mask == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], one[1]) and not torch.equal(one[0], other[0])


def test_a_device_is_measured_where_the_minutes_choose_the_size(run_config, monkeypatch):
    """As for a GPU, whose speed no product of matrices foretells."""
    from charrnn.training import sizing

    for name in ("text", "series", "features"):
        config = run_config(name, device="torch")
        task = read_task(config)
        model, settings, _ = resolve_options(config.model, config.train, task)
        assert 100 < sizing.tried_rate(task.architecture(model), settings) < 1e9
    monkeypatch.setattr(select, "devices", lambda: ["cuda"])
    monkeypatch.setattr(sizing, "tried_rate", lambda architecture, train: 1234.0)
    assert sizing.chars_per_second(task.architecture(model), TrainingOptions(device="cuda")) == 1234.0
