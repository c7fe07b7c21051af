"""The encoding of labelled texts."""

import json

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.options import DataOptions
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.records import Pair

PAIRS = [Pair("ab", "no"), Pair("", "yes"), Pair("b", "no")]


def test_only_the_tab_after_a_text_is_scored_and_its_target_is_the_label():
    coding = LabelCoding.from_records(PAIRS, DataOptions())
    records = coding.records(PAIRS)
    assert coding.vocabulary.decode(records.x) == "ab\t\tb\t"
    assert records.starts.tolist() == [0, 3, 4, 6]
    assert records.loss_mask.tolist() == [False, False, True, True, False, True]
    assert [coding.labels[n] for n in records.targets[records.loss_mask]] == ["no", "yes", "no"]


def test_metadata_survive_json():
    coding = LabelCoding.from_records(PAIRS, DataOptions())
    restored = LabelCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
    assert restored.labels == coding.labels == ("no", "yes")
    np.testing.assert_array_equal(restored.vocabulary.codes, coding.vocabulary.codes)


def test_a_coding_includes_the_labels_of_the_model_that_it_starts_from():
    source = LabelCoding.from_records(PAIRS, DataOptions())
    coding = LabelCoding.from_records([Pair("a", "maybe"), Pair("c", "yes")], DataOptions(), source.vocabulary, source)
    assert coding.labels == ("maybe", "no", "yes")
    assert source.outputs_in(coding).tolist() == [1, 2]


def test_unknown_characters_are_refused_or_skipped():
    coding = LabelCoding.from_records(PAIRS, DataOptions())
    with pytest.raises(CorpusError, match=r"'z'.* at position 1"):
        coding.records([Pair("azb", "no")])
    assert coding.vocabulary.decode(coding.records([Pair("azb", "no")], skip_unknown=True).x) == "ab\t"


def notices_of(labels):
    pairs = [Pair(f"text {n}", label) for n, label in enumerate(labels)]
    coding = LabelCoding.from_records(pairs, DataOptions())
    return coding.describe_outputs(pairs), coding.output_notices(pairs)


def test_labels_are_described_with_their_numbers():
    assert notices_of(["neg", "pos", "pos", "neg", "pos"]) == ("2 labels: pos 3, neg 2", [])
    description, _ = notices_of([str(n) for n in range(20)] * 2)
    assert description.startswith("20 labels: 0 2, ") and description.endswith(" 9 2, ...")


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        (["pos", "neg", "pos ", "Neg"] * 9, ["'pos' and 'pos '", "'neg' and 'Neg'", "blanks or case"]),
        (["pos", "neg"] * 9 + ["ngativ"], ["1 of 3 labels occur only once: 'ngativ'"]),
        ([*"abcdefg", "a"], ["7 labels for 8 records", "--columns 2,1"]),
    ],
)
def test_labels_that_are_probably_mistakes_are_reported(labels, facts):
    (notice,) = notices_of(labels)[1]
    assert notice.startswith("warning: ")
    for fact in facts:
        assert fact in notice
