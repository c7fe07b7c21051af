"""A trained tagger: its answers, its evaluation, and the share of its n-gram head."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.errors import CorpusError, RunError
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions
from charrnn.runs.checkpoint import save_checkpoint
from charrnn.tasks.base import PredictionOptions
from charrnn.tasks.records import Pair
from charrnn.tasks.registry import load_model
from charrnn.tasks.scoring import scored_outputs
from charrnn.tasks.tag import coding as tag_coding
from charrnn.tasks.tag.coding import NGRAM_SHARE, TagCoding
from charrnn.tasks.tag.model import Tagger

PAIRS = [Pair("abca", "xy.x"), Pair("b", "."), Pair("cab" * 5, "y" * 15), Pair("", "")]
TEXTS = [pair.source for pair in PAIRS]


@pytest.fixture(params=CELLS)
def model(request, record_model):
    coding = TagCoding.from_records(PAIRS, DataOptions(task="tag", delay=2))
    return record_model(Tagger, coding, cell=request.param, embedding_size=3)


def test_each_character_gets_a_tag_that_does_not_depend_on_the_other_texts(model):
    together = model.tag(TEXTS)
    assert [len(tags) for tags in together] == [4, 1, 15, 0]
    assert together == [model.tag([text])[0] for text in TEXTS] == model.answers(TEXTS)
    assert len(set("".join(together))) > 1


def test_characters_that_are_not_in_the_vocabulary_are_refused_or_tagged_with_a_question_mark(model):
    with pytest.raises(CorpusError, match="'z'"):
        model.tag(["azb"])
    (tags,) = model.tag(["azb"], skip_unknown=True)
    assert tags == model.tag(["ab"])[0][0] + "?" + model.tag(["ab"])[0][1]


def test_the_evaluation_agrees_with_the_answers_and_scores(model):
    result = model.evaluate_records(PAIRS)
    answers = model.tag(TEXTS)
    is_right = [
        tag == true for tags, pair in zip(answers, PAIRS, strict=True) for tag, true in zip(tags, pair[1], strict=True)
    ]
    assert result["accuracy"] == np.mean(is_right)
    assert result["record_accuracy"] == np.mean(
        [bool(tags) and tags == pair.output for tags, pair in zip(answers, PAIRS, strict=True)]
    )
    assert (result["records"], result["chars"]) == (4, 20)
    losses = [model.score(*pair) * len(pair.source) for pair in PAIRS]
    assert result["loss"] == pytest.approx(sum(losses) / 20)


def test_unknown_tags_count_as_wrong_and_have_no_part_in_the_loss(model):
    known = model.evaluate_records([Pair("abca", model.tag(["abca"])[0])])
    assert (known["accuracy"], known["record_accuracy"]) == (1, 1)
    tags = model.tag(["abca"])[0][:3] + "?"
    result = model.evaluate_records([Pair("abca", tags)])
    assert (result["accuracy"], result["record_accuracy"]) == (0.75, 0)
    logits = scored_outputs(model, model.coding.records([Pair("abca", tags)]))[:3]
    true = [model.coding.tags.index(tag) for tag in tags[:3]]
    expected = np.logaddexp.reduce(logits, axis=1) - logits[range(3), true]
    assert result["loss"] == pytest.approx(expected.mean())


def test_an_evaluation_with_unknown_tags_only_has_no_loss(model):
    result = model.evaluate_records([Pair("ab", "??")])
    assert (result["loss"], result["accuracy"], result["record_accuracy"]) == (None, 0, 0)


def test_unknown_characters_count_as_wrong_and_have_no_part_in_the_loss(model):
    tags = model.tag(["abca"])[0]
    known = model.evaluate_records([Pair("abca", tags)])
    result = model.evaluate_records([Pair("abczza", tags[:3] + ".." + tags[3])], skip_unknown=True)
    assert result["loss"] == pytest.approx(known["loss"])
    assert (result["accuracy"], result["record_accuracy"]) == (pytest.approx(4 / 6), 0)
    assert (result["chars"], result["skipped"], result["unanswered"]) == (6, 2, 0)


def test_a_record_without_a_known_character_has_no_answer_and_counts_as_wrong(model):
    options = PredictionOptions(skip_unknown=True)
    assert model.predict_records(["zz", ""], options) == [{"tags": None}] * 2
    result = model.evaluate_records([Pair("zz", "..")], skip_unknown=True)
    assert (result["loss"], result["accuracy"], result["record_accuracy"]) == (None, 0, 0)
    assert (result["chars"], result["skipped"], result["unanswered"], result["confusion"]) == (2, 2, 1, [])


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [("abc", "x.?", r"the tag '\?' was not in the training data"), ("abc", "x", "3 characters and 1 tag")],
)
def test_invalid_tags_cannot_be_scored(model, source, output, message):
    with pytest.raises(CorpusError, match=message):
        model.score(source, output)


def test_a_model_computes_with_the_share_of_its_checkpoint(model, tmp_path, monkeypatch):
    """The constant in the code is only the share of new networks."""
    share = 0.25
    assert model.architecture.ngram_share == NGRAM_SHARE != share
    path = tmp_path / "best.safetensors"
    architecture = replace(model.architecture, ngram_share=share)
    save_checkpoint(path, replace(model.checkpoint, architecture=architecture))
    monkeypatch.setattr(tag_coding, "NGRAM_SHARE", 0.9)
    loaded = load_model(path)
    assert loaded.architecture.ngram_share == share

    records = loaded.coding.records(PAIRS)
    places = np.arange(len(records.x))[:, None]
    batch = records.augment(Batch(records.x[places], records.targets[places]), places, None)
    ngram_outputs = loaded.checkpoint.weights["ngrams.weight"][batch.ngrams].sum(axis=2)[records.loss_mask, 0]

    def outputs_with_share(ngram_share):
        model.architecture = replace(architecture, ngram_share=ngram_share)
        return scored_outputs(model, records)

    head_outputs = outputs_with_share(0.0)
    np.testing.assert_allclose(outputs_with_share(1.0), ngram_outputs, atol=1e-12)
    expected = (1 - share) * head_outputs + share * ngram_outputs
    np.testing.assert_allclose(scored_outputs(loaded, records), expected, atol=1e-12)


def test_metadata_that_do_not_fit_the_weights_are_refused(model, tmp_path):
    task = model.checkpoint.task | {"labels": ["x", "y"]}
    save_checkpoint(tmp_path / "best.safetensors", replace(model.checkpoint, task=task))
    with pytest.raises(RunError, match="task metadata"):
        load_model(tmp_path / "best.safetensors")


def test_wrong_records_are_listed_with_the_most_wrong_tags_first(model):
    answers = model.tag(["abca", "cab"])
    right = Pair("abca", answers[0])
    two_wrong = Pair("abca", "??" + answers[0][2:])
    one_wrong = Pair("cab", "?" + answers[1][1:])
    unanswered = Pair("zzz", "...")
    pairs = [one_wrong, unanswered, right, two_wrong]
    rows = model.evaluate_records(pairs, skip_unknown=True, errors=5)["errors"]
    assert [(row["input"], row["expected"], row["answered"]) for row in rows] == [
        (*unanswered, None),
        (*two_wrong, answers[0]),
        (*one_wrong, answers[1]),
    ]
    outputs = scored_outputs(model, model.coding.records([one_wrong]))
    log_p = (outputs.max(axis=1) - np.logaddexp.reduce(outputs, axis=1)).sum()
    assert (rows[0]["probability"], rows[2]["probability"]) == (None, pytest.approx(np.exp(log_p)))
    assert model.evaluate_records([right], errors=5)["errors"] == []
