"""Networks with an encoder and a decoder on both engines: any number of workers and any device gives the same numbers.

The tests of the PyTorch engine are skipped if PyTorch is not installed. They also run on a GPU if there is one.
"""

import importlib.util
import signal
from dataclasses import replace

import numpy as np
import pytest

from charrnn.corpus.pairs import PairPass, PairStream, SourceRecords
from charrnn.engines.masks import draw_masks, draw_step_masks
from charrnn.engines.numpy.backend import NumpyBackend
from charrnn.engines.numpy.engine import NumpyEngine
from charrnn.engines.select import new_backend, new_engine
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.models.transfer import initial_parameters
from charrnn.nn.optimizers import OPTIMIZERS, clip_factor
from charrnn.nn.parameters import named_views
from charrnn.nn.stack import CELLS
from charrnn.options import ResolvedTraining

HAS_TORCH = importlib.util.find_spec("torch") is not None
B = 4
MAX_STEPS = 6  # of a source or a target
V = 6  # target symbols
SOURCE_SIZES = {"ids": 5, "numbers": 3}
LEARNING_RATE = 0.01
CLIP_NORM = 0.5
DROPOUT = {"dropout": 0.3, "recurrent_dropout": 0.4}
NO_DROPOUT = {"dropout": 0.0, "recurrent_dropout": 0.0}

cells = pytest.mark.parametrize("cell", CELLS)
embeddings = pytest.mark.parametrize("embedding_size", [0, 3], ids=["one-hot", "embedding"])
sources = pytest.mark.parametrize("source", ["ids", "numbers"])
attention = pytest.mark.parametrize("attends", [True, False], ids=["attention", "no attention"])
with_torch = pytest.mark.skipif(not HAS_TORCH, reason="the extra `torch` is not installed")


def torch_devices():
    if not HAS_TORCH:
        return []
    import torch

    return ["torch", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def _fail_instead_of_hanging():
    """A test that waits for a worker for more than two minutes fails."""

    def give_up(*_):
        raise TimeoutError("the engine hangs")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def make_architecture(cell="lstm", embedding_size=0, source="ids", attends=True, layers=2):
    """The hidden size is odd, so the encoder's outputs are wider than the decoder's."""
    return Architecture(
        cell=cell,
        hidden_size=5,
        num_layers=layers,
        embedding_size=embedding_size,
        attention=attends,
        input_size=V,
        output_size=V,
        source=source,
        source_size=SOURCE_SIZES[source],
    )


def make_records(source):
    """13 records of different lengths, so that one of four batches has three empty streams.

    In each target the symbols follow each other in the same order, so the network can learn them.
    """
    rng = np.random.default_rng(4)
    sources = []
    for length in rng.integers(1, MAX_STEPS + 1, 13).tolist():
        size = SOURCE_SIZES[source]
        sources.append(rng.integers(0, size, length) if source == "ids" else rng.standard_normal((length, size)))
    targets = [1 + (rng.integers(V) + np.arange(length)) % (V - 1) for length in rng.integers(1, MAX_STEPS, 13)]
    return SourceRecords(sources, targets, end=0)


def make_options(**options):
    return ResolvedTraining(
        **{
            "batch_size": B,
            "seq_length": MAX_STEPS,
            "workers": 1,
            "learning_rate": LEARNING_RATE,
            "weight_decay": 0.1,
            **NO_DROPOUT,
        }
        | options
    )


def initial_vector(architecture):
    """The parameters of a new network in float64."""
    return initial_parameters(architecture, seed=6).astype(np.float64)


def train(engine, steps):
    """Trains as the trainer does. Returns copies of the engine's arrays, the losses and norms, and the scores."""
    records = make_records(engine.architecture.source)
    parameters = initial_vector(engine.architecture)
    engine.load(parameters=parameters, average=parameters)
    engine.stream = PairStream(records, engine.train.batch_size, seed=1)
    numbers = []
    for step in range(steps):
        loss, norm = engine.gradient(step)
        engine.update(LEARNING_RATE, clip_factor(norm, CLIP_NORM))
        numbers += [loss, norm]
    arrays = {"average": engine.average, **engine.tensors()}
    validation = PairPass(records, engine.train.batch_size)
    total = sum(engine.score(step, validation.batch(step)) for step in range(validation.steps))
    return {
        **{name: array.copy() for name, array in arrays.items()},
        "losses and norms": np.array(numbers),
        "validation": total / validation.predictions,
    }


def train_without_workers(architecture, options, steps):
    """The same computation with one network, one gradient, and the optimizer on the whole vector."""
    records = make_records(architecture.source)
    stream = PairStream(records, options.batch_size, seed=1)
    flat = initial_vector(architecture)
    average = flat.copy()
    grads = np.empty_like(flat)
    network = Network(architecture, flat, options.batch_size, MAX_STEPS, grads, MAX_STEPS)
    optimizer = OPTIMIZERS[options.optimizer]
    moments = np.zeros((optimizer.num_moments, len(flat)))
    state = np.zeros(architecture.state_shape(options.batch_size))
    numbers = []
    for step in range(steps):
        batch = stream.batch(step)
        batch = replace(batch, loss_mask=batch.loss_mask.astype(np.float64))
        masks = draw_step_masks(architecture, options, step, "float64")
        loss = network.loss_and_gradient(batch, state, 1 / batch.num_scored, masks.outputs, masks.recurrent)
        norm = np.linalg.norm(grads)
        grads *= min(1, CLIP_NORM / norm)
        for array in named_views(architecture.specs(), flat).values():
            array *= 1 - LEARNING_RATE * options.weight_decay * (array.ndim == 2)
        optimizer.update(flat, grads, moments, step + 1, LEARNING_RATE)
        average += (flat - average) / (1 + 0.1 * step)
        numbers += [loss, norm]
    network.set_parameters(average)
    scoring_pass = PairPass(records, options.batch_size)
    sums = sum(network.sums(scoring_pass.batch(step), np.zeros_like(state)) for step in range(scoring_pass.steps))
    return {
        "average": average,
        "parameters": flat,
        "moments": moments,
        "state": state,
        "losses and norms": np.array(numbers),
        "validation": sums / scoring_pass.predictions,
    }


def assert_same_numbers(actual, expected, tolerance):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ({"cell": "lstm", "embedding_size": 3}, DROPOUT),
        ({"cell": "gru", "source": "numbers"}, NO_DROPOUT),
        ({"cell": "rnn", "attends": False}, DROPOUT),
        ({"cell": "lstm"}, {**DROPOUT, "batch_size": 2}),
    ],
    ids=["lstm, embedding", "gru, numbers", "rnn, no attention", "one stream per worker"],
)
def test_any_number_of_workers_computes_the_same_as_one_network(architecture, options):
    architecture = make_architecture(**architecture)
    expected = train_without_workers(architecture, make_options(**options), steps=6)
    for workers in (1, 2):
        with NumpyEngine(architecture, make_options(workers=workers, **options), "float64") as engine:
            assert_same_numbers(train(engine, steps=6), expected, tolerance=1e-10)


def test_the_same_number_of_workers_gives_the_same_bits_twice():
    architecture = make_architecture(embedding_size=3)
    runs = []
    for _ in range(2):
        with NumpyEngine(architecture, make_options(workers=2, **DROPOUT), "float32") as engine:
            runs.append(train(engine, steps=4))
    for name, array in runs[0].items():
        np.testing.assert_array_equal(runs[1][name], array, err_msg=name)
        assert np.isfinite(array).all(), name


@pytest.fixture
def same_masks(monkeypatch):
    """Draws the dropout masks with NumPy on every device. A GPU's own masks have other values."""
    import torch

    def draw(key, shapes, rate, dtype, device):
        return [torch.tensor(mask, device=device) for mask in draw_masks(key, shapes, rate, dtype)]

    monkeypatch.setattr("charrnn.engines.torch.engine.draw_masks_on_device", draw)


def assert_engines_agree(architecture, options, steps):
    """Trains with both engines, on all devices. Returns the losses."""
    results = {}
    for device in ("cpu", *torch_devices()):
        with new_engine(architecture, make_options(device=device, **options), "float64") as engine:
            results[device] = train(engine, steps)
    for device in torch_devices():
        assert_same_numbers(results[device], results["cpu"], tolerance=1e-8)
    return results["cpu"]["losses and norms"][::2]


@with_torch
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ({"cell": "lstm", "embedding_size": 3}, DROPOUT),
        ({"cell": "gru", "source": "numbers"}, NO_DROPOUT),
    ],
    ids=["lstm, embedding, dropout", "gru, numbers"],
)
@pytest.mark.usefixtures("same_masks")
def test_both_engines_compute_the_same_in_60_steps(architecture, options):
    losses = assert_engines_agree(make_architecture(**architecture, layers=1), options, 60)
    assert losses[-20:].mean() < losses[:20].mean() - 0.1  # the network learns


@with_torch
@cells
@pytest.mark.parametrize(("source", "embedding_size"), [("ids", 0), ("ids", 3), ("numbers", 0)])
@attention
@pytest.mark.usefixtures("same_masks")
def test_both_engines_compute_the_same_with_all_options(cell, embedding_size, source, attends):
    """In two layers, with dropout, for each step of an epoch, one with empty streams."""
    assert_engines_agree(make_architecture(cell, embedding_size, source, attends), DROPOUT, 4)


@with_torch
@pytest.mark.parametrize("device", torch_devices())
@cells
@embeddings
@sources
@attention
def test_networks_of_both_backends_agree_on_losses_sums_and_the_final_state(
    cell, embedding_size, source, attends, device
):
    """Also for a batch with empty streams."""
    architecture = make_architecture(cell, embedding_size, source, attends)
    flat = initial_vector(architecture)
    records = make_records(source)
    networks = [
        backend.network(architecture, flat, B, MAX_STEPS, MAX_STEPS)
        for backend in (NumpyBackend(), new_backend(device))
    ]
    for chosen in ([0, 1, 2, 3], [8]):
        batch = records.batch(chosen, B)
        for method in ("losses", "sums"):
            states = [np.zeros(architecture.state_shape(B)) for _ in networks]
            expected, actual = (
                getattr(network, method)(batch, state) for network, state in zip(networks, states, strict=True)
            )
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)
            np.testing.assert_allclose(states[1], states[0], rtol=0, atol=1e-10)


@with_torch
@pytest.mark.parametrize("device", torch_devices())
@cells
@embeddings
@sources
@attention
def test_decoders_of_both_backends_agree_after_every_operation(cell, embedding_size, source, attends, device):
    architecture = make_architecture(cell, embedding_size, source, attends)
    flat = initial_vector(architecture)
    batch_source = make_records(source).batch([0, 1, 2], 3).source
    expected, actual = (
        backend.decoder(architecture, flat, batch_source, 2) for backend in (NumpyBackend(), new_backend(device))
    )
    assert expected.alignment is None and actual.alignment is None
    rng = np.random.default_rng(1)

    def step():
        for ids in (rng.integers(0, V, 6), rng.integers(0, V, 6).tolist()):
            np.testing.assert_allclose(actual.step(ids), expected.step(ids), rtol=0, atol=1e-10)
        if attends:
            assert actual.alignment.shape == (3, 2, len(batch_source.x))
            np.testing.assert_allclose(actual.alignment, expected.alignment, rtol=0, atol=1e-10)
        else:
            assert actual.alignment is None

    step()
    for decoder in (expected, actual):
        decoder.select_streams(np.array([1, 0, 3, 3, 4, 5]))
    step()
