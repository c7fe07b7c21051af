"""A trained language model: sample, score and step agree with each other."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from charrnn.corpus.escapes import readable, to_bytes
from charrnn.corpus.vocabulary import DOCUMENT_END, Vocabulary
from charrnn.errors import CorpusError, RunError, UsageError
from charrnn.models.architecture import Architecture
from charrnn.nn.parameters import count_parameters
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.language.model import TextModel

cells = pytest.mark.parametrize("cell", CELLS)
texts_and_lines = pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])


def make_model(cell="lstm", symbols="\nabcdef", dtype=np.float64, lines=False, is_bytes=False, size=9, **shape):
    """A model with random parameters, so large that its predictions are far from uniform."""
    architecture = Architecture(cell=cell, hidden_size=size, **shape, input_size=len(symbols), output_size=len(symbols))
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(architecture.specs())).astype(dtype)
    vocabulary = Vocabulary(np.array(sorted(map(ord, symbols)), np.uint32), is_bytes)
    return TextModel(Checkpoint(architecture, {"name": "lm", **vocabulary.to_dict(), "lines": lines}, flat))


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_p": 1.5}, {"top_k": -1}, {"min_p": 2.0}, {"top": 1}])
def test_an_invalid_sampling_option_is_a_usage_error(options):
    with pytest.raises(UsageError):
        next(make_model().stream("a", length=5, **options))


@cells
@texts_and_lines
def test_the_score_of_a_text_is_computed_from_the_probabilities_of_step(cell, lines):
    model = make_model(cell, lines=lines, num_layers=2, embedding_size=3)
    text = "abba\nfeed\n\ncafe"
    p = model.step(reset=True)
    nats = []
    for character in text:
        assert math.isclose(sum(p.values()), 1)
        assert list(p) == list("\nabcdef")
        nats.append(-math.log(p[character]))
        p = model.step(character)
    assert model.score(text) == pytest.approx(np.mean(nats), rel=1e-12)
    np.testing.assert_allclose(model.nats(model.vocabulary.encode(text)), nats, rtol=1e-10)


@cells
@texts_and_lines
def test_the_most_likely_characters_are_those_of_step(cell, lines):
    model = make_model(cell, lines=lines, num_layers=2)
    text = "abba\nfeed\n\ncafe"
    ids = model.vocabulary.encode(text)
    predictions = list(model.most_likely(ids, 3))
    assert [symbol for symbol, _, _ in predictions] == list(text)
    np.testing.assert_allclose([nats for _, nats, _ in predictions], model.nats(ids), rtol=1e-10)
    model.step(text[:-1], reset=True)
    assert dict(predictions[-1][2]) == pytest.approx(model.step(top=3), rel=1e-10)


def test_a_text_can_be_scored_with_and_without_resets_at_lines():
    ids = make_model().vocabulary.encode("ab\ncd\nef")
    for lines in (False, True):
        model = make_model(lines=lines)
        assert (model.nats(ids) == make_model().nats(ids, lines=lines)).all()
    assert np.abs(model.nats(ids, lines=True) - model.nats(ids, lines=False)).max() > 1e-3


def test_a_step_over_a_text_equals_steps_over_its_characters():
    model = make_model()
    whole = model.step("abcabc", reset=True)
    model.step(reset=True)
    for character in "abcabc":
        last = model.step(character)
    assert last == pytest.approx(whole, rel=1e-12)
    assert model.step("") == last


@cells
def test_the_state_after_a_text_can_be_restored(cell):
    model = make_model(cell, num_layers=2)
    first = model.step("abc", reset=True)
    state = model.state()
    second = model.step("fed", reset=True)
    assert second != pytest.approx(first)
    other = make_model(cell, num_layers=2)
    other.restore(state)
    assert other.step("") == pytest.approx(first, rel=1e-12)
    expected = other.step("d")
    model.restore(state)
    assert model.step("d") == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(make_model(cell, num_layers=2).step("abcd"), rel=1e-10)
    with pytest.raises(UsageError, match="shape"):
        model.restore(state[:1])


def test_threads_can_sample_from_the_same_model():
    model = make_model(size=32)

    def sample(seed):
        return model.sample("ab", length=400, seed=seed)

    expected = [sample(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sample, range(4))) == expected


@pytest.mark.parametrize("stop", [["c"], ["ab", "c"], ["fe\n", "bb"], ["does not occur"]])
def test_a_sample_ends_before_the_first_stop_text(stop):
    model = make_model()
    whole = model.sample("a", length=200, seed=3, temperature=2.0)
    places = [whole.find(text) for text in stop if text in whole]
    pieces = list(model.stream("a", length=200, seed=3, temperature=2.0, stop=stop))
    assert "".join(pieces) == whole[: min(places, default=None)]
    assert bool(places) == (stop != ["does not occur"])


def test_a_model_of_lines_writes_one_line():
    model = make_model(lines=True)
    lines = [model.sample(length=100, seed=seed, temperature=2.0) for seed in range(20)]
    assert not any("\n" in line for line in lines)
    assert len({len(line) for line in lines}) > 3


def test_unknown_characters_of_a_prime_are_refused_or_skipped():
    model = make_model()
    with pytest.raises(CorpusError, match="'z'"):
        next(model.stream("azb"))
    skipped = model.sample("azb", seed=1, on_unknown="skip")
    assert skipped == model.sample("ab", seed=1)


@cells
@pytest.mark.parametrize("prime", ["", "cab", "a\nb"])
@texts_and_lines
@pytest.mark.parametrize("is_bytes", [False, True], ids=["characters", "bytes"])
def test_the_nats_of_a_sample_are_the_scores_of_its_characters(cell, prime, lines, is_bytes):
    model = make_model(cell, lines=lines, is_bytes=is_bytes, num_layers=2)
    ids = model.vocabulary.encode(prime)
    steps = list(model.sample_many(ids, 40, [3, 4], SamplingOptions(temperature=1.3, top_k=5)))
    for sample in zip(*steps, strict=True):
        text = "".join(character for character, _ in sample)
        assert len(text) == 40
        expected = model.nats(model.vocabulary.encode(prime + text))[-40:]
        np.testing.assert_allclose([nats for _, nats in sample], expected, rtol=1e-9, atol=1e-12)


@cells
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sample_depends_on_its_seed_and_not_on_the_other_samples(cell, dtype):
    model = make_model(cell, dtype=dtype, num_layers=2)
    prime = model.vocabulary.encode("ab")

    def samples(*seeds):
        steps = model.sample_many(prime, 120, list(seeds), SamplingOptions())
        return ["".join(text for text, _ in sample) for sample in zip(*steps, strict=True)]

    together = samples(7, 8, 9)
    assert together == samples(7) + samples(8) + samples(9)
    assert samples(9, 7) == [together[2], together[0]]
    assert len(set(together)) == 3
    assert model.sample("ab", length=120, seed=7) == together[0]


def test_a_sample_of_a_byte_model_has_whole_characters_and_loses_no_byte():
    model = make_model(symbols="a\xc3\xa9", is_bytes=True)
    ids = model.vocabulary.encode("a")
    texts = []
    for seed in range(5):
        pieces = list(model.stream("a", length=30, seed=seed, temperature=1.0))
        assert len(pieces) == 30
        text = "".join(pieces)
        texts.append(readable(text))
        assert len(to_bytes(text)) == 30
        steps = model.sample_many(ids, 30, [seed], SamplingOptions(temperature=1.0))
        nats = [nats for ((_, nats),) in steps]
        expected = model.nats(model.vocabulary.encode("a" + text))[-30:]
        np.testing.assert_allclose(nats, expected, rtol=1e-9, atol=1e-12)  # of the same bytes
    assert set("".join(texts)) == set("aé\ufffd")


def test_a_sample_of_a_model_of_documents_ends_at_the_end_of_a_document():
    architecture = Architecture(cell="gru", hidden_size=9, input_size=4, output_size=4)
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(architecture.specs()))
    vocabulary = Vocabulary(np.array([10, 97, 98, DOCUMENT_END], np.uint32), separator="\n\n")
    model = TextModel(Checkpoint(architecture, {"name": "lm", **vocabulary.to_dict(), "lines": False}, flat))
    texts = ["".join(model.sample(length=200, seed=seed, temperature=1.0)) for seed in range(9)]
    assert all("\n\n" not in text for text in texts) and len(set(map(len, texts))) > 1
    np.testing.assert_allclose(  # the state restarts
        model.nats(vocabulary.encode("ab\n\nba"))[3:], model.nats(vocabulary.encode("ba")), rtol=1e-12
    )


def test_a_sample_of_length_0_does_not_end():
    sample = make_model().stream("a", length=0, seed=1)
    assert len([next(sample) for _ in range(1000)]) == 1000


def test_a_text_of_one_character_has_a_score_and_an_empty_text_has_none():
    assert make_model().score("a") == pytest.approx(-math.log(make_model().step(reset=True)["a"]))
    with pytest.raises(CorpusError, match="empty"):
        make_model().score("")


def test_a_loss_that_is_not_finite_is_an_error():
    model = make_model(dtype=np.float32)
    model.checkpoint.weights["head.bias"][:2] = [3e38, -3e38]
    with pytest.raises(RunError, match="not finite"), np.errstate(all="ignore"):
        model.score("abc")


def test_a_file_is_evaluated_like_its_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abzcd\n")
    model = make_model()
    with pytest.raises(CorpusError, match=r"line 1, column 3: character 'z'"):
        model.evaluate_file(EvaluationFile(str(path)))
    result = model.evaluate_file(EvaluationFile(str(path), skip_unknown=True))
    assert (result["chars"], result["loss"]) == (5, pytest.approx(model.score("abcd\n")))
    assert result["perplexity"] == pytest.approx(2 ** result["bpc"]) == pytest.approx(math.exp(result["loss"]))
    path.write_text("")
    with pytest.raises(CorpusError, match="empty"):
        model.evaluate_file(EvaluationFile(str(path)))


def test_a_wide_beam_finds_the_most_likely_of_all_texts():
    model = make_model(symbols="abc")
    prime = model.vocabulary.encode("ab")
    candidates = ["".join(text) for text in itertools.product("abc", repeat=3)]
    nats = {text: model.nats(model.vocabulary.encode("ab" + text))[2:].mean() for text in candidates}
    text, mean_nats = model.search(prime, 3, beam=27)
    assert text == min(nats, key=nats.get)
    assert mean_nats == pytest.approx(nats[text])
    greedy, _ = model.search(prime, 3, beam=1)
    assert greedy == model.sample("ab", length=3, greedy=True)
