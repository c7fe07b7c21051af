"""The coding of matrices: standardised columns, joined rows, metadata."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import CorpusError
from charrnn.options import ModelOptions
from charrnn.tasks.encoder_decoder.matrices import Matrix
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.transcribe.coding import TranscriptCoding

SCALE = Standardizer(mean=np.array([1.0, -2.0]), std=np.array([2.0, 0.5]))


def make_coding(subsample=1):
    return TranscriptCoding(SCALE, subsample, Symbols(("a", "b")), longest=3)


def test_rows_are_standardised():
    values = np.array([[1, -2], [5, -1]], np.float32)
    encoded = make_coding().encode_source(Matrix("a.npy", values))
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [[0, 0], [2, 2]])


def test_consecutive_rows_are_joined_and_the_last_step_is_padded_with_the_means():
    values = np.array([[1, -2], [5, -1], [3, -2], [-1, -3], [1, 0]], np.float32)
    matrix = Matrix("a.npy", values)
    assert make_coding(2).encode_source(matrix).tolist() == [[0, 0, 2, 2], [1, 0, -1, -2], [0, 4, 0, 0]]
    assert make_coding(5).encode_source(matrix).tolist() == [[0, 0, 2, 2, 1, 0, -1, -2, 0, 4]]
    assert make_coding(7).encode_source(matrix).shape == (1, 14)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7))
def test_joined_rows_are_the_rows_in_order(rows, subsample):
    values = np.random.default_rng(rows).standard_normal((rows, 2)).astype(np.float32)
    joined = make_coding(subsample).encode_source(Matrix("a.npy", values))
    assert joined.shape == (-(-rows // subsample), 2 * subsample)
    np.testing.assert_array_equal(joined.reshape(-1, 2)[:rows], SCALE.apply(values.astype(np.float64)))
    assert not joined.reshape(-1, 2)[rows:].any()


def test_the_architecture_has_an_encoder_of_the_joined_rows():
    architecture = make_coding(3).architecture(ModelOptions(hidden_size=6, embedding_size=4))
    shape = (architecture.source, architecture.source_size, architecture.input_size, architecture.output_size)
    assert shape == ("numbers", 6, 3, 3)


def test_a_matrix_of_another_width_is_refused():
    with pytest.raises(CorpusError, match=r"b\.npy: 3 columns \(the model reads 2 columns\)"):
        make_coding().encode_source(Matrix("b.npy", np.zeros((4, 3), np.float32)))


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(CorpusError, match=r"c\.npy: contains a number that is not finite"):
        make_coding().encode_source(Matrix("c.npy", np.array([[1.0, np.nan]])))


def test_a_number_that_is_too_large_is_refused_with_the_place_of_its_record():
    matrix = Matrix("b.npy", np.full((1, 2), 1e300), "clips.tsv, line 7")
    with pytest.raises(CorpusError, match=r"clips\.tsv, line 7: b\.npy: .*too large"):
        make_coding().encode_source(matrix)


def test_metadata_survive_json():
    coding = make_coding(4)
    restored = TranscriptCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
    assert restored.to_dict() == coding.to_dict()
    assert (restored.subsample, restored.longest, restored.width) == (4, 3, 2)
    np.testing.assert_array_equal(restored.scale.mean, SCALE.mean)
    np.testing.assert_array_equal(restored.scale.std, SCALE.std)


@pytest.mark.parametrize(
    "damage",
    [
        {"subsample": 0},
        {"subsample": 10**5},
        {"subsample": 1.5},
        {"subsample": True},
        {"longest": 0},
        {"longest": "3"},
        {"scale": {"mean": [1.0, 2.0], "std": [1.0]}},
        {"scale": {"mean": [1.0, 2.0], "std": [1.0, 0.0]}},
        {"target": {"symbols": ["b", "a"], "separator": None, "normalize": "NFC"}},
    ],
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises(ValueError, match="checkpoint"):
        TranscriptCoding.from_dict(make_coding().to_dict() | damage)


def test_matrices_with_the_same_values_are_equal():
    matrix = Matrix("a.npy", np.array([[1.0, 2.0]]))
    assert matrix == Matrix("b.npy", np.array([[1.0, 2.0]]))
    assert hash(matrix) == hash(Matrix("b.npy", np.array([[1.0, 2.0]])))
    assert matrix != Matrix("a.npy", np.array([[1.0], [2.0]]))
    assert matrix != Matrix("a.npy", np.array([[1.0, 3.0]]))
