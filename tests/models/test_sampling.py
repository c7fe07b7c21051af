"""The choice of the next symbol: temperature, top-k, top-p, min-p and greedy."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.models.sampling import choose, draw_texts, filtered_probabilities
from charrnn.options import SamplingOptions

P = [0.25, 0.5, 0.1, 0.15]
JUST_BELOW_1 = math.nextafter(1, 0)
uniform_numbers = st.floats(0, JUST_BELOW_1) | st.just(JUST_BELOW_1)


def distribution(logits, **options):
    """The probabilities from which a symbol is drawn; the default temperature is 1 here."""
    shifted = logits - logits.max()
    (p,) = filtered_probabilities(shifted[None], SamplingOptions(**{"temperature": 1.0, **options}))
    return p / p.sum()


def choose_one(logits, options, u):
    (i,), (nats,) = choose(logits[None], options, np.array([u]))
    return i, nats


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"top_k": 2}, [1 / 3, 2 / 3, 0, 0]),
        ({"top_k": 4}, P),
        ({"top_k": 99}, P),
        ({"top_p": 0.3}, [0, 1, 0, 0]),
        ({"top_p": 0.7}, [1 / 3, 2 / 3, 0, 0]),
        ({"top_p": 0.8}, [0.25 / 0.9, 0.5 / 0.9, 0, 0.15 / 0.9]),
        ({"top_p": 0.0}, [0, 1, 0, 0]),
        ({"min_p": 0.25}, [0.25 / 0.9, 0.5 / 0.9, 0, 0.15 / 0.9]),
        ({"min_p": 0.4}, [1 / 3, 2 / 3, 0, 0]),
        ({"min_p": 1.0}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, [0.0625 / 0.345, 0.25 / 0.345, 0.01 / 0.345, 0.0225 / 0.345]),
        ({"temperature": 1e-9}, [0, 1, 0, 0]),
        ({"temperature": 1e9}, [0.25] * 4),
        ({"top_k": 3, "top_p": 0.8}, [1 / 3, 2 / 3, 0, 0]),  # 80 % of the 0.9 that top-k leaves
        ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0]),  # 0.25 is over 70 % of 0.345
        ({"top_k": 3, "min_p": 0.4}, [1 / 3, 2 / 3, 0, 0]),
    ],
)
def test_examples_computed_by_hand(options, expected):
    for offset in (0.0, 700.0, -1e5):
        np.testing.assert_allclose(distribution(np.log(P) + offset, **options), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("scale", [0.01, 2.0])
@pytest.mark.parametrize("options", [{"top_p": 0.7}, {"top_k": 300}, {"top_k": 20, "top_p": 0.5}, {"top_k": 5}])
def test_a_large_vocabulary_is_filtered_like_a_sorted_list(scale, options):
    """With the small scale, 70 % of the probability are in far more symbols than are sorted at first."""
    logits = np.random.default_rng(1).normal(0, scale, 2000)
    p = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1][: options.get("top_k", 2000)]
    more_likely = np.cumsum(p) - p
    kept = p[more_likely < options.get("top_p", 1.0) * p.sum()]
    actual = distribution(logits, **options)
    np.testing.assert_allclose(np.sort(actual)[::-1][: len(kept)], kept / kept.sum(), rtol=1e-9)
    assert np.count_nonzero(actual) == len(kept)


@pytest.mark.parametrize("options", [{"greedy": True}, {"temperature": 0.0}, {"greedy": True, "temperature": 2.0}])
@pytest.mark.parametrize("u", [0.0, 0.5, JUST_BELOW_1])
def test_greedy_takes_the_most_likely_symbol(options, u):
    i, nats = choose_one(np.log(P) + 3, SamplingOptions(**options), u)
    assert i == 1 and nats == pytest.approx(-math.log(0.5))


def test_top_k_keeps_exactly_k_of_equally_likely_symbols():
    assert np.count_nonzero(distribution(np.zeros(5), top_k=2)) == 2


# Multiples of 1/8, so that distinct logits have distinct probabilities after any addition.
logit_vectors = st.lists(st.integers(-320, 320).map(lambda n: n / 8), min_size=1, max_size=12)
sampling_options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.01, 5),
        "top_k": st.integers(0, 14),
        "top_p": st.floats(0, 1),
        "min_p": st.floats(0, 1),
    },
)


@settings(max_examples=300, deadline=None)
@given(logit_vectors, sampling_options, st.sampled_from([np.float32, np.float64]))
def test_the_most_likely_symbols_stay_with_unchanged_proportions(logits, options, dtype):
    logits = np.array(logits, dtype)
    p = distribution(logits, **options)
    assert p.sum() == pytest.approx(1, rel=1e-5)
    stays = p > 0
    assert 1 <= stays.sum() <= (options.get("top_k") or len(p))
    assert logits[stays].min() >= logits[~stays].max(initial=-np.inf)
    scaled = logits.astype(np.float64) / options.get("temperature", 1)
    unfiltered = np.exp(scaled - scaled.max())
    rtol = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(p[stays], (unfiltered / unfiltered[stays].sum())[stays], rtol=rtol, atol=1e-30)
    unfiltered /= unfiltered.sum()
    if set(options) <= {"temperature", "top_p"}:
        total = unfiltered[stays].sum()
        assert total >= options.get("top_p", 1) - 1e-5
        assert total - unfiltered[stays].min() < options.get("top_p", 1) + 1e-5 or stays.sum() == 1
    if set(options) <= {"temperature", "min_p"}:
        assert (unfiltered[stays] >= options.get("min_p", 0) * unfiltered.max() * (1 - 1e-5)).all()


@settings(max_examples=300, deadline=None)
@given(logit_vectors, sampling_options, uniform_numbers, st.sampled_from(["f4", "f8"]))
def test_an_excluded_symbol_is_never_chosen_and_nats_are_unfiltered(logits, options, u, dtype):
    logits = np.array(logits, dtype)
    i, nats = choose_one(logits, SamplingOptions(**{"temperature": 1.0, **options}), u)
    assert distribution(logits, **options)[i] > 0
    exact = logits.astype(np.float64)
    assert nats == pytest.approx(np.logaddexp.reduce(exact) - exact[i], rel=1e-5, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(sampling_options, st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_choice_of_a_stream_does_not_depend_on_the_others(options, streams, symbols, seed):
    rng = np.random.default_rng(seed)
    options = SamplingOptions(**options)
    logits = 3 * rng.standard_normal((streams, symbols))
    u = rng.random(streams)
    together = list(zip(*choose(logits, options, u), strict=True))
    assert together == [choose_one(row, options, each) for row, each in zip(logits, u, strict=True)]


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"temperature": 0.7, "top_p": 0.9}, {"min_p": 0.25}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_symbols_are_chosen_as_often_as_they_are_likely(options, dtype):
    """Over a grid of n values of u, the frequency of a symbol is its probability up to the resolution of the grid."""
    logits = np.log(P).astype(dtype)
    n = 2000
    u = (np.arange(n) + 0.5) / n
    chosen, _ = choose(np.tile(logits, (n, 1)), SamplingOptions(**{"temperature": 1.0, **options}), u)
    np.testing.assert_allclose(np.bincount(chosen, minlength=4) / n, distribution(logits, **options), atol=1.5 / n)


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.75, JUST_BELOW_1])
def test_a_symbol_of_probability_zero_is_never_chosen(u):
    logits = np.array([-np.inf, 0.0, -np.inf, -np.inf, 0.0, -np.inf])
    assert choose_one(logits, SamplingOptions(), u)[0] == (1 if u < 0.5 else 4)


def test_texts_end_with_the_end_symbol_or_at_the_limit_and_do_not_depend_on_each_other():
    table = np.random.default_rng(1).normal(0, 1, (5, 5))  # the next logits depend only on the last symbol

    def draw(seeds, limit):
        uniforms = [np.random.default_rng(seed).random for seed in seeds]
        first = np.tile(table[1], (len(seeds), 1))
        return draw_texts(lambda ids: table[ids], first, SamplingOptions(temperature=1.0), uniforms, 0, limit)

    together = draw(range(20), 4)
    assert together == [text for seed in range(20) for text in draw([seed], 4)]
    has_end = [len(nats) == len(ids) + 1 for ids, nats in together]
    assert all(len(ids) == len(nats) == 4 for (ids, nats), ended in zip(together, has_end, strict=True) if not ended)
    assert True in has_end and False in has_end
    assert all(0 not in ids for ids, _ in together)
    for (ids, nats), ended in zip(together, has_end, strict=True):
        symbols = [1, *ids, *([0] if ended else [])]
        expected = [np.logaddexp.reduce(table[a]) - table[a, b] for a, b in pairwise(symbols)]
        np.testing.assert_allclose(nats, expected)
