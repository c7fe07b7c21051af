"""Vectors of numbers from files, and standardised columns."""

import pickle

import numpy as np
import pytest

from charrnn.corpus import numbers
from charrnn.corpus.numbers import Standardizer, read_vectors
from charrnn.errors import CorpusError


def test_vectors_are_read_from_npy_and_csv_files(tmp_path):
    values = np.array([[1.5, 2], [3, -4]])
    np.save(tmp_path / "v.npy", values)
    (tmp_path / "v.csv").write_text("1.5,2\n3,-4\n")
    for name in ("v.npy", "v.csv"):
        np.testing.assert_array_equal(read_vectors(str(tmp_path / name)), values)


class PrintsWhenLoaded:
    def __reduce__(self):
        return (print, ("loaded",))


def test_files_without_vectors_are_refused_and_pickles_are_never_loaded(tmp_path, capsys):
    np.save(tmp_path / "object.npy", np.array([[PrintsWhenLoaded()]], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(PrintsWhenLoaded()))
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan]]))
    (tmp_path / "odd.csv").write_text("1,2\n3\n")
    (tmp_path / "v.txt").write_text("1\n")
    for name in ("object.npy", "pickle.npy", "flat.npy", "text.npy", "nan.npy", "odd.csv", "v.txt", "missing.npy"):
        with pytest.raises(CorpusError, match=name):
            read_vectors(str(tmp_path / name))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("factor", [1, 1e-20, 1e20])
def test_columns_of_any_magnitude_are_standardised_and_restored(factor):
    values = factor * np.array([[1.0, 5.1, 1e8, -1], [3, 5.1, 2e8, 1], [8, 5.1, 3e8, 0]])
    scale = Standardizer.fit(values)
    standardised = scale.apply(values)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standardised.std(axis=0), [1, 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(scale.invert(standardised), values, rtol=1e-6, atol=1e-6 * factor)
    restored = Standardizer.from_dict(scale.to_dict(), 4)
    np.testing.assert_array_equal([restored.mean, restored.std], [scale.mean, scale.std])


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-20, 1e9 / 7])
def test_the_standard_deviation_of_a_constant_column_is_1(value):
    assert Standardizer.fit(np.full((1000, 1), value)).std.tolist() == [1]


def test_differences_that_are_constant_up_to_rounding_have_standard_deviation_1():
    levels = 1000 + 0.001 * np.arange(500.0)[:, None]
    changes = np.diff(levels, axis=0)
    assert 0 < changes.std() < 1e-12
    assert Standardizer.fit(changes, levels).std.tolist() == [1]


@pytest.mark.parametrize(
    "damage", [{"std": [0.0, 1.0]}, {"std": [1.0]}, {"mean": [0.0, float("inf")]}, {"mean": ["x", 1.0]}, {"mean": None}]
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises((ValueError, TypeError)):
        Standardizer.from_dict({"mean": [0.0, 0.0], "std": [1.0, 1.0]} | damage, 2)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', (((", b"\x93NUMPY\x01\x00\x02\x00{}", b"\x80\x04N."],
    ids=["empty", "zip", "truncated header", "empty header", "pickle"],
)
def test_a_file_that_is_not_a_plain_array_is_refused(tmp_path, data):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="not a plain array"):
        read_vectors(str(path))


def test_float32_vectors_are_not_converted(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((2, 3), np.float32))
    assert read_vectors(str(tmp_path / "v.npy")).dtype == np.float32


@pytest.mark.parametrize("value", [1e308, 1e-200, 5e-324])
def test_numbers_whose_squares_overflow_or_vanish_are_standardised(value):
    scale = Standardizer.fit(np.array([[value], [-value]]))
    assert scale.apply(np.array([[value], [-value]])).ravel().tolist() == [1, -1]


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(CorpusError, match="numbers up to inf is not finite"):
        Standardizer.fit(np.array([[np.inf], [0]]))


def test_large_arrays_are_standardised_in_blocks(monkeypatch):
    values = np.random.default_rng(1).normal(5, 3, (50, 4))
    whole = Standardizer.fit(values)
    monkeypatch.setattr(numbers, "BLOCK_SIZE", 12)
    scale = Standardizer.fit(values)
    np.testing.assert_allclose([scale.mean, scale.std], [values.mean(axis=0), values.std(axis=0)], rtol=1e-12)
    np.testing.assert_array_equal(whole.apply(values), Standardizer(whole.mean, whole.std).apply(values))


@pytest.mark.parametrize("std", [1e-20, 3.0, 1e9])
def test_shortened_numbers_standardise_to_the_same_float32(std):
    scale = Standardizer(np.array([1e3 * std]), np.array([std]))
    values = scale.mean + std * np.random.default_rng(1).uniform(0.5, 2, (200, 1))
    short = np.array(scale.shorten(values))
    np.testing.assert_allclose((short - scale.mean) / std, (values - scale.mean) / std, atol=2**-24)
    assert max(len(f"{value:.15g}") for value in short.ravel().tolist()) <= 17


def test_a_large_number_keeps_its_digits():
    scale = Standardizer(np.array([1e9]), np.array([1000.0]))
    assert scale.shorten(np.array([[1000000000.2081234], [np.nan]]))[0] == [1000000000.20812]
