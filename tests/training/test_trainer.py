"""The training loop: a run that was stopped, or killed, and went on is the run that was never stopped."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import DivergedError, RunError
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run
from charrnn.training.events import Done, Evaluated, Saved, Step
from charrnn.training.start import new_run, resumed_run

LINES = [f"{word} {n} {'—' * (n % 4)} {n * n}" for n in range(60) for word in ("fox", "hen", "owl")]
CHOSEN = {"batch_size": 5, "seq_length": 9, "workers": 1, "eval_every": 4}
TIME_FIELDS = ("seconds", "chars_per_second")


def config(tmp_path, cell="lstm", layers=2, text=None, recurrent_dropout=0.2, **train):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{line}\n" for line in LINES))
    embedding = 3 if cell == "gru" else 0
    return RunConfig(
        (str(corpus),),
        ModelOptions(cell, 8, layers, embedding),
        DataOptions(**text or {}),
        TrainingOptions(**{"max_steps": 15, "dropout": 0.3, "recurrent_dropout": recurrent_dropout} | CHOSEN | train),
    )


def train(path, config=None, stop_after=None):
    """A new run, or without a config the same one further on; interrupted after the step `stop_after`. The events."""
    trainer = resumed_run(Run(path), Run(path).read_config()) if config is None else new_run(path, config)
    events = []
    if stop_after == 0:
        trainer.interrupt(signal.SIGINT)
    for event in trainer.run():
        events.append(event)
        if isinstance(event, Step) and event.step == stop_after:
            trainer.interrupt(signal.SIGINT)
    assert isinstance(events[-1], Done)
    return events


def remains(path):
    """What is left of a run, without the times: the arrays' bytes, the metrics, the result."""
    best, last = load_checkpoint(path / "best.safetensors"), load_checkpoint(path / "last.safetensors")
    arrays = {"best": best.weights, "last": last.weights, "training": last.tensors}
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((path / "result.json").read_text())
    for row in (*metrics, result):
        for name in TIME_FIELDS:
            assert row.pop(name) > 0
    result.pop("run")
    return {kind: {name: a.tobytes() for name, a in named.items()} for kind, named in arrays.items()}, metrics, result


def assert_same(path, expected):
    for actual, whole in zip(remains(path), remains(expected), strict=True):
        assert actual == whole


DATA = Path(__file__).parents[2] / "data"


def task_config(tmp_path, name, task, **text):
    """A run on the head of one of the project's data sets."""
    for file in {name, "shapes.csv"}:
        head = (DATA / file).read_text().splitlines(keepends=True)[:90]
        (tmp_path / file).write_text("".join(head))
    return RunConfig(
        (str(tmp_path / name),),
        ModelOptions("gru", 8, 2),
        DataOptions(task=task, **text),
        TrainingOptions(max_steps=15, dropout=0.3, recurrent_dropout=0.2, batch_size=5, workers=2, eval_every=4),
    )


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("kinds.tsv", "classify"),
        ("syllables.tsv", "tag"),
        ("dates.tsv", "translate"),
        ("season.csv", "series"),
        ("shapes.txt", "lm"),
    ],
)
def test_every_task_stopped_and_resumed_is_the_same_bytes_as_at_once(tmp_path, name, task):
    text = {"features": str(tmp_path / "shapes.csv")} if name == "shapes.txt" else {}
    settings = task_config(tmp_path, name, task, **text)
    train(tmp_path / "whole", settings)
    train(tmp_path / "stopped", settings, stop_after=6)
    train(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


VARIANTS = {
    "lstm": {"cell": "lstm", "layers": 2},
    "gru": {"cell": "gru", "layers": 1, "optimizer": "rmsprop", "schedule": "linear", "text": {"lines": True}},
    "rnn": {"cell": "rnn", "layers": 3, "optimizer": "sgd", "learning_rate": 0.05, "eval_every": None},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_and_resumed_is_the_same_bytes_as_at_once(tmp_path, variant, workers):
    settings = config(tmp_path, workers=workers, **variant)
    train(tmp_path / "whole", settings)
    events = train(tmp_path / "stopped", settings, stop_after=6)
    assert events[-1].result["status"] == "interrupted" and events[-1].result["steps"] == 6
    if workers == 1:
        train(tmp_path / "stopped", stop_after=7)
    assert train(tmp_path / "stopped")[-1].result["status"] == "completed"
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_the_other_optimizers_resume_exactly_too(tmp_path, optimizer):
    settings = config(tmp_path, optimizer=optimizer, cell="rnn")
    train(tmp_path / "whole", settings)
    train(tmp_path / "stopped", settings, stop_after=9)
    train(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_run_stopped_before_its_first_step_resumes(tmp_path):
    settings = config(tmp_path)
    train(tmp_path / "whole", settings)
    assert not any(isinstance(event, Step) for event in train(tmp_path / "stopped", settings, stop_after=0))
    train(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_finished_run_resumed_does_nothing_more(tmp_path):
    train(tmp_path / "run", config(tmp_path))
    before = remains(tmp_path / "run")
    assert not any(isinstance(event, Step) for event in train(tmp_path / "run"))
    assert remains(tmp_path / "run") == before


def test_a_larger_budget_goes_on_from_where_the_run_was(tmp_path):
    train(tmp_path / "run", config(tmp_path, schedule="constant", max_steps=6))
    train(tmp_path / "whole", config(tmp_path, schedule="constant", max_steps=12, eval_every=6))
    old = Run(tmp_path / "run").read_config()
    larger = dataclasses.replace(old, train=dataclasses.replace(old.train, max_steps=12))
    events = list(resumed_run(Run(tmp_path / "run"), larger).run())
    assert [event.step for event in events if isinstance(event, Step)] == list(range(7, 13))
    assert remains(tmp_path / "run")[0]["last"] == remains(tmp_path / "whole")[0]["last"]


KILLED = """
import os, signal, sys
from pathlib import Path
from charrnn.training.start import resumed_run
from charrnn.runs.directory import Run
moment, path = int(sys.argv[1]), Path(sys.argv[2])
trainer = resumed_run(Run(path), Run(path).read_config())
real, calls = os.fsync, 0
def fsync(fd):
    global calls
    calls += 1
    if calls == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    real(fd)
os.fsync = fsync
for event in trainer.run():
    print(type(event).__name__, flush=True)
"""


def start(moment, path):
    return subprocess.Popen(
        [sys.executable, "-P", "-c", KILLED, str(moment), str(path)], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 40 steps that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole")
    train(path / "run", config(path, **LONG))
    return path


LONG = {"cell": "gru", "max_steps": 40, "save_every": 3}


def begin(path, whole, **train_settings):
    """The directory of a run that was stopped before its first save after the start."""
    settings = Run(whole / "run").read_config()
    settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, **train_settings))
    events = new_run(path, settings).run()
    next(events)
    events.close()
    return settings


@pytest.mark.parametrize("moments", [(1,), (2, 5), (3, 4), (6, 1), (17,)])
def test_killed_while_it_writes_it_resumes_to_the_same_bytes(tmp_path, whole, moments):
    """SIGKILL at the n-th fsync: in a save, between metrics and a save, before the first save; then once more."""
    begin(tmp_path / "run", whole)
    for moment in moments:
        process = start(moment, tmp_path / "run")
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    train(tmp_path / "run")
    assert_same_but_config(tmp_path / "run", whole / "run")


def assert_same_but_config(path, expected):
    for actual, undisturbed in zip(remains(path), remains(expected), strict=True):
        assert actual == undisturbed
    leftover = {name for name in os.listdir(path) if name not in os.listdir(expected)}
    assert all(name.endswith(".tmp") for name in leftover)


def test_best_holds_the_weights_of_the_lowest_validation_loss(tmp_path):
    events = train(tmp_path / "run", config(tmp_path, max_steps=40, learning_rate=0.3, schedule="constant"))
    losses = {event.metrics["step"]: event.metrics["val_loss"] for event in events if isinstance(event, Evaluated)}
    result, best = events[-1].result, load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert result["best_val_loss"] == min(losses.values()) == losses[result["best_step"]]
    assert best.training["step"] == result["best_step"]


def test_patience_ends_a_run_whose_validation_loss_no_longer_falls(tmp_path):
    settings = config(tmp_path, max_steps=500, patience=2, learning_rate=1.0, schedule="constant", eval_every=1)
    result = train(tmp_path / "run", settings)[-1].result
    assert result["status"] == "early_stopped"
    assert result["steps"] == result["best_step"] + 2


def test_save_every_saves_at_those_steps(tmp_path):
    events = train(tmp_path / "run", config(tmp_path, save_every=6, eval_every=100))
    assert [event.step for event in events if isinstance(event, Saved)] == [6, 12, 15]


def test_a_changed_corpus_is_refused(tmp_path):
    train(tmp_path / "run", config(tmp_path), stop_after=3)
    (tmp_path / "corpus.txt").write_text("something else\n" * 200)
    with pytest.raises(RunError, match="corpus has changed"):
        train(tmp_path / "run")


@pytest.mark.parametrize("rate", [1e38, 1e39])
@pytest.mark.parametrize("eval_every", [1, 50])
def test_a_diverged_run_says_so_and_keeps_a_checkpoint_that_loads(tmp_path, rate, eval_every):
    """1e39 leaves the range of float32: the first update itself makes the weights infinite."""
    text = {"cell": "rnn", "optimizer": "sgd", "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0}
    settings = config(tmp_path, **text, recurrent_dropout=0.0, learning_rate=rate, max_steps=300, eval_every=eval_every)
    with pytest.raises(DivergedError, match="diverged at step"), np.errstate(all="ignore"):
        train(tmp_path / "run", settings)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"
    for array in load_checkpoint(tmp_path / "run" / "last.safetensors").weights.values():
        assert np.isfinite(array).all()
