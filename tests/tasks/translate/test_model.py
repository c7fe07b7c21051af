"""A trained translator: its answers, its evaluation, and the edit distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions, SamplingOptions
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.records import Pair
from charrnn.tasks.translate.coding import PairCoding
from charrnn.tasks.translate.model import Translator, edit_distance

PAIRS = [Pair("ab", "cd"), Pair("", "c"), Pair("dcba", "abab"), Pair("c", "ab")]
SOURCES = [pair.source for pair in PAIRS]


@pytest.fixture(params=CELLS)
def model(request, record_model):
    coding = PairCoding.from_records(PAIRS, DataOptions())
    return record_model(Translator, coding, cell=request.param, embedding_size=3)


def test_answers_are_ranked_and_their_log_probabilities_are_their_scores(model):
    for source, answers in zip(SOURCES, model.predict(SOURCES, top=3), strict=True):
        log_p = [p for _, p in answers]
        assert len(answers) == 3 and log_p == sorted(log_p, reverse=True)
        for target, p in answers:
            if len(target) < 2 * model.coding.longest + 10:  # otherwise the target has no end
                assert model.score(source, target) * (len(target) + 1) == pytest.approx(-p)


def test_a_drawn_answer_depends_on_the_seed_and_the_number_of_its_record(model):
    options = SamplingOptions(temperature=1.5)
    together = model.draw(SOURCES, options, seed=1)
    assert model.draw(SOURCES[2:], options, seed=1, first_number=2) == together[2:]
    assert model.draw(SOURCES, options, seed=2) != together


def test_records_of_answers_list_several_targets_only_on_request(model):
    (answer,) = model.predict_records(["ab"], PredictionOptions())
    assert set(answer) == {"output", "log_probability"}
    (answer,) = model.predict_records(["ab"], PredictionOptions(top=2, beam=5))
    assert answer["top"] == model.predict(["ab"], top=2, beam=5)[0]
    options = PredictionOptions(sampling=SamplingOptions(temperature=1.5), seed=3, first_number=7)
    (answer,) = model.predict_records(["ab"], options)
    assert (answer["output"], answer["log_probability"]) == model.draw(["ab"], options.sampling, 3, first_number=7)[0]


def test_the_evaluation_takes_records_with_the_same_source_as_alternatives(model):
    (((answer, _),),) = model.predict(["ab"])
    result = model.evaluate([Pair("ab", answer), Pair("ab", "dddddddddd")])
    assert (result["records"], result["exact"], result["cer"], result["chars"]) == (1, 1, 0, len(answer))
    wrong = answer + "d"
    result = model.evaluate([Pair("ab", wrong)])
    assert (result["exact"], result["cer"]) == (0, 1 / len(wrong))


def test_the_loss_of_an_evaluation_is_that_of_the_scores(model):
    losses = [model.score(*pair) * (len(pair.output) + 1) for pair in PAIRS]
    num_scored = sum(len(pair.output) + 1 for pair in PAIRS)
    assert model.evaluate(PAIRS)["loss"] == pytest.approx(sum(losses) / num_scored)


def test_unknown_characters_of_a_source_are_refused_or_skipped(model):
    with pytest.raises(CorpusError, match="'z'"):
        model.predict(["azb"])
    with pytest.raises(CorpusError, match="'z'"):
        model.score("ab", "z")
    assert model.predict(["azb"], skip_unknown=True) == model.predict(["ab"])
    assert np.isfinite(model.evaluate([Pair("ab", "zz")])["loss"])


@settings(max_examples=150, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a) >= abs(len(a) - len(b))
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert (edit_distance(a, b) > 0) == (a != b)


@pytest.mark.parametrize(
    ("a", "b", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "ac", 1), ("ab", "ba", 2)]
)
def test_edit_distances_computed_by_hand(a, b, distance):
    assert edit_distance(a, b) == distance
