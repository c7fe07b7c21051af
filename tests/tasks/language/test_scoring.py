"""The loss of a text with one or several readers, against a plain loop."""

from functools import cache

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights
from charrnn.models.transfer import initial_parameters
from charrnn.nn.parameters import named_views
from charrnn.nn.stack import CELLS
from charrnn.tasks.language import scoring
from charrnn.tasks.language.scoring import SEQ_LENGTH, TextScorer
from charrnn.tasks.language.streams import TextStream

V = 7


def make_architecture(cell, hidden_size=5, **shape):
    return Architecture(cell=cell, hidden_size=hidden_size, **shape, input_size=V, output_size=V)


def random_parameters(architecture, scale=0.5):
    return np.random.default_rng(2).normal(0, scale, architecture.num_parameters)


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def readers(request, monkeypatch):
    """A function that sets the number of readers for texts of any length."""
    monkeypatch.setattr(scoring, "available_cores", lambda: request.param)
    monkeypatch.setattr(scoring, "READERS_PER_THREAD", 2)

    def set_readers(number):
        monkeypatch.setattr(scoring, "MIN_READER_LENGTH", 1)
        monkeypatch.setattr(scoring, "MAX_READERS", number)

    return set_readers


def nats_of(architecture, flat, ids, record_end=None, **options):
    """The nats of each prediction ids[1:], section by section."""
    scorer = TextScorer(new_backend(), architecture, flat, record_end, **options)
    return np.concatenate([scorer.nats(ids[start : start + scorer.size + 1]) for start in scorer.section_starts(ids)])


def plain_nats(architecture, flat, ids, record_end=None):
    """The nats by the reference cells and the definition of the softmax."""
    named = named_views(architecture.specs(), flat)
    x = ids[:-1, None]
    targets = ids[1:]
    inputs = named["embedding.weight"][x] if architecture.embedding_size else x
    state = np.zeros(architecture.state_shape(1))
    reset_mask = None if record_end is None else (x == record_end)[:, :, None]
    weights = layer_weights(named, architecture.num_layers)
    y, _ = reference_stack(architecture.cell, weights, inputs, state, reset_mask=reset_mask)
    logits = y[:, 0] @ named["head.weight"].T + named["head.bias"]
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("length", [2, SEQ_LENGTH, SEQ_LENGTH + 1, SEQ_LENGTH + 2, 150])
def test_one_reader_equals_a_plain_loop(cell, embedding_size, length):
    architecture = make_architecture(cell, num_layers=2, embedding_size=embedding_size)
    flat = random_parameters(architecture)
    ids = np.random.default_rng(1).integers(0, V, length)
    expected = plain_nats(architecture, flat, ids)
    np.testing.assert_allclose(nats_of(architecture, flat, ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [1, 3])
def test_the_state_is_reset_after_each_record_with_any_number_of_readers(cell, number, readers):
    readers(number)
    architecture = make_architecture(cell, num_layers=2)
    flat = random_parameters(architecture)
    ids = np.random.default_rng(1).integers(0, V, 700)
    ids[::50] = 3
    actual = nats_of(architecture, flat, ids, record_end=3)
    np.testing.assert_allclose(actual, plain_nats(architecture, flat, ids, record_end=3), rtol=0, atol=1e-12)
    assert np.abs(actual - plain_nats(architecture, flat, ids)).max() > 1e-3


@pytest.mark.parametrize("window", [None, 90])
@pytest.mark.parametrize("number", [1, 3])
def test_the_state_is_reset_at_file_starts_in_all_sections(number, window, readers, monkeypatch):
    readers(number)
    monkeypatch.setattr(scoring, "MAX_READER_LENGTH", SEQ_LENGTH)
    architecture = make_architecture("lstm", num_layers=2)
    flat = random_parameters(architecture)
    ids = np.random.default_rng(1).integers(0, V - 1, 1000)
    starts = np.array([1, 64, 65, 192, 200, 384, 500, 998])  # some are at the starts of sections
    ids[starts] = V - 1  # no other place has this id
    actual = nats_of(architecture, flat, ids, window=window, file_starts=starts)
    np.testing.assert_array_equal(actual, nats_of(architecture, flat, ids, V - 1, window=window))
    if window is None:
        np.testing.assert_allclose(actual, plain_nats(architecture, flat, ids, V - 1), rtol=0, atol=1e-12)


def cyclic_text(size):
    """A text that can be learned: the ids increase by a constant for some characters, with occasional errors."""
    rng = np.random.default_rng(4)
    ids = np.cumsum(np.repeat(rng.choice([1, 2, 5], size // 10 + 1), 10)[:size]) % V
    return np.where(rng.random(size) < 0.05, rng.integers(0, V, size), ids)


@cache
def trained(cell):
    """A network and its parameters after a short training. The loss is well below that of a uniform distribution."""
    architecture = make_architecture(cell, 16)
    batch_size, seq_length = 8, 40
    flat = initial_parameters(architecture, 1).astype(np.float64)
    grads = np.empty_like(flat)
    network = Network(architecture, flat, batch_size, seq_length, grads)
    stream = TextStream(cyclic_text(4001), batch_size, seq_length)
    state = np.zeros(architecture.state_shape(batch_size))
    for step in range(300):
        loss = network.loss_and_gradient(stream.batch(step), state, 1 / (batch_size * seq_length))
        flat -= 1.0 * np.clip(grads, -0.1, 0.1)
    assert loss < 1.2 < np.log(V)
    return architecture, flat


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [2, 5])
def test_several_readers_agree_with_one_on_a_trained_network(cell, number, readers):
    architecture, flat = trained(cell)
    ids = cyclic_text(5000)[-2500:]
    readers(1)
    one = nats_of(architecture, flat, ids)
    readers(number)
    np.testing.assert_allclose(nats_of(architecture, flat, ids), one, rtol=0, atol=1e-3)


def latch():
    """A GRU of one unit that reads symbol 1 once and then remembers it for ever. Afterwards it predicts symbol 2."""
    architecture = make_architecture("gru", 1)
    flat = np.zeros(architecture.num_parameters)
    named = named_views(architecture.specs(), flat)
    named["rnn.bias_ih_l0"][1] = 40.0  # the update gate keeps the state ...
    named["rnn.weight_ih_l0"][1, 1] = -80.0  # ... but not at symbol 1
    named["rnn.weight_ih_l0"][2, 1] = 20.0  # which sets it to 1
    named["head.weight"][2, 0] = 12.0
    return architecture, flat


@pytest.mark.parametrize("sections", [1, 4])
def test_a_state_that_is_never_forgotten_reaches_the_end_of_the_text(sections, readers, monkeypatch):
    readers(7)
    size = 20_000
    monkeypatch.setattr(scoring, "MAX_READER_LENGTH", -(-size // (sections * 7 * SEQ_LENGTH)) * SEQ_LENGTH)
    architecture, flat = latch()
    ids = np.full(size, 2)
    ids[300] = 1
    nats = nats_of(architecture, flat, ids)
    assert (nats[:299] > 1).all()
    assert (nats[301:] < 0.001).all()
    ids[300] = 2
    assert (nats_of(architecture, flat, ids) > 1).all()


@pytest.mark.parametrize("window", [1, 3, SEQ_LENGTH, 100, 5000])
@pytest.mark.parametrize("record_end", [None, 3])
def test_in_windows_the_state_is_reset_at_the_start_of_each_window(window, record_end, readers, monkeypatch):
    readers(4)
    monkeypatch.setattr(scoring, "MAX_READER_LENGTH", 50)
    architecture = make_architecture("lstm")
    flat = random_parameters(architecture)
    ids = np.random.default_rng(1).integers(0, V, 1001)
    actual = nats_of(architecture, flat, ids, record_end, window=window)
    expected = [
        plain_nats(architecture, flat, ids[start : start + window + 1], record_end) for start in range(0, 1000, window)
    ]
    np.testing.assert_allclose(actual, np.concatenate(expected), rtol=0, atol=1e-12)
