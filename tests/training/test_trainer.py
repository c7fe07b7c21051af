"""The training loop. A run that was interrupted or killed, and then resumed, equals an uninterrupted run."""

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import DivergedError, RunError
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint
from charrnn.runs.directory import Run
from charrnn.tasks.tag import coding
from charrnn.training.events import Done, Evaluated, Saved, Step, Validating
from charrnn.training.start import new_run, resumed_run

DATA = Path(__file__).parents[2] / "data"
LINES = [f"{word} {n} {'—' * (n % 4)} {n * n}\n" for n in range(60) for word in ("fox", "hen", "owl")]
TRAIN = {
    "max_steps": 15,
    "batch_size": 5,
    "seq_length": 9,
    "workers": 1,
    "eval_every": 4,
    "dropout": 0.3,
    "recurrent_dropout": 0.2,
}
TIME_FIELDS = ("seconds", "chars_per_second")


def make_config(tmp_path, cell="lstm", layers=2, lines=False, **train):
    """The configuration of a small run on a text."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(LINES))
    return RunConfig(
        (str(corpus),),
        ModelOptions(cell, 8, layers, embedding_size=3 if cell == "gru" else 0),
        DataOptions(lines=lines),
        TrainingOptions(**TRAIN | train),
    )


def make_task_config(tmp_path, name, task):
    """The configuration of a small run on the first lines of one of the project's data sets."""
    for file in {name, "shapes.csv"}:
        lines = (DATA / file).read_text().splitlines(keepends=True)[:90]
        (tmp_path / file).write_text("".join(lines))
    features = str(tmp_path / "shapes.csv") if task == "caption" else None
    return RunConfig(
        (str(tmp_path / name),),
        ModelOptions("gru", 8, 2),
        DataOptions(task=task, features=features),
        TrainingOptions(**TRAIN | {"workers": 2, "seq_length": None}),
    )


def run_trainer(trainer, stop_after=None):
    """Runs a trainer and interrupts it after a step. Returns the events."""
    if stop_after == 0:
        trainer.interrupt(signal.SIGINT)
    events = []
    for event in trainer.run():
        events.append(event)
        if isinstance(event, Step) and event.step == stop_after:
            trainer.interrupt(signal.SIGINT)
    assert isinstance(events[-1], Done)
    return events


def train(path, config, stop_after=None):
    return run_trainer(new_run(path, config), stop_after)


def make_resumed(path):
    return resumed_run(Run(path), Run(path).read_config())


def resume(path, stop_after=None):
    return run_trainer(make_resumed(path), stop_after)


def test_a_requested_save_happens_after_the_current_step(tmp_path):
    saved = []
    trainer = new_run(tmp_path / "run", make_config(tmp_path, eval_every=100, save_every=100))
    for event in trainer.run():
        if isinstance(event, Step) and event.step == 3:
            trainer.request_save()
        if isinstance(event, Saved):
            saved.append(event.step)
    assert saved == [3, 15]


def read_run(path):
    """The content of a run without times: the bytes of all arrays, the metrics, the result."""
    best = load_checkpoint(path / "best.safetensors")
    last = load_checkpoint(path / "last.safetensors")
    arrays = {"best": best.parameters, "last": last.parameters, **last.tensors}
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((path / "result.json").read_text())
    for row in (*metrics, result):
        for name in TIME_FIELDS:
            assert row.pop(name) > 0
    result.pop("run")
    return {name: array.tobytes() for name, array in arrays.items()}, metrics, result


def assert_same(path, expected):
    for actual_part, expected_part in zip(read_run(path), read_run(expected), strict=True):
        assert actual_part == expected_part


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("kinds.tsv", "classify"),
        ("syllables.tsv", "tag"),
        ("dates.tsv", "translate"),
        ("season.csv", "series"),
        ("shapes.txt", "caption"),
    ],
)
def test_an_interrupted_and_resumed_run_of_every_task_equals_an_uninterrupted_one(tmp_path, name, task):
    config = make_task_config(tmp_path, name, task)
    train(tmp_path / "whole", config)
    train(tmp_path / "stopped", config, stop_after=6)
    resume(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


VARIANTS = {
    "lstm": {"cell": "lstm", "layers": 2},
    "gru": {"cell": "gru", "layers": 1, "optimizer": "rmsprop", "schedule": "linear", "lines": True},
    "rnn": {"cell": "rnn", "layers": 3, "optimizer": "sgd", "learning_rate": 0.05, "eval_every": None},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_and_resumed_text_run_equals_an_uninterrupted_one(tmp_path, variant, workers):
    config = make_config(tmp_path, workers=workers, **variant)
    train(tmp_path / "whole", config)
    result = train(tmp_path / "stopped", config, stop_after=6)[-1].result
    assert (result["status"], result["steps"]) == ("interrupted", 6)
    if workers == 1:
        resume(tmp_path / "stopped", stop_after=7)
    assert resume(tmp_path / "stopped")[-1].result["status"] == "completed"
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_a_resumed_run_with_another_optimizer_equals_an_uninterrupted_one(tmp_path, optimizer):
    config = make_config(tmp_path, optimizer=optimizer, cell="rnn")
    train(tmp_path / "whole", config)
    train(tmp_path / "stopped", config, stop_after=9)
    resume(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_run_that_was_interrupted_before_its_first_step_can_be_resumed(tmp_path):
    config = make_config(tmp_path)
    train(tmp_path / "whole", config)
    events = train(tmp_path / "stopped", config, stop_after=0)
    assert not any(isinstance(event, Step) for event in events)
    resume(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_resuming_a_completed_run_changes_nothing(tmp_path):
    train(tmp_path / "run", make_config(tmp_path))
    before = read_run(tmp_path / "run")
    assert not any(isinstance(event, Step) for event in resume(tmp_path / "run"))
    assert read_run(tmp_path / "run") == before


def test_a_resumed_run_does_not_keep_the_arrays_of_its_checkpoint(tmp_path):
    train(tmp_path / "run", make_config(tmp_path), stop_after=6)
    trainer = make_resumed(tmp_path / "run")
    arrays = [trainer.checkpoint.parameters, *trainer.checkpoint.tensors.values()]
    references = [weakref.ref(array if array.base is None else array.base) for array in arrays]
    del arrays
    events = trainer.run()
    assert isinstance(next(events), Step)
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)
    events.close()


def test_a_completed_run_continues_with_a_larger_budget(tmp_path):
    train(tmp_path / "run", make_config(tmp_path, max_steps=6))
    train(tmp_path / "whole", make_config(tmp_path, max_steps=12, eval_every=6))
    config = Run(tmp_path / "run").read_config()
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=12))
    events = run_trainer(resumed_run(Run(tmp_path / "run"), config))
    assert [event.step for event in events if isinstance(event, Step)] == list(range(7, 13))
    arrays = read_run(tmp_path / "run")[0]
    expected = read_run(tmp_path / "whole")[0]
    del arrays["best"], expected["best"]  # the two runs are evaluated at different steps
    assert arrays == expected


def test_a_run_has_no_result_while_it_is_trained_further(tmp_path):
    train(tmp_path / "run", make_config(tmp_path), stop_after=6)
    run = Run(tmp_path / "run")
    assert run.result.exists()
    trainer = make_resumed(run.path)
    assert run.result.exists()
    has_result = [run.result.exists() for event in trainer.run() if not isinstance(event, Done)]
    assert has_result and not any(has_result)
    assert json.loads(run.result.read_text())["steps"] == 15


def test_a_resumed_run_keeps_the_ngram_share_of_its_checkpoint(tmp_path, monkeypatch):
    config = make_task_config(tmp_path, "syllables.tsv", "tag")
    train(tmp_path / "whole", config)
    train(tmp_path / "stopped", config, stop_after=6)
    share = coding.NGRAM_SHARE
    monkeypatch.setattr(coding, "NGRAM_SHARE", share / 2)
    assert new_run(tmp_path / "other", config).architecture.ngram_share == share / 2
    resume(tmp_path / "stopped")
    assert load_checkpoint(tmp_path / "stopped" / "last.safetensors").architecture.ngram_share == share
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("change", [{"hidden_size": 9}, {"num_layers": 1}, {"cell": "rnn"}, {"output_size": 5}])
def test_a_checkpoint_whose_architecture_does_not_fit_the_configuration_is_refused(tmp_path, change):
    train(tmp_path / "run", make_task_config(tmp_path, "syllables.tsv", "tag"), stop_after=6)
    path = tmp_path / "run" / "last.safetensors"
    checkpoint = load_checkpoint(path)
    architecture = dataclasses.replace(checkpoint.architecture, **change)
    parameters = np.zeros(architecture.num_parameters, np.float32)
    save_checkpoint(path, dataclasses.replace(checkpoint, architecture=architecture, parameters=parameters))
    with pytest.raises(RunError, match=r"last.safetensors: the architecture does not match"):
        make_resumed(tmp_path / "run")


def test_a_checkpoint_without_training_state_is_refused(tmp_path):
    train(tmp_path / "run", make_config(tmp_path), stop_after=6)
    path = tmp_path / "run" / "last.safetensors"
    checkpoint = load_checkpoint(path)
    del checkpoint.training["state"]
    save_checkpoint(path, checkpoint)
    with pytest.raises(RunError, match=r"contains no training state \(.*--init-from"):
        make_resumed(tmp_path / "run")


def test_a_checkpoint_whose_arrays_do_not_fit_the_configuration_is_refused(tmp_path):
    train(tmp_path / "run", make_config(tmp_path), stop_after=6)
    path = tmp_path / "run" / "last.safetensors"
    checkpoint = load_checkpoint(path)
    checkpoint.tensors["moments"] = checkpoint.tensors["moments"][:1]
    save_checkpoint(path, checkpoint)
    with pytest.raises(RunError, match="training state does not match"):
        resume(tmp_path / "run")


LONG_RUN = {"cell": "gru", "max_steps": 40, "save_every": 3}
# Resumes a run and kills itself at the n-th call of fsync.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from charrnn.runs.directory import Run
from charrnn.training.start import resumed_run
calls_left = int(sys.argv[1])
run = Run(Path(sys.argv[2]))
fsync = os.fsync
def counted_fsync(fd):
    global calls_left
    calls_left -= 1
    if not calls_left:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(fd)
trainer = resumed_run(run, run.read_config())
os.fsync = counted_fsync
for event in trainer.run():
    pass
"""


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """An uninterrupted run of 40 steps."""
    path = tmp_path_factory.mktemp("whole")
    train(path / "run", make_config(path, **LONG_RUN))
    return path / "run"


@pytest.mark.parametrize("calls", [(1,), (2, 5), (3, 4), (6, 1), (17,)])
def test_a_run_that_is_killed_while_it_writes_a_file_can_be_resumed_and_equals_an_uninterrupted_one(
    tmp_path, whole_run, calls
):
    """The run is killed at the n-th fsync, once or twice: before the first save, in a save, or between the metrics and
    a save."""
    path = tmp_path / "run"
    events = new_run(path, Run(whole_run).read_config()).run()
    next(events)
    events.close()
    for call in calls:
        command = [sys.executable, "-P", "-c", KILLED_RUN, str(call), str(path)]
        assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    resume(path)
    assert_same(path, whole_run)
    assert set(os.listdir(path)) == set(os.listdir(whole_run))


def test_the_best_checkpoint_has_the_lowest_validation_loss(tmp_path):
    events = train(tmp_path / "run", make_config(tmp_path, max_steps=40, learning_rate=0.3))
    losses = {event.metrics["step"]: event.metrics["val_loss"] for event in events if isinstance(event, Evaluated)}
    result = events[-1].result
    assert result["best_val_loss"] == min(losses.values()) == losses[result["best_step"]]
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").training["step"] == result["best_step"]


def test_patience_ends_a_run_when_the_validation_loss_stops_falling(tmp_path):
    config = make_config(tmp_path, max_steps=500, patience=2, learning_rate=1.0, eval_every=1)
    result = train(tmp_path / "run", config)[-1].result
    assert result["status"] == "early_stopped"
    assert result["steps"] == result["best_step"] + 2


def test_a_run_is_saved_at_multiples_of_save_every_and_at_its_end(tmp_path):
    events = train(tmp_path / "run", make_config(tmp_path, save_every=6, eval_every=100))
    assert [event.step for event in events if isinstance(event, Saved)] == [6, 12, 15]


@pytest.mark.parametrize("step", [8, 15])
def test_a_run_that_is_interrupted_during_a_validation_stops_at_once_and_can_be_resumed(tmp_path, step):
    config = make_config(tmp_path)
    train(tmp_path / "whole", config)
    trainer = new_run(tmp_path / "stopped", config)
    events = []
    for event in trainer.run():
        events.append(event)
        if isinstance(event, Validating) and trainer.state.step == step:
            trainer.interrupt(signal.SIGINT)
    assert [type(event) for event in events[-3:]] == [Validating, Saved, Done]
    assert (events[-1].result["status"], events[-1].result["steps"]) == ("interrupted", step)
    resume(tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "task"), [("kinds.tsv", "classify"), ("dates.tsv", "translate"), ("shapes.txt", "caption")]
)
def test_a_limit_of_the_validation_scores_fewer_predictions_and_is_said(tmp_path, name, task):
    config = make_task_config(tmp_path, name, task)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_fraction=0.5))
    whole = new_run(tmp_path / "whole", config)
    limited_train = dataclasses.replace(config.train, val_limit=300)
    limited = new_run(tmp_path / "limited", dataclasses.replace(config, train=limited_train))
    number, total = limited.validation.predictions, whole.validation.predictions
    assert 0 < number < total
    assert f"{number:,} of {total:,} predictions" in limited.notices[-1] and "--val-limit 0" in limited.notices[-1]
    assert not any("--val-limit" in notice for notice in whole.notices)
    scored = sum(limited.validation.batch(step).num_scored for step in range(limited.validation.steps))
    assert scored == number


def test_the_default_limit_of_the_validation_depends_on_the_budget(tmp_path):
    limits = {}
    for steps in (10, 100_000, 10**7):
        limits[steps] = new_run(tmp_path / str(steps), make_config(tmp_path, max_steps=steps)).train.val_limit
    assert limits == {10: 200_000, 100_000: 562_500, 10**7: 1_000_000}


def test_time_for_the_last_evaluation_is_reserved(tmp_path):
    trainer = new_run(tmp_path / "run", make_config(tmp_path, max_steps=None, max_minutes=1.0))
    trainer.state.step = 10
    trainer.state.seconds = 30.0
    trainer.state.evaluation_seconds = 0.0
    seconds_per_step = 3.0
    estimated = 0.4 * seconds_per_step * trainer.validation.steps
    assert trainer._progress() == pytest.approx(30 / max(30, 60 - estimated))
    trainer.state.evaluation_seconds = 12.0
    assert trainer._progress() == pytest.approx(30 / 48)
    trainer.state.seconds = 48.0
    assert trainer.is_spent


def test_a_save_that_takes_long_is_rare(tmp_path, monkeypatch):
    """Each save takes 30 s on the clock of the trainer, and each step 1 s."""
    times = {"now": 0.0}

    def save(path, checkpoint):
        times["now"] += 30.0

    monkeypatch.setattr("charrnn.training.trainer.save_checkpoint", save)
    monkeypatch.setattr("charrnn.training.trainer.time.monotonic", lambda: times["now"])
    trainer = new_run(tmp_path / "run", make_config(tmp_path, max_steps=1500, eval_every=50))
    saved = []
    for event in trainer.run():
        if isinstance(event, Step):
            times["now"] += 1.0
        if isinstance(event, Saved):
            saved.append(event.step)
        if trainer.state.step == 1400:
            break
    assert saved and np.diff([0, *saved]).min() >= 300


def test_a_run_with_a_changed_corpus_cannot_be_resumed(tmp_path):
    train(tmp_path / "run", make_config(tmp_path), stop_after=3)
    (tmp_path / "corpus.txt").write_text("something else\n" * 200)
    with pytest.raises(RunError, match="corpus has changed"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("learning_rate", [1e38, 1e39])
@pytest.mark.parametrize("eval_every", [1, 50])
def test_a_diverged_run_raises_an_error_and_keeps_finite_weights(tmp_path, learning_rate, eval_every):
    """1e39 is out of the range of float32, so the first update makes the weights infinite."""
    config = make_config(
        tmp_path,
        cell="rnn",
        optimizer="sgd",
        warmup_steps=0,
        clip_norm=0.0,
        recurrent_dropout=0.0,
        learning_rate=learning_rate,
        max_steps=300,
        eval_every=eval_every,
    )
    with pytest.raises(DivergedError, match="diverged at step"), np.errstate(all="ignore"):
        train(tmp_path / "run", config)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"
    assert np.isfinite(load_checkpoint(tmp_path / "run" / "last.safetensors").parameters).all()


def test_a_run_ends_when_nothing_is_left_to_learn(tmp_path):
    (tmp_path / "hello.txt").write_text("hello")
    options = {"hidden_size": 16, "max_steps": 3000, "eval_every": 20, "learning_rate": 0.02, "workers": 1}
    config = RunConfig.from_options([str(tmp_path / "hello.txt")], options)
    result = list(new_run(tmp_path / "run", config).run())[-1].result
    assert result["status"] == "early_stopped"
    assert result["train_loss"] < 1e-3 and result["steps"] < 3000
