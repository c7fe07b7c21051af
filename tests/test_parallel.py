"""Workers: the same numbers however many there are, the same bits every time, and no hanging or left-over process."""

import contextlib
import gc
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from charrnn.arena import Plan
from charrnn.config import ModelConfig
from charrnn.errors import WorkerError
from charrnn.evaluate import num_streams, text_nats
from charrnn.models.language import LanguageModel, parameter_specs
from charrnn.optim import OPTIMIZERS, clip_factor
from charrnn.parallel import EVALUATE, GRADIENT, REDUCE, UPDATE, Team, Worker, dropped
from charrnn.params import count, initialise, views

B, T, V, STEPS, RATE, CLIP = 5, 6, 11, 5, 0.02, 0.5
VAL = np.random.default_rng(8).integers(0, V, 2500)


def plan(
    cell="lstm",
    workers=1,
    optimizer="adamw",
    dtype="float64",
    decay=0.1,
    embedding_size=0,
    clip_value=0.0,
    extras=False,
):
    """extras: with dropout of both kinds, and in every other step with states that start from zero."""
    drop = {"dropout": 0.3, "recurrent_dropout": 0.4} if extras else {"dropout": 0.0}
    model = ModelConfig(cell=cell, hidden_size=7, num_layers=2, embedding_size=embedding_size, **drop)
    return Plan(model, V, workers, B, T, optimizer, clip_value, decay, dtype, len(VAL), None, seed=1)


@pytest.fixture(autouse=True)
def _no_test_hangs():
    """A test that waits for a worker in vain fails after half a minute."""

    def give_up(*_):
        raise TimeoutError("the team hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def batches(extras):
    """(x, targets, keep) of each step."""
    rng = np.random.default_rng(6)
    for step in range(STEPS):
        x, targets = rng.integers(0, V, (2, T, B))
        keep = rng.random((T, B, 1)) < 0.8
        yield x, targets, keep if extras and step % 2 else None


def train(team):
    """Five steps, as the trainer takes them; parameters, their average, states, and the losses with the norms."""
    arena, numbers = team.arena, []
    initialise(parameter_specs(team.plan.model, V), arena.params, 3)
    arena.average[:] = arena.params
    arena.val[:] = VAL
    for step, batch in enumerate(batches(team.plan.model.dropout > 0)):
        team.set_batch(step, *batch)
        loss, norm = team.run(GRADIENT), math.sqrt(team.run(REDUCE))
        arena.learning_rate[...], arena.clip_factor[...] = RATE, clip_factor(norm, CLIP)
        team.run(UPDATE)
        arena.current[...] = 1 - arena.current
        numbers += [loss, norm]
    flat, state = arena.params.copy(), arena.states[int(arena.current)].copy()
    return flat, arena.average.copy(), state, np.array([*numbers, team.run(EVALUATE)])


def train_plainly(plan):
    """The same without workers: one model, one gradient, the optimizer on the whole vector."""
    specs = parameter_specs(plan.model, V)
    flat, grads = np.empty((2, count(specs)))
    initialise(specs, flat, 3)
    model, moments = LanguageModel(plan.model, V, flat, B, T, grads), np.zeros((2, len(flat)))
    state, numbers, optimizer = np.zeros(model.state_shape(B)), [], OPTIMIZERS[plan.optimizer]
    averaged = flat.copy()
    for step, (x, targets, keep) in enumerate(batches(plan.model.dropout > 0)):
        masks, w_masks = dropped(plan, step)
        loss = model.loss_and_gradient(x, targets, state, 1 / (T * B), masks, keep, w_masks)
        if plan.clip_value:
            grads[:] = np.clip(grads, -plan.clip_value, plan.clip_value)
        norm = np.linalg.norm(grads)
        grads *= min(1, CLIP / norm)
        for array in views(specs, flat).values():
            array *= 1 - RATE * plan.weight_decay * (array.ndim == 2)
        optimizer.update(flat, grads, moments[: optimizer.moments], step + 1, RATE)
        averaged = averaged + (flat - averaged) / (1 + 0.1 * step)
        numbers += [loss, norm]
    streams = num_streams(len(VAL))
    evaluation = text_nats(LanguageModel(plan.model, V, averaged, streams, 64), VAL, range(streams), streams)
    return flat, averaged, state, np.array([*numbers, evaluation.sum()])


VARIANTS = [
    {"cell": "lstm", "optimizer": "adamw", "embedding_size": 3},
    {"cell": "gru", "optimizer": "rmsprop", "clip_value": 0.01},
    {"cell": "rnn", "optimizer": "sgd", "decay": 0.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["cell"])
def test_any_number_of_workers_gives_the_numbers_of_a_plain_loop(variant):
    for workers, extras in ((1, False), (1, True), (2, True), (3, False)):
        settings = plan(workers=workers, extras=extras, **variant)
        with Team(settings) as team:
            actual = train(team)
        for ours, plain in zip(actual, train_plainly(settings), strict=True):
            np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_number_of_workers_gives_the_same_bits_twice(workers):
    runs = []
    for _ in range(2):
        with Team(plan(workers=workers, dtype="float32", extras=True)) as team:
            runs.append(train(team))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()


def test_the_shares_of_the_workers_are_the_whole_each_part_once():
    with Team(plan(workers=4)) as team:
        workers = [Worker(team.plan, team.arena, rank) for rank in range(4)]
        assert [i for w in workers for i in range(*w.rows.indices(B))] == list(range(B))
        size = team.arena.params.size
        assert [i for w in workers for i in range(*w.share.indices(size))] == list(range(size))
        assert [i for w in workers for i in w.val_streams] == list(range(num_streams(len(VAL))))


def test_a_worker_killed_between_phases_raises_worker_error():
    with Team(plan(workers=2)) as team:
        train(team)
        os.kill(team.children[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=str(team.children[0].pid)):
            train(team)


def test_a_worker_killed_in_the_middle_of_its_work_raises_worker_error():
    with Team(plan(workers=3)) as team:
        train(team)
        timer = threading.Timer(0.05, os.kill, (team.children[1].pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(WorkerError):
            all(train(team) for _ in iter(int, 1))  # without end
        timer.join()


def test_a_worker_that_dies_of_an_error_raises_worker_error_and_says_why(capfd):
    with Team(plan(workers=2)) as team:
        train(team)
        team.children[0].stdin.write(b"?")
        with pytest.raises(WorkerError):
            train(team)
    assert "KeyError" in capfd.readouterr().err


@pytest.mark.parametrize("ending", [None, ZeroDivisionError, KeyboardInterrupt])
def test_no_child_process_and_no_open_file_is_left_however_the_context_ends(ending):
    files = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt), Team(plan(workers=3)) as team:
        train(team)
        assert all(child.poll() is None for child in team.children)
        if ending:
            raise ending
    assert len(team.children) == 2
    for child in team.children:
        assert child.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
    del team, child
    gc.collect()
    if files:
        assert set(os.listdir("/proc/self/fd")) <= files


def test_no_worker_outlives_a_parent_that_was_killed(tmp_path):
    script = f"""
        import signal, sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_parallel import *
        with Team(plan(workers=3)) as team:
            train(team)
            print(*(child.pid for child in team.children), flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-P", "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert len(pids) == 2
    for pid in pids:
        while is_running(pid):  # the alarm ends it
            time.sleep(0.01)


def is_running(pid):
    """A zombie that nobody has collected yet does not run."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_modules_of_the_user_s_working_directory_are_not_imported_by_workers(tmp_path, monkeypatch):
    """Somebody may train in a directory that holds a random.py or a numpy.py of their own."""
    for name in ("numpy", "random", "queue", "charrnn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    monkeypatch.chdir(tmp_path)
    with Team(plan(workers=2)) as team:
        assert np.isfinite(train(team)[0]).all()


def test_a_plan_survives_its_way_to_a_worker():
    settings = plan(embedding_size=2, clip_value=0.25)
    assert Plan.from_json(settings.to_json()) == settings
