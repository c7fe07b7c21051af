"""Beam search, against a search of all targets; drawing. Sources do not affect each other."""

import itertools

import numpy as np
import pytest

from charrnn.corpus.pairs import SourceRecords
from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.parameters import named_views
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.tasks.encoder_decoder import beam_search
from charrnn.tasks.encoder_decoder.beam_search import Decoder

V, END, LIMIT = 4, 0, 4
IDS = [np.array(ids) for ids in ([1], [2, 3], [3, 2, 1, 1], [2], [1, 3, 2])]
NUMBERS = [np.random.default_rng(n).standard_normal((n % 3 + 1, 2)) for n in range(5)]
SOURCES = {"ids": IDS, "numbers": NUMBERS}

NOTHING = np.empty(0, int)

cells = pytest.mark.parametrize("cell", CELLS)
attention = pytest.mark.parametrize("attends", [True, False], ids=["attention", "no attention"])


def make_decoder(cell="lstm", attends=True, source="ids", embedding_size=0, seed=0):
    """A decoder with random parameters."""
    architecture = Architecture(
        cell=cell,
        hidden_size=6,
        num_layers=2,
        embedding_size=embedding_size,
        attention=attends,
        input_size=V,
        output_size=V,
        source=source,
        source_size=4 if source == "ids" else 2,
    )
    flat = np.random.default_rng(seed).normal(0, 0.9, architecture.num_parameters)
    return Decoder(new_backend(), architecture, flat, END)


def log_probabilities(decoder, source, targets):
    """The log probability of each target and the end symbol, from one pass over source and target."""
    records = SourceRecords([source] * len(targets), [np.array(target, int) for target in targets], END)
    batch = records.batch(range(len(targets)), len(targets))
    network = Network(decoder.architecture, decoder.parameters, *batch.x.shape[::-1], source_length=len(source))
    losses = network.losses(batch, np.zeros(decoder.architecture.state_shape(len(targets))))
    return -losses.sum(axis=0)


@cells
@attention
@pytest.mark.parametrize(("source", "embedding_size"), [("ids", 0), ("ids", 3), ("numbers", 0)])
def test_a_wide_beam_finds_the_most_likely_of_all_targets(cell, attends, source, embedding_size):
    decoder = make_decoder(cell, attends, source, embedding_size)
    symbols = [i for i in range(V) if i != END]
    all_targets = [target for length in range(LIMIT) for target in itertools.product(symbols, repeat=length)]
    sources = SOURCES[source]
    results = decoder.search(sources, beam=200, limit=LIMIT)
    for source_array, hypotheses in zip(sources, results, strict=True):
        log_p = log_probabilities(decoder, source_array, all_targets).tolist()
        ranked = sorted(zip(log_p, all_targets, strict=True), reverse=True)[:8]
        ended = [(p, tuple(target.tolist())) for target, p in hypotheses if len(target) < LIMIT][:8]
        assert [target for _, target in ended] == [target for _, target in ranked]
        np.testing.assert_allclose([p for p, _ in ended], [p for p, _ in ranked], rtol=0, atol=1e-9)


def plain_beam_search(decoder, source, beam, limit):
    """One source, one hypothesis and one symbol at a time: the targets, and their log probabilities."""

    def next_log_p(target):
        """The log probability of each symbol after a target."""
        records = SourceRecords([source], [np.array(target, int)], END)
        batch = records.batch([0], 1)
        network = Network(decoder.architecture, decoder.parameters, 1, len(batch.x), source_length=len(source))
        hidden = network.forward_hidden(batch, np.zeros(decoder.architecture.state_shape(1)))
        logits = network.head_outputs(hidden, None)[-1]
        return logits - np.log(np.exp(logits).sum())

    unfinished = [(0.0, ())]
    ended = []
    for _ in range(limit):
        candidates = [
            (log_p + symbol_log_p, (*target, symbol))
            for log_p, target in unfinished
            for symbol, symbol_log_p in enumerate(next_log_p(target).tolist())
        ]
        candidates.sort(reverse=True)
        ended += [(log_p, target[:-1]) for log_p, target in candidates[:beam] if target[-1] == END]
        ended.sort(reverse=True)
        unfinished = [candidate for candidate in candidates if candidate[1][-1] != END][:beam]
        if len(ended) >= beam and ended[beam - 1] >= unfinished[0]:
            return ended[:beam]
    return sorted([*ended, *unfinished], reverse=True)[:beam]


@attention
@pytest.mark.parametrize("beam", [1, 2, 5])
def test_the_hypotheses_are_those_of_a_plain_beam_search(attends, beam):
    decoder = make_decoder("gru", attends, embedding_size=3, seed=1)
    for source, hypotheses in zip(IDS, decoder.search(IDS, beam=beam, limit=6), strict=True):
        expected = plain_beam_search(decoder, source, beam, limit=6)
        assert [tuple(target.tolist()) for target, _ in hypotheses] == [target for _, target in expected]
        np.testing.assert_allclose([p for _, p in hypotheses], [p for p, _ in expected], rtol=0, atol=1e-9)


@cells
@attention
def test_with_beam_1_every_symbol_is_the_most_likely_one(cell, attends):
    decoder = make_decoder(cell, attends, seed=1)
    results = decoder.search(IDS, beam=1, limit=9)
    greedy = decoder.draw(IDS, SamplingOptions(greedy=True), [lambda: 0.0] * len(IDS), limit=9, prime=NOTHING)
    for hypotheses, (expected_target, nats) in zip(results, greedy, strict=True):
        ((target, log_p),) = hypotheses
        assert target.tolist() == expected_target
        assert log_p == pytest.approx(-sum(nats), abs=1e-9)


def test_a_drawn_target_continues_the_prime():
    decoder = make_decoder()
    greedy = SamplingOptions(greedy=True)
    uniforms = [lambda: 0.0] * len(IDS)
    for n, (whole, nats) in enumerate(decoder.draw(IDS, greedy, uniforms, limit=6, prime=NOTHING)):
        for length in range(len(whole)):
            prime = np.array(whole[:length], int)
            ((rest, rest_nats),) = decoder.draw([IDS[n]], greedy, uniforms[:1], limit=6 - length, prime=prime)
            assert rest == whole[length:]
            np.testing.assert_allclose(rest_nats, nats[length:])


@attention
@pytest.mark.parametrize("source", SOURCES)
def test_the_targets_of_a_source_do_not_depend_on_the_other_sources(attends, source, monkeypatch):
    decoder = make_decoder(attends=attends, source=source)
    together = decoder.search(SOURCES[source], beam=3, limit=9)
    monkeypatch.setattr(beam_search, "MAX_STREAMS", 3)  # one source per group
    alone = decoder.search(SOURCES[source], beam=3, limit=9)
    for first, second in zip(together, alone, strict=True):
        assert [target.tolist() for target, _ in first] == [target.tolist() for target, _ in second]
        np.testing.assert_allclose([p for _, p in first], [p for _, p in second], rtol=0, atol=1e-9)


def test_the_length_of_a_target_is_limited_by_the_length_of_its_source(monkeypatch):
    monkeypatch.setattr(beam_search, "MIN_LIMIT", 3)
    monkeypatch.setattr(beam_search, "LIMIT_PER_SOURCE_STEP", 2)
    decoder = make_decoder()
    named = named_views(decoder.architecture.specs(), decoder.parameters)
    named["head.bias"][END] = -30.0  # makes the end symbol very unlikely
    limits = [3 + 2 * len(source) for source in IDS]
    assert [len(target) for ((target, _), *_) in decoder.search(IDS, beam=2, limit=10**8)] == limits
    uniforms = [np.random.default_rng(1).random for _ in IDS]
    drawn = decoder.draw(IDS, SamplingOptions(), uniforms, limit=10**8, prime=NOTHING)
    assert [len(target) for target, _ in drawn] == limits
    assert [len(target) for ((target, _), *_) in decoder.search(IDS, beam=2, limit=4)] == [4] * len(IDS)


@attention
def test_targets_depend_on_their_source(attends):
    decoder = make_decoder(attends=attends)
    assert len({round(log_p, 6) for ((_, log_p),) in decoder.search(IDS, beam=1, limit=9)}) == len(IDS)


def test_hypotheses_that_do_not_end_are_returned_at_the_limit():
    decoder = make_decoder()
    named = named_views(decoder.architecture.specs(), decoder.parameters)
    named["head.bias"][END] = -30.0  # makes the end symbol very unlikely
    for hypotheses in decoder.search(IDS, beam=3, limit=5):
        assert [len(target) for target, _ in hypotheses] == [5, 5, 5]
        log_p = [p for _, p in hypotheses]
        assert log_p == sorted(log_p, reverse=True)


@attention
def test_a_drawn_target_depends_only_on_its_source_and_its_generator(attends):
    decoder = make_decoder(attends=attends)
    options = SamplingOptions(temperature=1.3)

    def draw(numbers):
        uniforms = [np.random.default_rng(n).random for n in numbers]
        drawn = decoder.draw([IDS[n] for n in numbers], options, uniforms, limit=9, prime=NOTHING)
        return [target for target, _ in drawn]

    assert draw([0, 1, 2, 3, 4]) == [target for n in range(5) for target in draw([n])]
