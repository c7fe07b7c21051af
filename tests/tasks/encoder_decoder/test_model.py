"""A trained model with an encoder and a decoder: its answers, its evaluation, and the edit distance."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError, RunError
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import PredictionOptions, PredictsRecords
from charrnn.tasks.encoder_decoder import model as model_module
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.model import ErrorRate, edit_distance
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.translate.coding import TextPairCoding
from charrnn.tasks.translate.model import Translator

RECORDS = [SourceRecord(*pair) for pair in [("ab", "cd"), ("", "c"), ("dcba", "abab"), ("c", "ab")]]
SOURCES = [record.source for record in RECORDS]


def make_coding(target_separator=None):
    symbols = tuple("abcd")
    return TextPairCoding(Symbols(symbols), Symbols(symbols, target_separator), longest=4)


@pytest.fixture(params=CELLS)
def model(request, source_model):
    return source_model(Translator, make_coding(), cell=request.param, embedding_size=3)


@pytest.fixture(params=[True, False], ids=["attention", "no attention"])
def lstm(request, source_model):
    return source_model(Translator, make_coding(), attention=request.param, num_layers=2)


@pytest.fixture
def answering(source_model, monkeypatch):
    """A function that returns a model with given answers, by source."""

    def make(answers, target_separator=None):
        model = source_model(Translator, make_coding(target_separator))
        monkeypatch.setattr(model, "rank", lambda sources, **_: [[(answers[source], -1.0)] for source in sources])
        return model

    return make


def test_answers_are_ranked_and_their_log_probabilities_are_their_scores(model):
    for source, answers in zip(SOURCES, model.rank(SOURCES, top=3), strict=True):
        log_p = [p for _, p in answers]
        assert len(answers) == 3 and log_p == sorted(log_p, reverse=True)
        for target, p in answers:
            if len(target) < 2 * model.coding.longest + 10:  # otherwise the target has no end
                assert model.score(source, target) * (len(target) + 1) == pytest.approx(-p)


def test_a_drawn_answer_depends_on_the_seed_and_the_number_of_its_record(lstm):
    options = SamplingOptions(temperature=5)
    together = lstm.draw(SOURCES, options, seed=1)
    assert lstm.draw(SOURCES[2:], options, seed=1, first_number=2) == together[2:]
    assert lstm.draw(SOURCES[2:], options, seed=1) != together[2:]
    assert lstm.draw(SOURCES, options, seed=2) != together


def test_the_answers_of_records_list_several_targets_only_on_request(lstm):
    assert isinstance(lstm, PredictsRecords)
    (answer,) = lstm.predict_records(["ab"], PredictionOptions())
    assert set(answer) == {"output", "log_probability"}
    (answer,) = lstm.predict_records(["ab"], PredictionOptions(top=2, beam=5))
    assert answer["top"] == lstm.rank(["ab"], top=2, beam=5)[0]
    options = PredictionOptions(sampling=SamplingOptions(temperature=5), seed=3, first_number=7)
    (answer,) = lstm.predict_records(["ab"], options)
    assert answer != lstm.predict_records(["ab"], replace(options, first_number=0))[0]
    assert (answer["output"], answer["log_probability"]) == lstm.draw(["ab"], options.sampling, 3, first_number=7)[0]


def test_a_preview_shows_sources_answers_and_correct_targets(lstm):
    answers = [answer for ((answer, _),) in lstm.rank(SOURCES, beam=1)]
    expected = [f"{source} -> {answer} ({target})" for (source, target), answer in zip(RECORDS, answers, strict=True)]
    assert lstm.preview(RECORDS).splitlines() == expected
    assert len(lstm.preview(RECORDS * 2).splitlines()) == 5


def test_the_evaluation_of_given_answers(answering):
    answers = {"a": "ab cd", "b": "abd", "c": "abc"}
    records = [
        SourceRecord("a", "ab cd"),  # right
        SourceRecord("b", "abc"),  # one error ...
        SourceRecord("b", "abd"),  # ... but right as the alternative
        SourceRecord("c", "bbcd"),  # one replaced and one missing symbol
    ]
    result = answering(answers).evaluate_records(records)
    assert (result["records"], result["chars"]) == (3, 5 + 3 + 4)
    assert result["exact"] == pytest.approx(2 / 3)
    assert result["cer"] == pytest.approx(2 / 12)
    assert result["wer"] == pytest.approx(1 / 4)


def test_the_evaluation_counts_symbols_between_separators(answering):
    result = answering({"a": "a b c", "b": "a b"}, " ").evaluate_records(
        [SourceRecord("a", " a  b c"), SourceRecord("b", "a dd b"), SourceRecord("b", "a c d")]
    )
    # The first reference has other separators and the same symbols. Of the others the first is nearest: one symbol is
    # missing, in a reference of three symbols.
    assert (result["records"], result["chars"], result["exact"]) == (2, 6, 0.5)
    assert result["cer"] == pytest.approx(1 / 6)


def test_wrong_records_are_listed_with_the_largest_edit_distance_first(answering):
    answers = {"a": "abc", "b": "abc", "c": "abc", "d": "abc"}
    targets = [("a", "abd"), ("b", "abc"), ("c", "ddd"), ("c", "dbd"), ("d", "abd")]
    model = answering(answers)
    rows = model.evaluate_records([SourceRecord(*pair) for pair in targets], errors=3)["errors"]
    assert [tuple(row.values()) for row in rows] == [
        (source, expected, "abc", pytest.approx(math.exp(-1)))
        for source, expected in [("c", "dbd"), ("a", "abd"), ("d", "abd")]
    ]


def test_an_evaluation_without_a_right_answer_has_rates_above_1_for_long_answers(answering):
    result = answering({"a": "abcabc"}).evaluate_records([SourceRecord("a", "d")])
    assert (result["exact"], result["cer"], result["wer"]) == (0, 6, 1)


def test_the_longest_of_the_nearest_references_counts():
    rate = ErrorRate()
    rate.add(["a", "b"], [["b"], ["a", "b", "c"], ["c", "d"]])
    assert (rate.errors, rate.length, rate.rate) == (1, 3, 1 / 3)


def test_an_error_rate_without_references_is_0():
    assert ErrorRate().rate == 0


def test_the_loss_of_an_evaluation_is_that_of_the_scores(model, monkeypatch):
    """Also if the records are scored in several batches."""
    losses = [model.score(*record) * (len(record.target) + 1) for record in RECORDS]
    num_scored = sum(len(record.target) + 1 for record in RECORDS)
    for streams in (64, 3):
        monkeypatch.setattr(model_module, "SCORING_STREAMS", streams)
        assert model.evaluate_records(RECORDS)["loss"] == pytest.approx(sum(losses) / num_scored)


def test_unknown_symbols_are_refused_or_skipped(lstm):
    with pytest.raises(CorpusError, match="'z'"):
        lstm.rank(["azb"])
    with pytest.raises(CorpusError, match="'z'"):
        lstm.score("ab", "z")
    with pytest.raises(CorpusError, match="'z'"):
        lstm.evaluate_records([SourceRecord("azb", "a")])
    assert lstm.rank(["azb"], skip_unknown=True) == lstm.rank(["ab"])
    result = lstm.evaluate_records([SourceRecord("ab", "zz")])
    assert result["loss"] == pytest.approx(lstm.score("ab", ""))
    assert (result["chars"], result["unscored"], result["exact"], result["cer"]) == (2, 2, 0, 1)


def test_a_source_without_a_known_symbol_has_no_answer_and_counts_as_wrong(lstm):
    no_answer = {"output": None, "log_probability": None}
    assert lstm.predict_records(["zz", ""], PredictionOptions(skip_unknown=True)) == [no_answer] * 2
    drawn = PredictionOptions(skip_unknown=True, sampling=SamplingOptions())
    assert lstm.predict_records(["zz"], drawn) == [no_answer]
    target = lstm.answers([""])[0] or "a"
    result = lstm.evaluate_records([SourceRecord("zz", target)], skip_unknown=True)
    assert (result["skipped"], result["unanswered"], result["exact"], result["cer"]) == (2, 1, 0, 1)


def test_a_target_has_at_most_twice_the_length_of_the_longest_one_and_10_symbols(lstm):
    lstm.checkpoint.weights["head.bias"][0] = -100.0  # no target ends
    assert [len(answer) for ((answer, _), *_) in lstm.rank(SOURCES)] == [2 * 4 + 10] * len(SOURCES)


def test_metadata_that_do_not_fit_the_weights_are_refused(lstm):
    coding = replace(make_coding(), source=Symbols(tuple("abcde")))
    checkpoint = Checkpoint(lstm.architecture, {"name": "translate", **coding.to_dict()}, lstm.parameters)
    with pytest.raises(RunError, match="task metadata"):
        Translator(checkpoint)


@settings(max_examples=100, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a) >= abs(len(a) - len(b))
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert (edit_distance(a, b) > 0) == (a != b)


@settings(max_examples=200, deadline=None)
@given(st.text("abc", max_size=80), st.text("abcd", max_size=80))
def test_the_edit_distance_is_that_of_the_table(a, b):
    row = [*range(len(b) + 1)]
    for i, symbol_a in enumerate(a, 1):
        above, row = row, [i]
        for j, symbol_b in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (symbol_a != symbol_b)))
    assert edit_distance(a, b) == row[-1]


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "ac", 1), ("ab", "ba", 2), (["tS", "a"], ["t", "a"], 1)],
)
def test_edit_distances_computed_by_hand(a, b, distance):
    assert edit_distance(a, b) == distance
    assert isinstance(edit_distance(a, b), int)
