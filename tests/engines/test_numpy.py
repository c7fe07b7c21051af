"""The NumPy engine: any number of workers gives the same numbers, and no worker hangs or outlives the engine."""

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
from charrnn.engines.masks import draw_step_masks
from charrnn.engines.numpy.backend import NumpyBackend
from charrnn.engines.numpy.engine import NumpyEngine
from charrnn.engines.processes import partition
from charrnn.errors import WorkerError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.optimizers import OPTIMIZERS, clip_factor
from charrnn.nn.parameters import initialise, named_views
from charrnn.options import ResolvedTraining
from charrnn.seeding import Purpose, random_generator
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS
from charrnn.tasks.language.scoring import TextScorer
from charrnn.tasks.language.streams import TextPass

B = 5
T = 6
V = 11
STEPS = 5
LEARNING_RATE = 0.02
CLIP_NORM = 0.5
VALIDATION_TEXT = np.random.default_rng(8).integers(0, V, 700)


def make_engine(
    cell="lstm",
    workers=1,
    optimizer="adamw",
    dtype="float64",
    weight_decay=0.1,
    embedding_size=0,
    clip_value=0.0,
    masked=False,
):
    """masked: with both kinds of dropout, and with a loss mask and a reset mask in every other batch."""
    architecture = Architecture(cell, 7, 2, embedding_size, input_size=V, output_size=V)
    train = ResolvedTraining(
        batch_size=B,
        seq_length=T,
        workers=workers,
        optimizer=optimizer,
        learning_rate=LEARNING_RATE,
        clip_value=clip_value,
        weight_decay=weight_decay,
        dropout=0.3 if masked else 0.0,
        recurrent_dropout=0.4 if masked else 0.0,
    )
    return NumpyEngine(architecture, train, dtype)


@pytest.fixture(autouse=True)
def _fail_instead_of_hanging():
    """A test that waits for a worker for more than half a minute fails."""

    def give_up(*_):
        raise TimeoutError("the engine hangs")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def make_batches(masked):
    """The batches of all steps."""
    rng = np.random.default_rng(6)
    batches = []
    for step in range(STEPS):
        x, targets = rng.integers(0, V, (2, T, B))
        loss_mask = (rng.random((T, B)) < 0.6).astype(float)
        reset_mask = rng.random((T, B, 1)) < 0.2
        batches.append(Batch(x, targets, loss_mask, reset_mask) if masked and step % 2 else Batch(x, targets))
    return batches


class Stream:
    """A sequence of given batches."""

    def __init__(self, batches):
        self.batches = batches
        self.steps = len(batches)
        self.predictions = sum(batch.num_scored for batch in batches)

    def batch(self, step):
        return self.batches[step]


def initial_parameters(architecture):
    flat = np.empty(architecture.num_parameters)
    generators = (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count())
    initialise(architecture.specs(), flat, generators)
    return flat


def train(engine):
    """Trains for five steps as the trainer does. Returns the parameters, their average, the state, and an array of the
    losses, norms and the validation loss."""
    numbers = []
    parameters = initial_parameters(engine.architecture)
    engine.load(parameters=parameters, average=parameters)
    engine.stream = Stream(make_batches(engine.train.dropout > 0))
    for step in range(STEPS):
        loss, norm = engine.gradient(step)
        engine.update(LEARNING_RATE, clip_factor(norm, CLIP_NORM))
        numbers += [loss, norm]
    validation = TextPass(VALIDATION_TEXT, B, T)
    total = sum(engine.score(step, validation.batch(step)) for step in range(validation.steps))
    numbers.append(total[0] / validation.predictions)
    return engine.parameters.copy(), engine.average.copy(), engine.tensors()["state"].copy(), np.array(numbers)


def train_without_workers(architecture, options):
    """The same computation with one network, one gradient, and the optimizer on the whole vector."""
    specs = architecture.specs()
    flat = initial_parameters(architecture)
    average = flat.copy()
    grads = np.empty_like(flat)
    network = Network(architecture, flat, B, T, grads)
    moments = np.zeros((2, len(flat)))
    state = np.zeros(architecture.state_shape(B))
    optimizer = OPTIMIZERS[options.optimizer]
    numbers = []
    for step, batch in enumerate(make_batches(options.dropout > 0)):
        masks = draw_step_masks(architecture, options, step, "float64")
        loss = network.loss_and_gradient(batch, state, 1 / batch.num_scored, masks.outputs, masks.recurrent)
        if options.clip_value:
            grads[:] = np.clip(grads, -options.clip_value, options.clip_value)
        norm = np.linalg.norm(grads)
        grads *= min(1, CLIP_NORM / norm)
        for array in named_views(specs, flat).values():
            array *= 1 - LEARNING_RATE * options.weight_decay * (array.ndim == 2)
        optimizer.update(flat, grads, moments[: optimizer.num_moments], step + 1, LEARNING_RATE)
        average = average + (flat - average) / (1 + 0.1 * step)
        numbers += [loss, norm]
    numbers.append(TextScorer(NumpyBackend(), architecture, average).nats(VALIDATION_TEXT).mean())
    return flat, average, state, np.array(numbers)


VARIANTS = [
    {"cell": "lstm", "optimizer": "adamw", "embedding_size": 3},
    {"cell": "gru", "optimizer": "rmsprop", "clip_value": 0.01},
    {"cell": "rnn", "optimizer": "sgd", "weight_decay": 0.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant["cell"])
def test_any_number_of_workers_computes_the_same_as_one_network(variant):
    for workers, masked in ((1, False), (1, True), (2, True), (3, False)):
        with make_engine(workers=workers, masked=masked, **variant) as engine:
            actual = train(engine)
        expected = train_without_workers(engine.architecture, engine.train)
        for ours, reference in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours[:-1], reference[:-1], rtol=0, atol=1e-10)
            # The last number is the validation loss. Five readers start in the middle of the text, one does not.
            np.testing.assert_allclose(ours[-1], reference[-1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_number_of_workers_gives_the_same_bits_twice(workers):
    runs = []
    for _ in range(2):
        with make_engine(workers=workers, dtype="float32", masked=True) as engine:
            runs.append(train(engine))
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)
        assert np.isfinite(first).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_without_scored_steps_has_loss_0_and_gradient_0(workers):
    rng = np.random.default_rng(2)
    x, targets = rng.integers(0, V, (2, T, B))
    unscored = Batch(x, targets, loss_mask=np.zeros((T, B)))
    with make_engine(workers=workers, weight_decay=0.0) as engine:
        train(engine)
        engine.load(moments=np.zeros_like(engine.tensors()["moments"]))
        before = engine.parameters.copy()
        state = engine.tensors()["state"].copy()
        engine.stream = Stream([unscored])
        assert engine.gradient(0) == (0, 0)
        engine.update(LEARNING_RATE, clip_factor(0.0, CLIP_NORM))
        np.testing.assert_array_equal(engine.parameters, before)
        assert np.abs(engine.tensors()["state"] - state).max() > 0.01  # the batch was read


@pytest.mark.parametrize(("size", "unit"), [(5, 1), (32, 1), (3000, 16), (20, 16), (1, 16)])
@pytest.mark.parametrize("workers", [1, 2, 4, 5])
def test_the_parts_of_the_workers_cover_every_item_exactly_once(size, unit, workers):
    parts = [partition(size, rank, workers, unit) for rank in range(workers)]
    assert [i for part in parts for i in range(*part.indices(size))] == list(range(size))
    assert all(part.start % unit == 0 or part.start == size for part in parts)


def test_a_worker_killed_between_phases_raises_worker_error():
    with make_engine(workers=2) as engine:
        train(engine)
        os.kill(engine.children[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=str(engine.children[0].pid)):
            train(engine)


def test_a_worker_killed_during_a_phase_raises_worker_error():
    with make_engine(workers=3) as engine:
        train(engine)
        timer = threading.Timer(0.05, os.kill, (engine.children[1].pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(WorkerError):
            all(train(engine) for _ in itertools.count())
        timer.join()


@pytest.mark.parametrize("number", [*STOP_SIGNALS, *SAVE_SIGNALS])
def test_a_worker_is_not_ended_by_a_signal_that_its_parent_handles(number):
    """A scheduler sends a signal to all processes of a job."""
    with make_engine(workers=2) as engine:
        os.kill(engine.children[0].pid, number)  # while the worker starts
        train(engine)
        os.kill(engine.children[0].pid, number)
        train(engine)


def test_a_worker_that_raises_an_error_prints_it_and_raises_worker_error_in_the_parent(capfd):
    with make_engine(workers=2) as engine:
        train(engine)
        engine.children[0].stdin.write(b"?")
        with pytest.raises(WorkerError):
            train(engine)
    assert "KeyError" in capfd.readouterr().err


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_no_child_process_and_no_open_file_remains_after_the_context(error):
    files = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt), make_engine(workers=3) as engine:
        train(engine)
        assert all(child.poll() is None for child in engine.children)
        if error:
            raise error
    assert len(engine.children) == 2
    for child in engine.children:
        assert child.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
    del engine, child
    gc.collect()
    if files:
        assert set(os.listdir("/proc/self/fd")) <= files


def test_the_workers_end_when_their_parent_is_killed():
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_numpy import make_engine, train
        with make_engine(workers=3) as engine:
            train(engine)
            print(*engine.process_ids, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-P", "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert len(pids) == 2
    for pid in pids:
        while is_running(pid):  # the alarm ends an endless loop
            time.sleep(0.01)


def is_running(pid):
    """Whether a process exists and is not a zombie."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_workers_do_not_import_modules_from_the_working_directory(tmp_path, monkeypatch):
    for name in ("numpy", "random", "queue", "charrnn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    monkeypatch.chdir(tmp_path)
    with make_engine(workers=2) as engine:
        assert np.isfinite(train(engine)[0]).all()
