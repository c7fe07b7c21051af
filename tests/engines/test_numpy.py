"""Workers: the same numbers however many there are, the same bits every time, and no hanging or left-over process."""

import contextlib
import gc
import itertools
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

from charrnn.corpus.batch import Batch
from charrnn.engines.numpy.team import Team
from charrnn.engines.numpy.worker import dropped, portion
from charrnn.errors import WorkerError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.optimizers import OPTIMIZERS, clip_factor
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.options import TrainingOptions
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.language.scoring import text_nats
from charrnn.tasks.language.streams import TextPass

B, T, V, STEPS, RATE, CLIP = 5, 6, 11, 5, 0.02, 0.5
VAL = np.random.default_rng(8).integers(0, V, 700)


def team_of(
    cell="lstm",
    workers=1,
    optimizer="adamw",
    dtype="float64",
    decay=0.1,
    embedding_size=0,
    clip_value=0.0,
    extras=False,
):
    """extras: with dropout of both kinds, and in every other step with weights, and states that start from zero."""
    shape = {"cell": cell, "hidden_size": 7, "num_layers": 2, "embedding_size": embedding_size}
    train = TrainingOptions(
        batch_size=B,
        seq_length=T,
        workers=workers,
        optimizer=optimizer,
        clip_value=clip_value,
        weight_decay=decay,
        dropout=0.3 if extras else 0.0,
        recurrent_dropout=0.4 if extras else 0.0,
    )
    return Team(Architecture(**shape, input_size=V, output_size=V), train, dtype)


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
    """The batch of each step."""
    rng = np.random.default_rng(6)
    for step in range(STEPS):
        x, targets = rng.integers(0, V, (2, T, B))
        keep, weights = rng.random((T, B, 1)) < 0.8, (rng.random((T, B)) < 0.6).astype(float)
        yield Batch(x, targets, weights, keep) if extras and step % 2 else Batch(x, targets)


class Reading(list):
    batch = list.__getitem__


def train(team):
    """Five steps, as the trainer takes them; parameters, their average, states, and the losses with the norms."""
    numbers = []
    initialise(team.architecture.specs(), team.params, (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count()))
    team.average[:] = team.params
    team.stream = Reading(list(batches(team.train.dropout > 0)))
    for step in range(STEPS):
        loss, norm = team.gradient(step)
        team.update(RATE, clip_factor(norm, CLIP))
        numbers += [loss, norm]
    numbers.append(team.validate(TextPass(VAL, B, T))[0])
    return team.params.copy(), team.average.copy(), team.tensors()["state"].copy(), np.array(numbers)


def train_plainly(architecture, train):
    """The same without workers: one network, one gradient, the optimizer on the whole vector."""
    specs = architecture.specs()
    flat, grads = np.empty((2, count_parameters(specs)))
    initialise(specs, flat, (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count()))
    network, moments = Network(architecture, flat, B, T, grads), np.zeros((2, len(flat)))
    state, numbers, optimizer = np.zeros(architecture.state_shape(B)), [], OPTIMIZERS[train.optimizer]
    averaged = flat.copy()
    for step, batch in enumerate(batches(train.dropout > 0)):
        masks, w_masks = dropped(architecture, train, step, "float64")
        loss = network.loss_and_gradient(batch, state, 1 / batch.scored, masks, w_masks)
        if train.clip_value:
            grads[:] = np.clip(grads, -train.clip_value, train.clip_value)
        norm = np.linalg.norm(grads)
        grads *= min(1, CLIP / norm)
        for array in named_views(specs, flat).values():
            array *= 1 - RATE * train.weight_decay * (array.ndim == 2)
        optimizer.update(flat, grads, moments[: optimizer.num_moments], step + 1, RATE)
        averaged = averaged + (flat - averaged) / (1 + 0.1 * step)
        numbers += [loss, norm]
    numbers.append(text_nats(architecture, averaged, VAL).mean())
    return flat, averaged, state, np.array(numbers)


VARIANTS = [
    {"cell": "lstm", "optimizer": "adamw", "embedding_size": 3},
    {"cell": "gru", "optimizer": "rmsprop", "clip_value": 0.01},
    {"cell": "rnn", "optimizer": "sgd", "decay": 0.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["cell"])
def test_any_number_of_workers_gives_the_numbers_of_a_plain_loop(variant):
    for workers, extras in ((1, False), (1, True), (2, True), (3, False)):
        with team_of(workers=workers, extras=extras, **variant) as team:
            actual = train(team)
        for ours, plain in zip(actual, train_plainly(team.architecture, team.train), strict=True):
            # The last number is the validation loss: five readers begin in the middle of the text, one does not.
            np.testing.assert_allclose(ours[:-1], plain[:-1], rtol=0, atol=1e-10)
            np.testing.assert_allclose(ours[-1], plain[-1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_number_of_workers_gives_the_same_bits_twice(workers):
    runs = []
    for _ in range(2):
        with team_of(workers=workers, dtype="float32", extras=True) as team:
            runs.append(train(team))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()


@pytest.mark.parametrize(("size", "unit"), [(5, 1), (32, 1), (3000, 16), (20, 16), (1, 16)])
@pytest.mark.parametrize("workers", [1, 2, 4, 5])
def test_the_portions_of_the_workers_are_the_whole_each_part_once(size, unit, workers):
    portions = [portion(size, rank, workers, unit) for rank in range(workers)]
    assert [i for p in portions for i in range(*p.indices(size))] == list(range(size))
    assert all(p.start % unit == 0 or p.start == size for p in portions)


def test_a_worker_killed_between_phases_raises_worker_error():
    with team_of(workers=2) as team:
        train(team)
        os.kill(team.children[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=str(team.children[0].pid)):
            train(team)


def test_a_worker_killed_in_the_middle_of_its_work_raises_worker_error():
    with team_of(workers=3) as team:
        train(team)
        timer = threading.Timer(0.05, os.kill, (team.children[1].pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(WorkerError):
            all(train(team) for _ in iter(int, 1))  # without end
        timer.join()


def test_a_worker_that_dies_of_an_error_raises_worker_error_and_says_why(capfd):
    with team_of(workers=2) as team:
        train(team)
        team.children[0].stdin.write(b"?")
        with pytest.raises(WorkerError):
            train(team)
    assert "KeyError" in capfd.readouterr().err


@pytest.mark.parametrize("ending", [None, ZeroDivisionError, KeyboardInterrupt])
def test_no_child_process_and_no_open_file_is_left_however_the_context_ends(ending):
    files = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt), team_of(workers=3) as team:
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
        from test_team import *
        with team_of(workers=3) as team:
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
    with team_of(workers=2) as team:
        assert np.isfinite(train(team)[0]).all()
