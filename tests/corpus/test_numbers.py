"""Tables and vectors: what is no number is named by file, row and column."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus.numbers import Standard, read_table, read_vectors
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
        ("a,a\n1,2\n", "without a name of its own"),
        ("a,b\n1,2\n3\n", "row 2: 1 cells for 2 columns"),
        ("a,b\n1,2\n3,\n", "row 2, column b: empty"),
        ("a,b\n1,2\n 3, \n", "row 2, column b: empty"),
        ("a,b\n1,x\n", "row 1, column b: 'x' is not a number"),
        ("a,b\n1,nan\n", "row 1, column b: nan is not a finite number"),
        ("a,b\n1,1e999\n", "row 1, column b: 1e999 is not a finite number"),
    ],
)
def test_a_table_that_is_none_is_refused_with_the_place(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CorpusError, match=message) as caught:
        numbers_of(tmp_path / "t.csv")
    assert "t.csv" in str(caught.value)


@in_tmp_path
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20))
def test_any_numbers_survive_a_table(tmp_path, rows):
    text = "a,b,c\n" + "".join(",".join(map(repr, row)) + "\r\n" for row in rows)
    (tmp_path / "t.csv").write_text(text)
    np.testing.assert_array_equal(
        read_table(str(tmp_path / "t.csv"), []).numbers(["c", "a"]), np.array(rows)[:, [2, 0]]
    )


@in_tmp_path
@given(st.binary(max_size=100))
def test_any_bytes_are_a_table_or_refused_in_one_line(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    message = "."
    try:
        assert numbers_of(tmp_path / "t.csv").ndim == 2
    except CorpusError as error:
        message = str(error)
    assert message.isprintable()


def test_vectors_of_both_kinds_are_read(tmp_path):
    values = np.array([[1.5, 2], [3, -4]])
    np.save(tmp_path / "v.npy", values)
    (tmp_path / "v.csv").write_text("1.5,2\n3,-4\n")
    for name in ("v.npy", "v.csv"):
        np.testing.assert_array_equal(read_vectors(str(tmp_path / name)), values)


class Bomb:
    def __reduce__(self):
        return (print, ("opened",))


def test_vectors_that_are_none_are_refused_and_a_pickle_is_never_opened(tmp_path, capsys):
    np.save(tmp_path / "object.npy", np.array([[Bomb()]], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan]]))
    (tmp_path / "odd.csv").write_text("1,2\n3\n")
    (tmp_path / "v.txt").write_text("1\n")
    for name in ("object.npy", "pickle.npy", "flat.npy", "text.npy", "nan.npy", "odd.csv", "v.txt", "missing.npy"):
        with pytest.raises(CorpusError, match=name):
            read_vectors(str(tmp_path / name))
    assert capsys.readouterr().out == ""


def test_standardised_columns_come_back_as_they_were_and_a_constant_one_does_no_harm():
    values = np.array([[1.0, 5, 1e8], [3, 5, 2e8], [8, 5, 3e8]])
    scale = Standard.of(values)
    standard = scale.apply(values)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(axis=0), [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(scale.undo(standard), values, rtol=1e-6)
    again = Standard.from_dict(scale.to_dict(), 3)
    np.testing.assert_array_equal([again.mean, again.std], [scale.mean, scale.std])


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', (((", b"\x93NUMPY\x01\x00\x02\x00{}", b"\x80\x04N."],
    ids=["empty", "zip", "header torn", "header empty", "pickle"],
)
def test_what_is_no_array_is_refused(tmp_path, data):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="not a plain array"):
        read_vectors(str(path))


@pytest.mark.parametrize("text", ["1_0", "\u0663", "0x10", "nan", "1e400", "one"])
def test_what_only_looks_like_a_number_is_refused(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(f"1,2\n3,{text}\n")
    with pytest.raises(CorpusError, match="row 2, column 2"):
        read_vectors(str(path))


def test_a_cell_without_end_and_numbers_without_a_spread_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('1,"' + "2" * 200_000)
    with pytest.raises(CorpusError, match="not CSV"):
        read_vectors(str(path))
    with pytest.raises(CorpusError, match="no finite spread"):
        Standard.of(np.array([[1e308], [-1e308]]))
