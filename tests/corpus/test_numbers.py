"""Tables and vectors of numbers: errors name file, row and column. Standardised columns."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus.numbers import Standardizer, read_table, read_vectors
from charrnn.errors import CorpusError

in_tmp_path = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def numbers_of(path):
    table = read_table(str(path), [])
    return table.numbers(table.columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows below the header"),
        ("1,2\n3,4\n", "no header"),
        ("a,a\n1,2\n", "two columns have the same name"),
        ("a,\n1,2\n", "a column has no name"),
        ("a,b\n1,2\n3\n", "row 2: 1 cells for 2 columns"),
        ("a,b\n1,2\n3,\n", "row 2, column b: empty"),
        ("a,b\n1,2\n 3, \n", "row 2, column b: empty"),
        ("a,b\n1,x\n", "row 1, column b: 'x' is not a number"),
        ("a,b\n1,nan\n", "row 1, column b: nan is not a finite number"),
        ("a,b\n1,1e999\n", "row 1, column b: 1e999 is not a finite number"),
    ],
)
def test_an_error_in_a_table_names_file_row_and_column(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CorpusError, match=message) as caught:
        numbers_of(tmp_path / "t.csv")
    assert "t.csv" in str(caught.value)


@in_tmp_path
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20))
def test_a_table_returns_any_numbers_unchanged(tmp_path, rows):
    text = "a,b,c\n" + "".join(",".join(map(repr, row)) + "\r\n" for row in rows)
    (tmp_path / "t.csv").write_text(text)
    np.testing.assert_array_equal(
        read_table(str(tmp_path / "t.csv"), []).numbers(["c", "a"]), np.array(rows)[:, [2, 0]]
    )


@in_tmp_path
@given(st.binary(max_size=100))
def test_any_bytes_are_a_table_or_cause_an_error_of_one_line(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    message = "."
    try:
        assert numbers_of(tmp_path / "t.csv").ndim == 2
    except CorpusError as error:
        message = str(error)
    assert message.isprintable()


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


@pytest.mark.parametrize("text", ["1_0", "\u0663", "0x10", "nan", "1e400", "one"])
def test_only_finite_ascii_decimal_numbers_are_accepted(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(f"1,2\n3,{text}\n")
    with pytest.raises(CorpusError, match="row 2, column 2"):
        read_vectors(str(path))


def test_an_unterminated_cell_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('1,"' + "2" * 200_000)
    with pytest.raises(CorpusError, match="not CSV"):
        read_vectors(str(path))


def test_numbers_whose_squares_overflow_are_refused():
    with pytest.raises(CorpusError, match=r"1e\+308 is not finite"):
        Standardizer.fit(np.array([[1e308], [-1e308]]))
