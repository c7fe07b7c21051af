"""Decoding: the beam finds what trying everything finds, beam 1 is greedy, and company changes nothing."""

import itertools

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.translate import decoding
from charrnn.tasks.translate.decoding import Decoder

V, END, LIMIT = 4, 0, 4
SOURCES = [np.array(ids) for ids in ([1], [2, 3], [3, 2, 1, 1], [2], [1, 3, 2])]


def decoder_of(cell="lstm", layers=2, embedding_size=0, seed=0):
    architecture = Architecture(
        cell=cell, hidden_size=6, num_layers=layers, embedding_size=embedding_size, input_size=V, output_size=V
    )
    specs = architecture.specs()
    flat = np.random.default_rng(seed).normal(0, 0.9, count_parameters(specs))
    return Decoder(Checkpoint(architecture, {}, named_views(specs, flat)), END)


def log_probability(decoder, source, target):
    """Of a target and the end behind it, by one pass over both."""
    ids = np.concatenate([source, target, [END]]).astype(int)[:, None]
    network = Network(decoder.architecture, decoder.flat, 1, len(ids) - 1)
    losses = network.losses(Batch(ids[:-1], ids[1:]), np.zeros(decoder.architecture.state_shape(1)))
    return -losses[len(source) - 1 :].sum()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_wide_beam_finds_the_likeliest_of_all_targets_in_order(cell, embedding_size):
    decoder = decoder_of(cell, embedding_size=embedding_size)
    symbols = [n for n in range(V) if n != END]
    every = [t for size in range(LIMIT) for t in itertools.product(symbols, repeat=size)]
    found = decoder.search(SOURCES, beam=200, limit=LIMIT)
    for source, targets in zip(SOURCES, found, strict=True):
        ranked = sorted(((log_probability(decoder, source, t), t) for t in every), reverse=True)
        best = [(value, target) for target, value in targets if len(target) < LIMIT]
        assert [tuple(target.tolist()) for _, target in best[:8]] == [target for _, target in ranked[:8]]
        np.testing.assert_allclose([v for v, _ in best[:8]], [v for v, _ in ranked[:8]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_beam_1_takes_the_likeliest_symbol_at_each_step(cell):
    decoder = decoder_of(cell, seed=1)
    found = decoder.search(SOURCES, beam=1, limit=9)
    greedy = decoder.draw(SOURCES, SamplingOptions(greedy=True), [lambda: 0.0] * len(SOURCES), limit=9)
    for ((target, value), *others), (expected, its_value) in zip(found, greedy, strict=True):
        assert target.tolist() == expected.tolist() and not others
        assert value == pytest.approx(its_value, abs=1e-9)


def test_a_source_decodes_the_same_whatever_stands_beside_it(monkeypatch):
    decoder = decoder_of()
    together = decoder.search(SOURCES, beam=3, limit=9)
    monkeypatch.setattr(decoding, "ROWS", 3)  # each source by itself
    alone = decoder.search(SOURCES, beam=3, limit=9)
    for some, others in zip(together, alone, strict=True):
        assert [t.tolist() for t, _ in some] == [t.tolist() for t, _ in others]
        np.testing.assert_allclose([v for _, v in some], [v for _, v in others], rtol=0, atol=1e-9)


def test_what_does_not_end_is_broken_off_and_stands_behind_what_does():
    decoder = decoder_of()
    decoder.named["head.bias"][END] = -30.0  # hardly ever ends
    for targets in decoder.search(SOURCES, beam=3, limit=5):
        assert [len(target) for target, _ in targets] == [5, 5, 5]
        values = [value for _, value in targets]
        assert values == sorted(values, reverse=True)


def test_drawn_targets_depend_on_their_own_generator_alone():
    decoder, config = decoder_of(), SamplingOptions(temperature=1.3)

    def draw(numbers):
        uniforms = [np.random.default_rng(n).random for n in numbers]
        return [t.tolist() for t, _ in decoder.draw([SOURCES[n] for n in numbers], config, uniforms, limit=9)]

    assert draw([0, 1, 2, 3, 4]) == [target for n in range(5) for target in draw([n])]
