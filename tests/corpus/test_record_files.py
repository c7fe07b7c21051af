"""Files of records: formats, columns, headers, blank lines, and the places that errors name."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus.lines import Line
from charrnn.corpus.record_files import RecordFormat, RecordParser, read_records
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions

in_tmp_path = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
characters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff")
cells = st.text(characters, min_size=1, max_size=6).filter(lambda cell: cell.strip())


def read(folder, name, text, **options):
    """The records of a file as (text, output), and the notices."""
    (folder / name).write_bytes(text.encode())
    notices = []
    records = read_records([str(folder / name)], DataOptions(task="classify", **options), notices)
    return [(record.text, record.output) for record in records], notices


@in_tmp_path
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.integers(0, 3))
def test_records_with_tabs_survive_and_blank_last_lines_are_ignored(tmp_path, rows, blanks):
    text = "".join(f"{source}\t{output}\n" for source, output in rows) + "\n" * blanks
    assert read(tmp_path, "a.tsv", text)[0] == rows


@in_tmp_path
@given(
    st.lists(st.lists(st.text(st.sampled_from('ab", \n'), max_size=5), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_csv_rows_as_pythons_writer_writes_them_survive(tmp_path, rows):
    rows = [[cell + "x" for cell in row] for row in rows]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    records, _ = read(tmp_path, "a.csv", buffer.getvalue(), columns="3,1")
    assert records == [(row[2], row[0]) for row in rows]


@in_tmp_path
@given(st.lists(st.text('ab"\t _,;', max_size=12), max_size=6), st.sampled_from(["a.tsv", "a.csv"]), st.booleans())
def test_any_lines_are_read_or_refused_with_their_line(tmp_path, lines, name, header):
    try:
        records, _ = read(tmp_path, name, "\n".join(lines), header=header)
    except CorpusError as error:
        assert f"{name}, line " in error.message  # noqa: PT017
        return
    assert all(output for _, output in records)


@pytest.mark.parametrize(
    ("name", "text", "options", "expected"),
    [
        ("a.tsv", "1\tx\tgood\n2\ty\tbad\n", {"columns": "3,2"}, [("good", "x"), ("bad", "y")]),
        ("a.tsv", "id\tlabel\ttext\n1\tx\tgood\n", {"columns": "text,label"}, [("good", "x")]),
        ("a.tsv", "text\tlabel\ngood\tx\n", {"header": True}, [("good", "x")]),
        ("a.csv", 'text,label\n"good, ""very""\nindeed",x\n', {"header": True}, [('good, "very"\nindeed', "x")]),
        ("a.txt", "__label__x a good one\n__label__y\tbad\n", {}, [("a good one", "x"), ("bad", "y")]),
        (
            "a.dict",
            ";;; A\tcomment\n".replace("\t", " ") + "AB  EY1 B\nBE   B IY1\n",
            {},
            [("AB", "EY1 B"), ("BE", "B IY1")],
        ),
    ],
)
def test_each_format_is_read(tmp_path, name, text, options, expected):
    assert read(tmp_path, name, text, **options)[0] == expected


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.tsv", "a\tx\n\nb\ty\n", {}, "line 2: a blank line"),
        ("a.tsv", "a\tx\nb\ty\tz\n", {}, r"line 2: more than one tab \(choose .* --columns 1,2\)"),
        ("a.tsv", "a\tx\nb  y\n", {}, "line 2: no tab between"),
        ("a.tsv", "a\tb\tx\nb\ty\n", {"columns": "3,1"}, r"line 2: no column 3 \(the number of columns is 2\)"),
        ("a.tsv", "a\tb\nc\td\n", {"columns": "text,b"}, r"line 1: no column text \(the columns are a, b\)"),
        ("a.csv", "a,x\nb,y,z\n", {}, "line 2: 3 columns"),
        ("a.csv", 'a,x\n"b,y\nc,z\n', {}, "line 2: a quoted cell that does not end"),
        ("a.csv", "a,x\nb\n", {}, "line 2: no column 2"),
        ("a.txt", "__label__x a\nb\n", {}, "line 2: does not begin with __label__"),
        ("a.txt", "__label__x __label__y a\n", {}, "line 1: more than one label"),
        ("a.txt", "__label__ a\n", {}, "line 1: no output after __label__"),
        ("a.dict", "AB  EY1 B\nBE B IY1\n", {}, "line 2: no two blanks between"),
    ],
)
def test_the_error_for_a_line_that_is_no_record_names_it(tmp_path, name, text, options, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, name, text, **options)


@pytest.mark.parametrize("columns", ["", "1,2,3", "1,", "0,1"])
def test_invalid_columns_are_refused(columns):
    with pytest.raises(UsageError, match="not one or two columns"):
        RecordFormat.from_options(columns, False)


def test_training_needs_a_column_of_outputs(tmp_path):
    with pytest.raises(UsageError, match="--columns 2: one column"):
        read(tmp_path, "a.tsv", "a\tx\n", columns="2")


@pytest.mark.parametrize(
    ("name", "text", "notice"),
    [
        ("a.tsv", "Text\tLabel\na\tx\n", "look like a header"),
        ("a.csv", "a,x\n", "read as CSV"),
        ("a.txt", "__label__x a\n", "fastText"),
        ("a.dict", "AB  EY1 B\n", "two blanks"),
    ],
)
def test_a_notice_says_how_a_file_is_read(tmp_path, name, text, notice):
    (found,) = read(tmp_path, name, text)[1]
    assert notice in found and name in found


def parse_inputs(lines, name="a.txt", columns=None):
    parser = RecordParser(name, [], RecordFormat.from_options(columns, False), needs_output=False)
    return list(parser.parse([Line(text, name, number) for number, text in enumerate(lines, 1)]))


@pytest.mark.parametrize(
    ("lines", "name", "columns", "expected"),
    [
        (["a  b", "", "c"], "a.txt", None, [("a  b", ""), ("", ""), ("c", "")]),
        (["a\tx", "b\ty"], "a.txt", None, [("a", "x"), ("b", "y")]),
        (["1\ta\tx"], "a.txt", "2", [("a", "")]),
        (["1\ta\tx"], "a.txt", "2,3", [("a", "x")]),
        (["a", '"b,c"'], "a.csv", None, [("a", ""), ("b,c", "")]),
    ],
)
def test_inputs_need_no_output(lines, name, columns, expected):
    assert [(record.text, record.output) for record in parse_inputs(lines, name, columns)] == expected


def test_inputs_with_and_without_outputs_are_not_mixed():
    with pytest.raises(CorpusError, match="line 2: a tab, but the first line has none"):
        parse_inputs(["a", "b\tx"])
    with pytest.raises(CorpusError, match="line 2: no tab between"):
        parse_inputs(["a\tx", "b"])


def test_the_place_of_a_character_is_its_column_in_the_line():
    (record,) = parse_inputs(["12\tab\tx"], columns="2")
    assert record.place_of(1) == "a.txt, line 1, column 5"
    (record,) = parse_inputs(["__label__x ab"])
    assert record.place_of(0) == "a.txt, line 1, column 12"
    (record,) = parse_inputs(['"a""b"'], name="a.csv")
    assert record.place_of(2) == "a.csv, line 1, character 3 of the text"
