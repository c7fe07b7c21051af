"""The encoding of pairs of texts."""

import json

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.options import DataOptions
from charrnn.tasks.records import Pair
from charrnn.tasks.translate.coding import PairCoding

PAIRS = [Pair("ab", "cd"), Pair("", "c")]


def test_the_target_is_scored_from_the_tab_to_the_line_end():
    coding = PairCoding.from_records(PAIRS, DataOptions())
    records = coding.records(PAIRS)
    decode = coding.vocabulary.decode
    assert decode(records.x) == "ab\tcd" + "\tc"
    assert decode(records.targets) == "b\tcd\n" + "c\n"
    assert records.loss_mask.tolist() == [False, False, True, True, True, True, True]
    assert records.starts.tolist() == [0, 5, 7]


def test_metadata_survive_json():
    coding = PairCoding.from_records(PAIRS, DataOptions())
    restored = PairCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
    assert restored.longest == coding.longest == 2
    np.testing.assert_array_equal(restored.vocabulary.codes, coding.vocabulary.codes)


@pytest.mark.parametrize(
    "damage", [{"longest": 0}, {"longest": 10**10}, {"longest": 1.5}, {"vocabulary": [97]}, {"bytes": True}]
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises(ValueError, match=r"checkpoint|vocabulary"):
        PairCoding.from_dict(PairCoding.from_records(PAIRS, DataOptions()).to_dict() | damage)


def test_a_coding_includes_the_vocabulary_and_longest_target_of_the_model_that_it_starts_from():
    source = PairCoding.from_records(PAIRS, DataOptions())
    coding = PairCoding.from_records([Pair("z", "b")], DataOptions(), source.vocabulary, source)
    assert (coding.longest, coding.vocabulary.decode(range(7))) == (2, "\t\nabcdz")
    assert coding.vocabulary.decode(source.outputs_in(coding)) == "\t\nabcd"


def test_unknown_characters_are_refused_or_skipped():
    coding = PairCoding.from_records(PAIRS, DataOptions())
    with pytest.raises(CorpusError, match=r"'z'.* at position 1"):
        coding.records([Pair("ab", "dz")])
    records = coding.records([Pair("azb", "zd")], skip_unknown=True)
    assert coding.vocabulary.decode(records.x) == "ab\td"
