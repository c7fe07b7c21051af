"""A trained classifier: its answers, and its evaluation with known and unknown labels."""

from collections import Counter

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.classify.model import Classifier
from charrnn.tasks.records import Pair

PAIRS = [Pair("abc", "x"), Pair("bca", "y"), Pair("", "z"), Pair("cab" * 9, "x")]
TEXTS = [pair.source for pair in PAIRS]


@pytest.fixture(params=CELLS)
def model(request, record_model):
    return record_model(Classifier, LabelCoding.from_records(PAIRS, DataOptions()), cell=request.param)


def test_probabilities_do_not_depend_on_the_other_texts(model):
    together = model.probabilities(TEXTS)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.probabilities([text]), [row], rtol=1e-12)


def test_answers_are_ranked_by_probability(model):
    for text, answers in zip(TEXTS, model.rank(TEXTS, top=3), strict=True):
        probabilities = [p for _, p in answers]
        assert probabilities == sorted(probabilities, reverse=True)
        row = model.probabilities([text])[0]
        assert dict(answers) == pytest.approx(dict(zip("xyz", row, strict=True)))
    assert model.answers(TEXTS) == [answers[0][0] for answers in model.rank(TEXTS)]


def test_records_of_answers_list_several_labels_only_on_request(model):
    (answer,) = model.predict_records(["abc"], PredictionOptions())
    assert set(answer) == {"label", "probability"}
    (answer,) = model.predict_records(["abc"], PredictionOptions(top=2))
    assert answer["top"] == model.rank(["abc"], top=2)[0]
    assert answer["top"][0] == (answer["label"], answer["probability"])


def test_the_evaluation_agrees_with_probabilities_and_answers(model):
    result = model.evaluate_records(PAIRS)
    true = ["xyz".index(pair.output) for pair in PAIRS]
    p = model.probabilities(TEXTS)[range(4), true]
    assert result["loss"] == pytest.approx(-np.log(p).mean())
    assert result["loss"] == pytest.approx(np.mean([model.score(*pair) for pair in PAIRS]))
    answers = model.answers(TEXTS)
    answers[TEXTS.index("")] = None  # a text without characters has no answer
    assert result["accuracy"] == np.mean([answer == pair.output for answer, pair in zip(answers, PAIRS, strict=True)])
    confusion = Counter((pair.output, answer) for pair, answer in zip(PAIRS, answers, strict=True) if answer)
    assert {(true, predicted): count for true, predicted, count in result["confusion"]} == confusion
    assert (result["records"], result["unanswered"]) == (4, 1)


def test_a_text_without_a_known_character_has_no_answer_and_counts_as_wrong(model):
    options = PredictionOptions(skip_unknown=True, top=2)
    answers = model.predict_records(["ab?", "??", ""], options)
    assert answers[0]["label"] in model.coding.labels and len(answers[0]["top"]) == 2
    assert answers[1:] == [{"label": None, "probability": None, "top": []}] * 2
    pairs = [Pair("ab?", answers[0]["label"]), *(Pair("??", label) for label in "xyz")]
    result = model.evaluate_records(pairs, skip_unknown=True)
    assert (result["skipped"], result["unanswered"], result["accuracy"]) == (7, 3, 0.25)
    assert sum(count for *_, count in result["confusion"]) == 1


def test_an_unknown_label_counts_as_wrong_and_has_no_part_in_the_loss(model):
    known = model.evaluate_records(PAIRS[:2])
    result = model.evaluate_records([*PAIRS[:2], Pair("ab", "new"), Pair("ca", "new")])
    assert result["loss"] == pytest.approx(known["loss"])
    assert result["accuracy"] == known["accuracy"] / 2
    assert (result["labels"], result["unscored"]) == (["x", "y", "z"], 2)
    assert sum(count for true, _, count in result["confusion"] if true == "new") == 2


def test_an_evaluation_with_unknown_labels_only_has_no_loss(model):
    result = model.evaluate_records([Pair("ab", "new")])
    assert (result["loss"], result["accuracy"], result["macro_f1"]) == (None, 0, 0)


def test_an_unknown_label_cannot_be_scored(model):
    with pytest.raises(CorpusError, match="the label 'new' was not in the training data"):
        model.score("ab", "new")


def test_wrong_records_are_listed_with_the_most_probable_answer_first(model):
    pairs = [Pair(text, "q") for text in ("abc", "bca", "ab?", "??", "cab" * 9)]
    result = model.evaluate_records([Pair("abc", model.answers(["abc"])[0]), *pairs], skip_unknown=True, errors=9)
    answers = model.rank([pair.source for pair in pairs], skip_unknown=True)
    expected = [(pair.source, "q", *ranked[0]) for pair, ranked in zip(pairs, answers, strict=True)]
    expected[3] = ("??", "q", None, None)
    expected.sort(key=lambda row: -(row[3] or 0))
    assert [tuple(row.values()) for row in result["errors"]] == [
        (*row[:3], row[3] and pytest.approx(row[3])) for row in expected
    ]
    assert model.evaluate_records(pairs, skip_unknown=True, errors=2)["errors"] == result["errors"][:2]
    assert "errors" not in model.evaluate_records(pairs, skip_unknown=True)
