"""The loss of a text: against a plain loop, read by one reader or by many."""

import itertools
from functools import cache

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, layer_weights
from charrnn.nn.optimizers import adam
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.nn.stack import CELLS
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.language import scoring
from charrnn.tasks.language.scoring import SEQ_LENGTH, text_nats
from charrnn.tasks.language.streams import TextStream

V = 7


def architecture_of(cell, hidden_size=5, **shape):
    return Architecture(cell=cell, hidden_size=hidden_size, **shape, input_size=V, output_size=V)


def random_weights(architecture, scale=0.5):
    return np.random.default_rng(2).normal(0, scale, architecture.parameters)


@pytest.fixture
def readers(monkeypatch):
    """Sets how many readers share a text of any length."""

    def share(number):
        monkeypatch.setattr(scoring, "READER_LENGTH", 1)
        monkeypatch.setattr(scoring, "MAX_READERS", number)

    return share


def plain_nats(architecture, flat, ids, record_end=None):
    """One step at a time over the whole text, by the reference cells and the definition of the softmax."""
    named = named_views(architecture.specs(), flat)
    x, targets = ids[:-1, None], ids[1:]
    inputs = named["embedding.weight"][x] if architecture.embedding_size else x
    state = np.zeros(architecture.state_shape(1))
    reset_mask = None if record_end is None else (x == record_end)[:, :, None]
    y, _ = reference_stack(
        architecture.cell, layer_weights(named, architecture.num_layers), inputs, state, reset_mask=reset_mask
    )
    logits = y[:, 0] @ named["head.weight"].T + named["head.bias"]
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("length", [2, SEQ_LENGTH, SEQ_LENGTH + 1, SEQ_LENGTH + 2, 150])
def test_one_reader_equals_a_plain_loop(cell, embedding_size, length):
    architecture = architecture_of(cell, num_layers=2, embedding_size=embedding_size)
    flat, ids = random_weights(architecture), np.random.default_rng(1).integers(0, V, length)
    expected = plain_nats(architecture, flat, ids)
    np.testing.assert_allclose(text_nats(architecture, flat, ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [1, 3])
def test_with_records_the_state_resets_at_each_however_many_readers(cell, number, readers):
    """Records are shorter than what a reader reads before its part, so that the numbers are the same exactly."""
    readers(number)
    architecture = architecture_of(cell, num_layers=2)
    flat, ids = random_weights(architecture), np.random.default_rng(1).integers(0, V, 700)
    ids[::50] = 3
    actual = text_nats(architecture, flat, ids, record_end=3)
    np.testing.assert_allclose(actual, plain_nats(architecture, flat, ids, record_end=3), rtol=0, atol=1e-12)
    assert np.abs(actual - plain_nats(architecture, flat, ids)).max() > 1e-3


def cyclic_text(size):
    """Text with something to learn: runs of the alphabet, up or down, with a typing error now and then."""
    rng = np.random.default_rng(4)
    ids = np.cumsum(np.repeat(rng.choice([1, 2, 5], size // 10 + 1), 10)[:size]) % V
    return np.where(rng.random(size) < 0.05, rng.integers(0, V, size), ids)


@cache
def trained(cell):
    """A network and its weights after a short training; the loss is well below that of a guess."""
    architecture = architecture_of(cell, 16)
    specs, (b, t) = architecture.specs(), (8, 40)
    flat, grads = np.empty((2, count_parameters(specs)))
    initialise(specs, flat, (random_generator(1, Purpose.PARAMETERS, n) for n in itertools.count()))
    network, moments = Network(architecture, flat, b, t, grads), np.zeros((2, len(flat)))
    stream, state = TextStream(cyclic_text(4001), b, t), np.zeros(architecture.state_shape(b))
    for step in range(120):
        loss = network.loss_and_gradient(stream.batch(step), state, 1 / (b * t))
        adam(flat, np.clip(grads, -1, 1), moments, step + 1, 0.01)
    assert loss < 1.2 < np.log(V)
    return architecture, flat


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [2, 5])
def test_several_readers_equal_one_on_a_trained_network(cell, number, readers):
    architecture, flat = trained(cell)
    ids = cyclic_text(5000)[-2500:]
    readers(1)
    one = text_nats(architecture, flat, ids)
    readers(number)
    several = text_nats(architecture, flat, ids)
    assert several.mean() == pytest.approx(one.mean(), abs=1e-3)
    np.testing.assert_allclose(several, one, rtol=0, atol=1e-3)
