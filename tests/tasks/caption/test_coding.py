"""The encoding of captions and their vectors."""

import json

import numpy as np
import pytest

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import WindowPass, Windows
from charrnn.errors import CorpusError
from charrnn.options import ModelOptions
from charrnn.tasks.caption.coding import Caption, CaptionCoding

VECTORS = np.array([[1.0, 2], [3, 5], [8, 2]])
CODING = CaptionCoding(Vocabulary.of_texts(["\n", "abc"]), Standardizer.fit(VECTORS), 2)


def test_the_first_input_is_the_vector_and_the_last_target_the_line_end():
    records = CODING.records([Caption(2, "ab"), Caption(0, "")], VECTORS)
    decode = CODING.vocabulary.decode
    assert decode(records.x) == "\nab" + "\n"  # the network replaces the id of the first input
    assert decode(records.targets) == "ab\n" + "\n"
    assert records.loss_mask.all()
    assert records.starts.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(records.features, CODING.scale.apply(VECTORS[[2, 0]]))


def test_each_caption_has_its_own_window_and_vector():
    records = CODING.records([Caption(2, "ab"), Caption(0, "")], VECTORS)
    batch = WindowPass(Windows(records, 3), 2).batch(0)
    assert batch.x.shape == (3, 2)
    np.testing.assert_array_equal(batch.features, records.features)
    assert batch.loss_mask.T.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_the_architecture_has_the_width_of_the_vectors():
    architecture = CODING.architecture(ModelOptions())
    assert (architecture.features, architecture.input_size, architecture.output_size) == (2, 4, 4)


def test_metadata_survive_json():
    values = json.loads(json.dumps(CODING.to_dict()))
    assert CaptionCoding.from_dict(values, 2).to_dict() == values


@pytest.mark.parametrize(
    ("damage", "width"),
    [
        ({"name": "lm"}, 2),
        ({"longest": -1}, 2),
        ({"longest": 2.0}, 2),
        ({"vocabulary": [97]}, 2),
        ({"bytes": True}, 2),
        ({"features": None}, 2),
        ({}, 3),
    ],
)
def test_damaged_metadata_are_refused(damage, width):
    with pytest.raises((ValueError, TypeError)):
        CaptionCoding.from_dict(CODING.to_dict() | damage, width)


def test_unknown_characters_are_refused_or_skipped():
    with pytest.raises(CorpusError, match=r"'z'.* at position 1"):
        CODING.records([Caption(0, "az")], VECTORS)
    records = CODING.records([Caption(0, "az")], VECTORS, skip_unknown=True)
    assert CODING.vocabulary.decode(records.targets) == "a\n"
