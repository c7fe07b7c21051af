"""Which columns of a series are read."""

import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions
from charrnn.tasks.series.selection import select_columns

ROWS = [[f"2026-01-{n:02d}", n, 3 * n % 7, 5 * n % 11, ""] for n in range(1, 9)]


def select(*tables, **options):
    notices = []
    return select_columns(tables, DataOptions(task="series", **options), notices), notices


def test_dates_an_index_and_empty_columns_are_left_out_and_the_user_is_told(make_table):
    names, notices = select(make_table("day,n,a,b,", ROWS))
    assert names == ["n", "a", "b"]  # the index is not the first column
    (notice,) = notices
    assert notice == "columns left out: day (dates or times), column 5 (no values); --columns chooses the columns"
    names, notices = select(make_table("n,a,b,day", [[*row[1:4], row[0]] for row in ROWS]))
    assert names == ["a", "b"]
    assert "day (dates or times), n (an index)" in notices[0]


@pytest.mark.parametrize(
    ("header", "first_column", "is_index"),
    [
        ("n", [0, 1, 2, 3, 4], True),
        ("n", [1.5, 2, 2.5, 3, 3.5], True),
        ("n", [1, 2, 4, 5, 6], False),
        ("timestamp", [1, 2, 4, 5, 6], True),
        ("Date", [20260128, 20260129, 20260130, 20260131, 20260201], True),
        ("", [3, 5, 6, 9, 10], True),
        ("time", [1, 1, 2, 3, 4], False),
        ("n", [1, 2, 3, 4], False),
        ("n", [3, 3, 3, 3, 3], False),
    ],
)
def test_the_first_column_is_an_index_if_it_rises_evenly_or_has_such_a_name(make_table, header, first_column, is_index):
    table = make_table(f"{header},a", [[number, n * n % 5] for n, number in enumerate(first_column)])
    names, _ = select(table)
    assert names == (["a"] if is_index else [header or "column 1", "a"])


def test_a_column_is_read_if_there_is_no_other_one_or_if_it_is_chosen(make_table):
    table = make_table("n,s", [[n, "xy"[n % 2]] for n in range(8)], keep_texts=["s"])
    assert select(table, target=["s"])[0] == ["n", "s"]
    assert select(table, target=["n"], ignore="s")[0] == ["n"]
    assert select(table.select_columns(["n"]))[0] == ["n"]
    days = make_table("day,n,a,b,", ROWS)
    assert select(days, columns="b,n") == (["b", "n"], [])
    assert select(days, columns="b", target=["a"]) == (["b", "a"], [])
    assert select(days, ignore="b, n")[0] == ["a"]


def test_a_name_that_contains_a_comma_is_quoted(make_table):
    table = make_table('"a,b",c', [[1, 2], [2, 4]])
    assert select(table, columns='"a,b"')[0] == ["a,b"]


def test_the_columns_of_all_files_are_the_same_in_any_order(make_table):
    first = make_table("a,b", [[1, 2], [2, 4]])
    assert select(first, make_table("b,a", [[1, 2], [2, 4]]))[0] == ["a", "b"]
    other = make_table("b,a,c", [[1, 2, 3], [2, 4, 3]])
    with pytest.raises(CorpusError, match=r"no column c, but .* has one \(--ignore c leaves it out, --columns"):
        select(first, other)
    assert select(first, other, ignore="c")[0] == ["a", "b"]
    assert select(first, other, columns="b")[0] == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "z"}, r"--columns z: no such column \(the columns are day, n, a, b, column 5\)"),
        ({"ignore": "z"}, "--ignore z: no such column"),
        ({"target": ["z"]}, "--target z: no such column"),
        ({"target": ["a", "a"]}, "--target a: given more than once"),
        ({"columns": "a,a"}, "--columns a: given more than once"),
        ({"target": ["a"], "ignore": "a"}, "--ignore a: this column is a --target"),
    ],
)
def test_invalid_names_are_refused(make_table, options, message):
    with pytest.raises(UsageError, match=message):
        select(make_table("day,n,a,b,", ROWS), **options)


def test_a_table_without_numbers_is_refused(make_table):
    with pytest.raises(CorpusError, match="no column of numbers"):
        select(make_table("day,x", [["2026-01-01", ""], ["2026-01-02", ""]]))
