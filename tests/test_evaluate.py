"""The loss of a text: against a plain loop, read by one stream or by many, whole or shared between workers."""

import itertools
from functools import cache

import numpy as np
import pytest
from reference import stack as reference_stack

from charrnn.config import ModelConfig
from charrnn.evaluate import MAX_STREAMS, SEQ_LENGTH, STREAM_LENGTH, num_streams, text_nats
from charrnn.models.language import LanguageModel, layer_weights, parameter_specs
from charrnn.nn.stack import CELLS, state_shape
from charrnn.optim import adam
from charrnn.params import count, initialise, views

V = 7


def random_weights(config, scale=0.5):
    return np.random.default_rng(2).normal(0, scale, count(parameter_specs(config, V)))


def nats(config, flat, ids, total=1, streams=None, record_end=None):
    """text_nats by a fresh model of as many streams as are read."""
    streams = range(total) if streams is None else streams
    model = LanguageModel(config, V, flat, len(streams), SEQ_LENGTH)
    return text_nats(model, ids, streams, total, record_end)


def plain_nats(config, flat, ids, record_end=None):
    """One step at a time over the whole text, by the reference cells and the definition of the softmax."""
    named = views(parameter_specs(config, V), flat)
    x, targets = ids[:-1, None], ids[1:]
    inputs = named["embedding.weight"][x] if config.embedding_size else x
    state = np.zeros(state_shape(config.cell, config.num_layers, 1, config.hidden_size))
    keep = None if record_end is None else (x != record_end)[:, :, None]
    y, _ = reference_stack(config.cell, layer_weights(named, config.num_layers), inputs, state, keep=keep)
    logits = y[:, 0] @ named["head.weight"].T + named["head.bias"]
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("length", [2, SEQ_LENGTH, SEQ_LENGTH + 1, SEQ_LENGTH + 2, 150])
def test_one_stream_equals_a_plain_loop(cell, embedding_size, length):
    config = ModelConfig(cell=cell, hidden_size=5, num_layers=2, embedding_size=embedding_size)
    flat, ids = random_weights(config), np.random.default_rng(1).integers(0, V, length)
    np.testing.assert_allclose(nats(config, flat, ids), plain_nats(config, flat, ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("total", [1, 3])
def test_with_records_the_state_resets_at_each_however_many_streams_read(cell, total):
    """Records are shorter than what a stream reads before its part, so that the numbers are the same exactly."""
    config = ModelConfig(cell=cell, hidden_size=5, num_layers=2)
    flat, ids = random_weights(config), np.random.default_rng(1).integers(0, V, 700)
    ids[::50] = 3
    actual = nats(config, flat, ids, total, record_end=3)
    np.testing.assert_allclose(actual, plain_nats(config, flat, ids, record_end=3), rtol=0, atol=1e-12)
    assert np.abs(actual - plain_nats(config, flat, ids)).max() > 1e-3


def cyclic_text(size):
    """Text with something to learn: runs of the alphabet, up or down, with a typing error now and then."""
    rng = np.random.default_rng(4)
    ids = np.cumsum(np.repeat(rng.choice([1, 2, 5], size // 10 + 1), 10)[:size]) % V
    return np.where(rng.random(size) < 0.05, rng.integers(0, V, size), ids)


@cache
def trained(cell):
    """(config, weights) after a short training; the loss is well below that of a guess."""
    config = ModelConfig(cell=cell, hidden_size=16)
    specs = parameter_specs(config, V)
    flat, grads = np.empty(count(specs)), np.empty(count(specs))
    initialise(specs, flat, 1)
    b, t = 8, 40
    model, moments = LanguageModel(config, V, flat, b, t, grads), np.zeros((2, len(flat)))
    ids, state = cyclic_text(4001), np.zeros(state_shape(cell, 1, b, 16))
    starts = np.arange(b) * 500
    for step in range(120):
        places = (starts + step * t + np.arange(t)[:, None]) % 4000
        loss = model.loss_and_gradient(ids[places], ids[places + 1], state, 1 / (b * t))
        adam(flat, np.clip(grads, -1, 1), moments, step + 1, 0.01)
    assert loss < 1.2 < np.log(V)
    return config, flat


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("total", [2, 5])
def test_several_streams_equal_one_on_a_trained_model(cell, total):
    config, flat = trained(cell)
    ids = cyclic_text(5000)[-2500:]
    one, several = nats(config, flat, ids), nats(config, flat, ids, total)
    assert several.mean() == pytest.approx(one.mean(), abs=1e-3)
    np.testing.assert_allclose(several, one, rtol=0, atol=1e-3)


@pytest.mark.parametrize("pairs", [8, 9, 10, 11, 12, 301])
@pytest.mark.parametrize("total", [1, 2, 4, 5])
def test_every_prediction_counts_once_and_in_order_however_it_is_shared(pairs, total):
    """Streams given to workers in groups: the groups' numbers are those of all streams together, end to end."""
    config = ModelConfig(cell="gru", hidden_size=5)
    flat, ids = random_weights(config, 0.2), np.random.default_rng(3).integers(0, V, pairs + 1)
    whole = nats(config, flat, ids, total)
    assert len(whole) == pairs
    for cuts in {(0, total), (0, 1, total), (0, total // 2, total), tuple(range(total + 1))}:
        groups = [range(a, b) for a, b in itertools.pairwise(cuts) if a < b]
        shared = np.concatenate([nats(config, flat, ids, total, group) for group in groups])
        np.testing.assert_allclose(shared, whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole, nats(config, flat, ids), rtol=0, atol=1e-3)


def test_short_texts_are_read_by_one_stream_and_long_ones_by_a_bounded_number():
    lengths = [2, STREAM_LENGTH, 2 * STREAM_LENGTH, 2 * STREAM_LENGTH + 1, 10**9]
    assert [num_streams(length) for length in lengths] == [1, 1, 1, 2, MAX_STREAMS]
