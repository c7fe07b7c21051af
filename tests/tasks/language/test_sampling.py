"""Choosing the next character, and what TextModel says of its texts: sample, score and step tell one story."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import stack as reference_stack

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import layer_weights
from charrnn.models.sampling import choose, weights
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS, RecurrentStack, state_shape
from charrnn.nn.stepper import Stepper
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.model import TextModel

P = [0.25, 0.5, 0.1, 0.15]
JUST_BELOW_1 = math.nextafter(1, 0)


def distribution(logits, **choice):
    shifted = logits - logits.max()
    (w,) = weights(shifted[None], SamplingOptions(**{"temperature": 1.0, **choice}))
    return w / w.sum()


def text_model(cell="lstm", symbols="\nabcdef", dtype=np.float64, lines=False, is_bytes=False, size=9, **shape):
    """A model with random weights, large enough that its next characters are far from equally likely."""
    architecture = Architecture(cell=cell, hidden_size=size, **shape, input_size=len(symbols), output_size=len(symbols))
    specs = architecture.specs()
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(specs)).astype(dtype)
    vocabulary = Vocabulary(np.array(sorted(map(ord, symbols)), np.uint32), is_bytes)
    task = {"name": "lm", **vocabulary.to_dict(), "lines": lines}
    return TextModel(Checkpoint(architecture, task, named_views(specs, flat)))


@pytest.mark.parametrize(
    ("choice", "expected"),
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
        ({"top_k": 3, "top_p": 0.8}, [1 / 3, 2 / 3, 0, 0]),  # of the 0.9 that top-k left
        ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0]),  # 0.25 of 0.345 is enough
        ({"top_k": 3, "min_p": 0.4}, [1 / 3, 2 / 3, 0, 0]),
    ],
)
def test_distributions_by_hand(choice, expected):
    for offset in (0.0, 700.0, -1e5):
        np.testing.assert_allclose(distribution(np.log(P) + offset, **choice), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("choice", [{"greedy": True}, {"temperature": 0.0}, {"greedy": True, "temperature": 2.0}])
@pytest.mark.parametrize("u", [0.0, 0.5, JUST_BELOW_1])
def test_greedy_takes_the_most_likely_and_reports_its_nats(choice, u):
    i, nats = choose_one(np.log(P) + 3, SamplingOptions(**choice), u)
    assert i == 1 and nats == pytest.approx(-math.log(0.5))


def test_of_equals_top_k_keeps_exactly_k():
    assert np.count_nonzero(distribution(np.zeros(5), top_k=2)) == 2


def choose_one(logits, config, u):
    (i,), (nats,) = choose(logits[None], config, np.array([u]))
    return i, nats


# Eighths: distinct logits have distinct probabilities, whatever is added to them.
logit_vectors = st.lists(st.integers(-320, 320).map(lambda n: n / 8), min_size=1, max_size=12)
choices = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.01, 5),
        "top_k": st.integers(0, 14),
        "top_p": st.floats(0, 1),
        "min_p": st.floats(0, 1),
    },
)


@settings(max_examples=300, deadline=None)
@given(logit_vectors, choices, st.sampled_from([np.float32, np.float64]))
def test_what_is_kept_is_the_most_likely_in_the_right_proportions(logits, choice, dtype):
    logits = np.array(logits, dtype)
    p = distribution(logits, **choice)
    assert p.sum() == pytest.approx(1, rel=1e-5)
    kept = p > 0
    assert 1 <= kept.sum() <= (choice.get("top_k") or len(p))
    assert logits[kept].min() >= logits[~kept].max(initial=-np.inf)
    scaled = logits.astype(np.float64) / choice.get("temperature", 1)
    full = np.exp(scaled - scaled.max())
    rtol = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(p[kept], (full / full[kept].sum())[kept], rtol=rtol, atol=1e-30)
    full /= full.sum()
    if set(choice) <= {"temperature", "top_p"}:
        assert full[kept].sum() >= choice.get("top_p", 1) - 1e-5
        assert full[kept].sum() - full[kept].min() < choice.get("top_p", 1) + 1e-5 or kept.sum() == 1
    if set(choice) <= {"temperature", "min_p"}:
        assert (full[kept] >= choice.get("min_p", 0) * full.max() * (1 - 1e-5)).all()


@settings(max_examples=300, deadline=None)
@given(logit_vectors, choices, st.floats(0, JUST_BELOW_1) | st.just(JUST_BELOW_1), st.sampled_from(["f4", "f8"]))
def test_a_dropped_symbol_is_never_chosen_and_nats_are_the_model_s_own(logits, choice, u, dtype):
    logits = np.array(logits, dtype)
    i, nats = choose_one(logits, SamplingOptions(**{"temperature": 1.0, **choice}), u)
    assert distribution(logits, **choice)[i] > 0
    exact = logits.astype(np.float64)
    assert nats == pytest.approx(np.logaddexp.reduce(exact) - exact[i], rel=1e-5, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(choices, st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_each_stream_chooses_as_if_it_were_alone(choice, streams, symbols, seed):
    rng, config = np.random.default_rng(seed), SamplingOptions(**choice)
    logits, u = 3 * rng.standard_normal((streams, symbols)), rng.random(streams)
    together = zip(*choose(logits, config, u), strict=True)
    assert list(together) == [choose_one(row, config, each) for row, each in zip(logits, u, strict=True)]


@pytest.mark.parametrize("choice", [{}, {"top_k": 3}, {"temperature": 0.7, "top_p": 0.9}, {"min_p": 0.25}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_choices_come_as_often_as_they_are_likely(choice, dtype):
    """Over an even grid of u, a symbol's share of the choices is its probability to within the grid."""
    logits, n = np.log(P).astype(dtype), 2000
    config = SamplingOptions(**{"temperature": 1.0, **choice})
    chosen, _ = choose(np.tile(logits, (n, 1)), config, (np.arange(n) + 0.5) / n)
    np.testing.assert_allclose(np.bincount(chosen, minlength=4) / n, distribution(logits, **choice), atol=1.5 / n)


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.75, JUST_BELOW_1])
def test_symbols_of_probability_zero_are_never_chosen_not_even_at_the_edges(u):
    logits = np.array([-np.inf, 0.0, -np.inf, -np.inf, 0.0, -np.inf])
    assert choose_one(logits, SamplingOptions(), u)[0] == (1 if u < 0.5 else 4)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 1.5}, {"top_k": -1}, {"min_p": 2.0}, {"top": 1}])
def test_a_choice_out_of_range_is_a_usage_error(wrong):
    with pytest.raises(UsageError):
        next(text_model().sample("a", length=5, **wrong))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_stepper_equals_the_stack(cell, layers, embedding_size, batch):
    v, t, h = 7, 6, 5
    model = text_model(cell, size=h, num_layers=layers, embedding_size=embedding_size)
    named = model.checkpoint.weights
    layer_arrays, embedding = layer_weights(named, layers), named.get("embedding.weight")
    rng = np.random.default_rng(1)
    ids = rng.integers(0, v, (t, batch))
    reset_mask = rng.random((t, batch, 1)) >= 0.7
    stepper = Stepper(cell, layer_arrays, named["head.weight"], named["head.bias"], batch, embedding)
    actual = []
    for row, reset in zip(ids, reset_mask, strict=True):
        stepper.reset(np.flatnonzero(reset[:, 0]).tolist())
        actual.append(stepper.step(row.tolist()).copy())
    x, state = ids if embedding is None else embedding[ids], np.zeros(state_shape(cell, layers, batch, h))
    for forward in (
        RecurrentStack(cell, layer_arrays, batch, t, training=False).forward,
        lambda *given, reset_mask: reference_stack(cell, layer_arrays, *given, reset_mask=reset_mask)[0],
    ):
        y = forward(x, state.copy(), reset_mask=reset_mask)
        np.testing.assert_allclose(actual, y @ named["head.weight"].T + named["head.bias"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
def test_the_probabilities_of_step_are_those_that_score_counts(cell, lines):
    model, text = text_model(cell, lines=lines, num_layers=2, embedding_size=3), "abba\nfeed\n\ncafe"
    p, nats = model.step(reset=True), []
    for character in text:
        assert math.isclose(sum(p.values()), 1) and list(p) == list("\nabcdef")
        nats.append(-math.log(p[character]))
        p = model.step(character)
    assert model.score(text) == pytest.approx(np.mean(nats), rel=1e-12)
    ids = model.vocabulary.encode(text)
    np.testing.assert_allclose(model.nats(ids), nats, rtol=1e-10)
    guessed = list(model.guesses(ids, 3))
    assert [symbol for symbol, *_ in guessed] == list(text)
    np.testing.assert_allclose([value for _, value, _ in guessed], nats, rtol=1e-10)
    model.step(text[:-1], reset=True)
    assert dict(guessed[-1][2]) == pytest.approx(model.step(top=3), rel=1e-10)


def test_step_over_a_text_equals_step_over_its_characters():
    model = text_model()
    whole = model.step("abcabc", reset=True)
    model.step(reset=True)
    for character in "abcabc":
        last = model.step(character)
    assert last == pytest.approx(whole, rel=1e-12)
    assert model.step("") == last


@pytest.mark.parametrize("cell", CELLS)
def test_several_texts_stand_side_by_side_in_one_model(cell):
    model = text_model(cell, num_layers=2)
    first = model.step("abc", reset=True)
    state = model.state()
    second = model.step("fed", reset=True)
    fresh = text_model(cell, num_layers=2)
    fresh.restore(state)
    assert fresh.step("") == pytest.approx(first, rel=1e-12)
    after = fresh.step("d")
    model.restore(state)
    assert model.step("d") == pytest.approx(after, rel=1e-12)
    assert after == pytest.approx(text_model(cell, num_layers=2).step("abcd"), rel=1e-10)
    assert second != pytest.approx(first)
    with pytest.raises(UsageError, match="shape"):
        model.restore(state[:1])


def test_two_threads_may_sample_from_one_model():
    model = text_model(size=32)
    alone = ["".join(model.sample("ab", length=400, seed=seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: "".join(model.sample("ab", length=400, seed=seed)), range(4))) == alone


@pytest.mark.parametrize("stop", [["c"], ["ab", "c"], ["fe\n", "bb"], ["nowhere"]])
def test_a_sample_ends_before_the_first_stop_text(stop):
    model = text_model()
    whole = "".join(model.sample("a", length=200, seed=3, temperature=2.0))
    ends = [whole.find(text) for text in stop if text in whole]
    pieces = list(model.sample("a", length=200, seed=3, temperature=2.0, stop=stop))
    assert "".join(pieces) == whole[: min(ends, default=None)]
    assert "nowhere" in stop or min(ends) < 200


def test_a_model_of_lines_writes_a_line():
    model = text_model(lines=True)
    lines = ["".join(model.sample(length=100, seed=seed, temperature=2.0)) for seed in range(20)]
    assert not any("\n" in line for line in lines) and len({len(line) for line in lines}) > 3


def test_unknown_characters_of_a_prime_are_refused_or_skipped():
    model = text_model()
    with pytest.raises(CorpusError, match="'z'"):
        next(model.sample("azb"))
    skipped = "".join(model.sample("azb", seed=1, on_unknown="skip"))
    assert skipped == "".join(model.sample("ab", seed=1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("prime", ["", "cab", "a\nb"])
@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
@pytest.mark.parametrize("is_bytes", [False, True], ids=["characters", "bytes"])
def test_the_nats_of_a_sample_are_the_score_of_its_text(cell, prime, lines, is_bytes):
    model = text_model(cell, lines=lines, is_bytes=is_bytes, num_layers=2)
    ids = model.vocabulary.encode(prime)
    steps = list(model.sample_many(ids, 40, [3, 4], SamplingOptions(temperature=1.3, top_k=5)))
    for stream in zip(*steps, strict=True):
        text, nats = "".join(t for t, _ in stream), [value for _, value in stream]
        assert len(text) == 40
        scored = model.nats(model.vocabulary.encode(prime + text))
        np.testing.assert_allclose(nats, scored[-40:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sample_depends_on_its_seed_and_not_on_those_beside_it(cell, dtype):
    model = text_model(cell, dtype=dtype, num_layers=2)
    prime = model.vocabulary.encode("ab")

    def samples(*seeds):
        steps = model.sample_many(prime, 120, list(seeds), SamplingOptions())
        return ["".join(text for text, _ in stream) for stream in zip(*steps, strict=True)]

    together = samples(7, 8, 9)
    assert together == samples(7) + samples(8) + samples(9)
    assert samples(9, 7) == [together[2], together[0]]
    assert len(set(together)) == 3
    assert "".join(model.sample("ab", length=120, seed=7)) == together[0]


def test_a_sample_of_a_byte_model_is_whole_characters_and_says_what_is_none():
    model = text_model(symbols="a\xc3\xa9", is_bytes=True)
    for seed in range(5):
        pieces = list(model.sample("a", length=30, seed=seed, temperature=1.0))
        assert len(pieces) == 30
        assert set("".join(pieces)) <= set("aé\ufffd")
    assert "é" in "".join(pieces)


def test_a_sample_of_length_0_never_ends():
    sample = text_model().sample("a", length=0, seed=1)
    assert len([next(sample) for _ in range(1000)]) == 1000


def test_every_character_has_a_score_and_no_text_has_none():
    with pytest.raises(CorpusError, match="empty"):
        text_model().score("")
    assert text_model().score("a") == pytest.approx(-math.log(text_model().step(reset=True)["a"]))
