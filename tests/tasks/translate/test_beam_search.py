"""Beam search, against a search of all targets; drawing. Sources do not affect each other."""

import itertools

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.tasks.translate import beam_search
from charrnn.tasks.translate.beam_search import Decoder

V, END, LIMIT = 4, 0, 4
SOURCES = [np.array(ids) for ids in ([1], [2, 3], [3, 2, 1, 1], [2], [1, 3, 2])]


def make_decoder(cell="lstm", layers=2, embedding_size=0, seed=0):
    """A decoder with random parameters."""
    shape = {"cell": cell, "hidden_size": 6, "num_layers": layers, "embedding_size": embedding_size}
    architecture = Architecture(**shape, input_size=V, output_size=V)
    flat = np.random.default_rng(seed).normal(0, 0.9, count_parameters(architecture.specs()))
    return Decoder(new_backend(), architecture, flat, END)


def log_probability(decoder, source, target):
    """The log probability of a target and the end symbol, from one pass over source and target."""
    ids = np.concatenate([source, target, [END]]).astype(int)[:, None]
    network = Network(decoder.architecture, decoder.parameters, 1, len(ids) - 1)
    losses = network.losses(Batch(ids[:-1], ids[1:]), np.zeros(decoder.architecture.state_shape(1)))
    return -losses[len(source) - 1 :].sum()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_wide_beam_finds_the_most_likely_of_all_targets(cell, embedding_size):
    decoder = make_decoder(cell, embedding_size=embedding_size)
    symbols = [i for i in range(V) if i != END]
    all_targets = [target for length in range(LIMIT) for target in itertools.product(symbols, repeat=length)]
    results = decoder.search(SOURCES, beam=200, limit=LIMIT)
    for source, hypotheses in zip(SOURCES, results, strict=True):
        ranked = sorted(((log_probability(decoder, source, t), t) for t in all_targets), reverse=True)[:8]
        ended = [(log_p, tuple(target.tolist())) for target, log_p in hypotheses if len(target) < LIMIT][:8]
        assert [target for _, target in ended] == [target for _, target in ranked]
        np.testing.assert_allclose([p for p, _ in ended], [p for p, _ in ranked], rtol=0, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_with_beam_1_every_symbol_is_the_most_likely_one(cell):
    decoder = make_decoder(cell, seed=1)
    results = decoder.search(SOURCES, beam=1, limit=9)
    greedy = decoder.draw(SOURCES, SamplingOptions(greedy=True), [lambda: 0.0] * len(SOURCES), limit=9)
    for hypotheses, (expected_target, expected_log_p) in zip(results, greedy, strict=True):
        ((target, log_p),) = hypotheses
        assert target.tolist() == expected_target.tolist()
        assert log_p == pytest.approx(expected_log_p, abs=1e-9)


def test_the_targets_of_a_source_do_not_depend_on_the_other_sources(monkeypatch):
    decoder = make_decoder()
    together = decoder.search(SOURCES, beam=3, limit=9)
    monkeypatch.setattr(beam_search, "MAX_STREAMS", 3)  # one source per group
    alone = decoder.search(SOURCES, beam=3, limit=9)
    for first, second in zip(together, alone, strict=True):
        assert [target.tolist() for target, _ in first] == [target.tolist() for target, _ in second]
        np.testing.assert_allclose([p for _, p in first], [p for _, p in second], rtol=0, atol=1e-9)


def test_hypotheses_that_do_not_end_are_returned_at_the_limit():
    decoder = make_decoder()
    named = named_views(decoder.architecture.specs(), decoder.parameters)
    named["head.bias"][END] = -30.0  # makes the end symbol very unlikely
    for hypotheses in decoder.search(SOURCES, beam=3, limit=5):
        assert [len(target) for target, _ in hypotheses] == [5, 5, 5]
        log_p = [p for _, p in hypotheses]
        assert log_p == sorted(log_p, reverse=True)


def test_a_drawn_target_depends_only_on_its_source_and_its_generator():
    decoder = make_decoder()
    options = SamplingOptions(temperature=1.3)

    def draw(numbers):
        uniforms = [np.random.default_rng(n).random for n in numbers]
        drawn = decoder.draw([SOURCES[n] for n in numbers], options, uniforms, limit=9)
        return [target.tolist() for target, _ in drawn]

    assert draw([0, 1, 2, 3, 4]) == [target for n in range(5) for target in draw([n])]
