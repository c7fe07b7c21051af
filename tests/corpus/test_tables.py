"""Tables: separators, decimal signs, headers, missing values, and errors that name file, line and column."""

import csv
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus import tables
from charrnn.corpus.tables import MISSING, read_csv_matrix, read_table
from charrnn.errors import CorpusError

in_tmp_path = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def read(tmp_path):
    """Reads a text as a table."""

    def read_text(text, **options):
        (tmp_path / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return read_table(str(tmp_path / "t.csv"), [], **options)

    return read_text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows below the header"),
        ("1,2\n3,4\n", "no header"),
        ("a,a\n1,2\n", "two columns have the name a"),
        ("a,b\n1,2\n3\n", "line 3: 1 cell for 2 columns"),
        ("a,b\n1,x\n", "line 2, column b: 'x' is not a number"),
        ("a,b\n1,inf\n", "line 2, column b: inf is not a finite number"),
        ("a,b\n1,1e999\n", "line 2, column b: 1e999 is not a finite number"),
        ('a,b\n1,"1,234"\n', "line 2, column b: '1,234' is not a number .*without thousands separators"),
        ("a b\n1 2\n", "line 2, column a b: '1 2' is not a number .separate cells with commas, semicolons or tabs"),
        ("a;b\n1;1.234,5\n", "line 2, column b: '1.234,5' is not a number"),
        ("a;b\n1,5;2\n1,5;2.5\n", "line 2, column a: 1,5 has a decimal comma, but .*line 3, column b: 2.5 has a"),
        ("a;b\n1,5;2.5\n", "has a decimal comma, but"),
        ('a,b\n1,2\n3,"4\n', "line 3: not CSV: unexpected end of data .is a quotation mark not closed"),
        ('a,b\n1,"' + "2" * 200_000, "line 2: not CSV"),
        ("a,b\n\n1,2\n\n\n3,x\n", "line 6, column b"),
        ('a,b\n1,"2\n"\n3,x\n', "line 4, column b"),
    ],
)
def test_an_error_in_a_table_names_file_line_and_column(read, text, message):
    def all_numbers():
        table = read(text)
        return table.numbers(table.names)

    with pytest.raises(CorpusError, match=message) as caught:
        all_numbers()
    assert "t.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("a,b\n1.5,-2e3\n", ""),
        (" a , b \n 1.5 , -2000\n", ""),
        ("a;b\r\n1.5;-2e3\r\n", "separated by semicolons"),
        ("a\tb\n1.5\t-2e3\n", "separated by tabs"),
        ("a;b\n1,5;-2e3\n", "separated by semicolons, decimal commas"),
        ('"a"\t"b"\n"1,5"\t-2e3', "separated by tabs, decimal commas"),
    ],
)
def test_separator_and_decimal_sign_are_recognised(read, text, layout):
    table = read(text)
    assert table.names == ("a", "b")
    assert table.numbers(["b", "a"]).tolist() == [[-2000, 1.5]]
    assert table.layout == layout


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"a;b",c\n1,2\n', ("a;b", "c")),
        ("min; max,c\n1,2\n", ("min; max", "c")),
        ("a\n1,5\n", ("a",)),
        (",a\n0,5\n", ("column 1", "a")),
        ("\n\na,b\n1,2\n", ("a", "b")),
    ],
)
def test_the_columns_are_those_of_the_header(read, text, names):
    assert read(text).names == names


def test_a_missing_value_is_nan_and_texts_are_described(read):
    table = read("a,b,c\n1,,x\nNA,2.5,y\n nan ,-,1\n", keep_texts=["c"])
    np.testing.assert_array_equal(table.numbers(["a", "b"]), [[1, np.nan], [np.nan, 2.5], [np.nan, np.nan]])
    assert table.texts("c") == ["x", "y", "1"]
    assert [table.is_text(name) for name in "abc"] == [False, False, True]


@pytest.mark.parametrize("values", [["5", "x"], ["nan", "inf", "5"], ["1"] * 9 + ["x"]])
def test_a_column_with_some_texts_contains_labels(read, values):
    table = read("a\n" + "\n".join(values), keep_texts=["a"])
    assert table.is_text("a")
    assert table.texts("a") == values


def test_a_column_with_few_texts_contains_numbers(read):
    assert not read("a\n" + "1\n" * 20 + "x\n").is_text("a")


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-28", "28.11.2026", "11/28/26", "2026-11-28T14:30:00Z", "2026-11-28 14:30:00.5+01:00", "14:30"),
        *("2:30 pm", "2026Q1", "2026-W05", "Nov 2026", "28 November 2026", "28-Nov-26", "2026-11"),
    ],
)
def test_dates_and_times_are_recognised(read, text):
    assert read(f"a;b\n{text};1\n;1\n").is_date("a")


@pytest.mark.parametrize("text", ["row 12", "1.5", "abc", "1-2", "2026"])
def test_other_texts_are_not_dates(read, text):
    assert not read(f"a;b\n{text};1\n").is_date("a")


def test_a_blank_line_is_a_missing_value_of_a_single_column_and_nothing_otherwise(read):
    table = read("a\n1\n\n3\n\n\n")
    np.testing.assert_array_equal(table.numbers(["a"]), [[1], [np.nan], [3]])
    assert table.lines.tolist() == [2, 3, 4]
    table = read("a,b\n1,2\n\n3,4\n  \n")
    assert table.numbers(["a"]).tolist() == [[1], [3]]
    assert table.lines.tolist() == [2, 4]


def test_a_quoted_cell_keeps_its_line_breaks(read):
    assert read('a,b\n1,"x\r\ny, ""z"""\n', keep_texts=["b"]).texts("b") == ['x\ny, "z"']


def test_a_message_lists_a_few_of_many_names():
    assert tables.list_names(["a", "b"]) == "a, b"
    assert tables.list_names([str(n) for n in range(3000)]).endswith("18, 19, ... (3,000 in total)")


def test_rows_and_columns_can_be_selected(read):
    table = read("a,b,c\n1,2,x\n3,4,y\n5,6,z\n", keep_texts=["c"])
    part = table.select_rows(np.array([True, False, True])).select_columns(["c", "b", "d"])
    assert (part.names, part.texts("c"), part.lines.tolist()) == (("c", "b"), ["x", "z"], [2, 4])
    assert part.numbers(["b"]).tolist() == [[2], [6]]
    wider = part.with_empty_columns(["d"])
    assert np.isnan(wider.numbers(["d"])).all() and len(wider) == 2


@pytest.mark.parametrize("chunk_cells", [1, 7, 1 << 18])
@in_tmp_path
@given(rows=st.lists(st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_a_table_returns_any_numbers_unchanged(tmp_path, monkeypatch, chunk_cells, rows):
    monkeypatch.setattr(tables, "CHUNK_CELLS", chunk_cells)
    texts = [["" if value is None else repr(value) for value in row] for row in rows]
    for separator, point in ((",", "."), (";", ","), ("\t", ".")):
        lines = [separator.join(row).replace(".", point) for row in texts]
        (tmp_path / "t.csv").write_text("\r\n".join([separator.join("abc"), *lines]))
        table = read_table(str(tmp_path / "t.csv"), [])
        expected = np.array([[np.nan if value is None else value for value in row] for row in rows])
        np.testing.assert_array_equal(table.numbers(["c", "a"]), expected[:, [2, 0]])


@in_tmp_path
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00")), min_size=2, max_size=2)))
def test_any_texts_are_kept_as_python_writes_them(tmp_path, rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["a", "b"], *rows])
    (tmp_path / "t.csv").write_text(file.getvalue(), newline="")
    if rows:
        table = read_table(str(tmp_path / "t.csv"), [], keep_texts=["a", "b"])
        assert table.texts("b") == [row[1].strip() for row in rows]
        numbers = [text.strip() for row in rows for text in row if text.strip().lower() not in MISSING]
        assert sum(content.num_texts for content in table.contents) <= len(numbers)


@in_tmp_path
@given(st.binary(max_size=100))
def test_any_bytes_are_a_table_or_cause_an_error_of_one_line(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    for function in (read_csv_matrix, lambda path: read_table(path, []).values):
        message = "."
        try:
            assert function(str(tmp_path / "t.csv")).ndim == 2
        except CorpusError as error:
            message = str(error)
        assert message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        *("1.5,2\n3,-4\n", "a,b\n1.5,2\n3,-4\n", "1,5;2\n3;-4\n"),
        *("\nx\ty\n1.5\t2\n3\t-4\n\n", '"a","b"\n1.5,2\n3,-4'),
    ],
)
def test_a_matrix_may_have_a_header(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    assert read_csv_matrix(str(tmp_path / "m.csv")).tolist() == [[1.5, 2], [3, -4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows of numbers"),
        ("a,b\n", "no rows of numbers"),
        ("1,2\n3\n", "line 2: 1 cell for 2 columns"),
        ("1,x\n3,4\n", "line 1, column 2: 'x' is not a number"),
        ("a,b\n1,\n", "line 2, column 2: the value is missing"),
        *[(f"1,2\n3,{text}\n", "line 2, column 2") for text in ("1_0", "\u0663", "0x10", "nan", "1e400", "one")],
    ],
)
def test_a_matrix_that_is_not_complete_is_refused(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(CorpusError, match=rf"m\.csv.*{message}"):
        read_csv_matrix(str(tmp_path / "m.csv"))
