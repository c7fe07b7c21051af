"""Advice for files that are not text in the given encoding. Following it must give the correct text."""

import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus.reading import TextReader
from charrnn.errors import CorpusError

ENGLISH = "It\N{RIGHT SINGLE QUOTATION MARK}s a “naïve” café — and the letter is long.\n"
FRENCH = "Les élèves préfèrent une école près de la forêt, où l'été est long.\n"
GERMAN = "Die Öffnung der Tür können wir für schöne Mädchen gewähren.\n"
RUSSIAN = "Все счастливые семьи\n"  # noqa: RUF001
JAPANESE = "吾輩は猫である\n"
in_tmp_path = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(path, encoding="utf-8"):
    return "".join(TextReader(encoding).texts(str(path)))


def advice(tmp_path, data, encoding="utf-8"):
    """The message of the error for a file with these bytes."""
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        read(path, encoding)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ENGLISH, "cp1252"),
        (FRENCH, "cp1252"),
        (FRENCH, "latin-1"),
        (GERMAN, "latin-1"),
        (ENGLISH, "utf-16"),
        (ENGLISH, "utf-16-le"),
        (ENGLISH, "utf-16-be"),
        (ENGLISH, "utf-32"),
        (ENGLISH, "utf-32-le"),
        (ENGLISH, "utf-32-be"),
        ("plain ASCII\n", "utf-16-le"),
    ],
)
@pytest.mark.parametrize("repeats", [1, 3000])
def test_the_advice_leads_to_the_correct_text(tmp_path, text, encoding, repeats):
    message = advice(tmp_path, (text * repeats).encode(encoding))
    (named,) = re.findall(r"--encoding ([a-z0-9-]+)", message)
    assert read(tmp_path / "a.txt", named) == text * repeats
    assert f"iconv -f {named} -t utf-8" in message


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(FRENCH, "mac-roman"), (GERMAN, "cp850"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift_jis")],
)
def test_no_encoding_is_recommended_that_gives_another_text(tmp_path, text, encoding):
    message = advice(tmp_path, (text * 20).encode(encoding))
    assert "its encoding is not known" in message and "--encoding NAME" in message


def test_the_advice_for_utf_8_read_in_another_encoding_is_utf_8(tmp_path):
    assert "looks like utf-8" in advice(tmp_path, FRENCH.encode(), encoding="ascii")


def test_a_damaged_utf_8_file_is_not_taken_for_another_encoding(tmp_path):
    message = advice(tmp_path, FRENCH.encode() * 3 + b"\xe9\n")
    assert "line 4, column 1" in message and "damaged" in message and "--encoding" not in message


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gzip.compress(b"text", mtime=0), "a gzip file"),
        (b"PK\x03\x04\x14\0", "a zip file"),
        (b"%PDF-1.7 text", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"SQLite format 3\0", "an SQLite database"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_binary_file_is_named_in_any_encoding(tmp_path, data, kind, encoding):
    message = advice(tmp_path, data, encoding)
    assert kind in message and "--bytes" in message and "--encoding" not in message


@in_tmp_path
@given(data=st.binary(max_size=60))
def test_any_bytes_are_either_read_or_refused_in_one_line(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    problem = ""
    try:
        read(tmp_path / "a.txt")
    except CorpusError as error:
        problem = str(error)
    assert problem.isprintable()
