"""Reading text: chunk boundaries, encodings, line ends, gzip, notices, and the position of errors."""

import gzip
import sys
import unicodedata
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charrnn.corpus import reading
from charrnn.corpus.encodings import binary_format, utf16_or_32
from charrnn.corpus.escapes import to_bytes
from charrnn.corpus.reading import ByteReader, TextReader, make_reader, read_text
from charrnn.corpus.vocabulary import DOCUMENT_END, Vocabulary
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions

any_chunk = st.integers(1, 9)
newlines_and_wide = st.text(st.sampled_from("a\r\nß—中😀\ufeff\x00")) | st.text()
in_tmp_path = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def codes(*paths, chunk=1 << 20, notices=None, **options):
    """All code points of some files, read in chunks of `chunk` bytes."""
    reader = make_reader(DataOptions(**options))
    with mock.patch.object(reading, "CHUNK_SIZE", chunk):
        pieces = [piece for path in paths for piece in reader.codes(str(path))]
    if notices is not None:
        notices += reader.notices()
    return [code for piece in pieces for code in piece.tolist()]


def unix_lines(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_like_text(data):
    return binary_format(data) is None and utf16_or_32(data) is None


def write(path, data):
    path.write_bytes(data)
    return path


@in_tmp_path
@given(text=newlines_and_wide, chunk=any_chunk, newline=st.sampled_from(["lf", "keep"]))
def test_any_text_is_read_with_any_chunk_size(tmp_path, text, chunk, newline):
    assume(is_like_text(text.encode()))
    path = write(tmp_path / "a.txt", text.encode())
    expected = text.removeprefix("\ufeff")
    if newline == "lf":
        expected = unix_lines(expected)
    assert codes(path, chunk=chunk, newline=newline, normalize="none") == list(map(ord, expected))
    reader = TextReader(newline=newline)
    assert "".join(reader.texts(str(path))) == expected
    is_changed = newline == "lf" and "\r" in text
    assert any("became LF" in notice for notice in reader.notices()) == is_changed


@in_tmp_path
@given(data=st.binary(), chunk=any_chunk)
def test_the_option_bytes_reads_any_bytes_unchanged(tmp_path, data, chunk):
    assert codes(write(tmp_path / "a", data), chunk=chunk, bytes=True) == list(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-8-sig", "shift_jis", "gb18030"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000])
def test_a_character_that_is_split_between_chunks_is_decoded(tmp_path, encoding, chunk):
    text = "aあ漢字\nz" if encoding == "shift_jis" else "aß漢😀\nz"
    assert codes(write(tmp_path / "a", text.encode(encoding)), chunk=chunk, encoding=encoding) == list(map(ord, text))


def test_latin_1_maps_each_byte_to_the_character_with_this_code_point(tmp_path):
    path = write(tmp_path / "a", bytes(range(256)))
    assert codes(path, encoding="latin-1", newline="keep") == list(range(256))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_byte_order_mark_at_the_start_is_dropped_with_a_notice(tmp_path, chunk):
    notices = []
    path = write(tmp_path / "a.txt", "\ufeffab\ufeffc".encode())
    assert codes(path, chunk=chunk, notices=notices) == list(map(ord, "ab\ufeffc"))
    assert len(notices) == 1 and "byte order mark" in notices[0] and str(path) in notices[0]


def test_the_byte_order_mark_of_each_file_is_dropped(tmp_path):
    paths = [write(tmp_path / name, f"\ufeff{name}".encode()) for name in "ab"]
    assert codes(*paths) == [ord("a"), ord("b")]


@pytest.mark.parametrize(
    ("newline", "text", "notice"),
    [
        ("lf", b"ab\r\ncd\r\n", "line ends CR LF became LF"),
        ("lf", b"ab\rcd\r", "line ends CR became LF"),
        ("keep", b"ab\r\ncd\r\n", "line ends CR LF are kept"),
        ("keep", b"ab\rcd\n\r", None),
        ("lf", b"ab\ncd\n", None),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 4, 1000])
def test_a_notice_says_what_became_of_the_line_ends(tmp_path, newline, text, notice, chunk):
    notices = []
    path = write(tmp_path / "a", text)
    expected = text if newline == "keep" else unix_lines(text.decode()).encode()
    assert codes(path, chunk=chunk, notices=notices, newline=newline) == list(expected)
    assert len(notices) == (notice is not None)
    assert notice is None or (notice in notices[0] and str(path) in notices[0])


def test_one_notice_names_the_first_of_several_files(tmp_path):
    notices = []
    codes(*(write(tmp_path / name, b"a\r\n") for name in ("1", "2", "3")), notices=notices)
    assert notices == [f"{tmp_path / '1'} and 2 other files: line ends CR LF became LF (--newline keep keeps them)"]


def test_standard_input_is_read_like_a_file_and_named_in_errors(tmp_path, monkeypatch):
    write(tmp_path / "in", "ab—".encode())
    with open(tmp_path / "in") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert codes("-") == list(map(ord, "ab—"))
    write(tmp_path / "in", b"ab\xff")
    with open(tmp_path / "in") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(CorpusError, match=r"standard input, line 1, column 3: byte 0xff"):
            codes("-")


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_gzip_files_with_several_members_are_unpacked(tmp_path, chunk):
    path = write(tmp_path / "a.txt.gz", gzip.compress("ein—".encode()) + gzip.compress(b" zwei"))
    assert codes(path, chunk=chunk) == list(map(ord, "ein— zwei"))


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: b"plain text", lambda data: data[:12] + b"\xff\xff" + data[14:]],
    ids=["cut off", "not gzip", "overwritten"],
)
def test_a_damaged_gzip_file_is_a_corpus_error_that_names_it(tmp_path, damage):
    path = write(tmp_path / "a.gz", damage(gzip.compress(bytes(range(256)) * 9)))
    with pytest.raises(CorpusError, match=r"a\.gz: damaged gzip"):
        codes(path, bytes=True)


def test_a_decompression_bomb_is_refused_before_most_of_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MIN_GZIP_LIMIT", 1000)
    path = write(tmp_path / "a.gz", gzip.compress(b"a" * 1_000_000))
    read = []
    monkeypatch.setattr(
        gzip.GzipFile, "read1", lambda self, n, real=gzip.GzipFile.read1: read.append(n) or real(self, n)
    )
    with pytest.raises(CorpusError, match="times its size"):
        codes(path, chunk=10_000)
    assert sum(read) < 500_000


def test_a_gzip_file_of_ordinary_text_is_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MIN_GZIP_LIMIT", 10)
    text = "".join(f"line {n * n}\n" for n in range(2000))
    assert len(codes(write(tmp_path / "a.gz", gzip.compress(text.encode())))) == len(text)


@in_tmp_path
@given(
    data=st.binary(max_size=40) | st.text("a\n—").map(lambda text: text.encode() + b"\xff"),
    chunk=any_chunk,
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-32-le"]),
)
def test_the_error_for_undecodable_text_gives_the_position_of_the_first_bad_byte(tmp_path, data, chunk, encoding):
    assume(binary_format(data) is None and (encoding != "utf-8" or utf16_or_32(data) is None))
    path = write(tmp_path / "a.txt", data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        *lines, last = data[: error.start].decode(encoding).removeprefix("\ufeff").split("\n")
        place = f"a.txt, line {len(lines) + 1}, column {len(last) + 1}: byte 0x{data[error.start]:02x}"
        with pytest.raises(CorpusError) as caught:
            codes(path, chunk=chunk, encoding=encoding)
        assert f"{place} is not valid {encoding}" in str(caught.value)
    else:
        expected = text.removeprefix("\ufeff")
        options = {"encoding": encoding, "newline": "keep", "normalize": "none"}
        assert codes(path, chunk=chunk, **options) == list(map(ord, expected))


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize(
    ("data", "place"),
    [(b"ab\xff", "line 1, column 3"), (b"a\nbc\xff", "line 2, column 3"), (b"\xff", "line 1, column 1")],
)
def test_a_byte_order_mark_does_not_count_in_the_position_of_an_error(tmp_path, data, place, chunk):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbf" + data)
    with pytest.raises(CorpusError, match=place):
        codes(path, chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_an_incomplete_character_at_the_end_of_a_file_is_not_completed_by_the_next_file(tmp_path, chunk):
    first, second = write(tmp_path / "1", b"abc\xe2\x80"), write(tmp_path / "2", b"\x94")
    with pytest.raises(CorpusError, match="1, line 1, column 4: byte 0xe2"):
        codes(first, second, chunk=chunk)


def test_each_chunk_has_the_smallest_type_that_holds_its_codes(tmp_path):
    path = write(tmp_path / "a", "aaaa—a😀".encode())
    with mock.patch.object(reading, "CHUNK_SIZE", 4):
        kinds = [chunk.dtype for chunk in TextReader().codes(str(path))]
    assert kinds == [np.uint8, np.uint16, np.uint32]


@pytest.mark.parametrize("encoding", ["no-such", "", "base64", "rot13", "aliases", "utf-8\0"])
def test_an_unknown_encoding_is_a_usage_error(tmp_path, encoding):
    with pytest.raises(UsageError, match="no such text encoding"):
        codes(write(tmp_path / "a", b"abc"), encoding=encoding)


def test_a_file_that_cannot_be_opened_is_a_corpus_error_that_names_it(tmp_path):
    for path in (tmp_path / "missing.txt", tmp_path, tmp_path / "missing.gz"):
        with pytest.raises(CorpusError, match=str(path)):
            codes(path)


def test_a_large_file_is_read_in_chunks(tmp_path, monkeypatch):
    path = write(tmp_path / "a", b"x" * 1000)
    monkeypatch.setattr(reading, "CHUNK_SIZE", 100)
    chunks = ByteReader().codes(str(path))
    assert len(next(chunks)) == 100
    assert sum(map(len, chunks)) == 900


@in_tmp_path
@given(text=st.text(st.sampled_from("a\r\nß—中😀\ufeff")))
def test_read_text_returns_the_whole_text(tmp_path, text):
    path = write(tmp_path / "a.txt", text.encode())
    expected = text.removeprefix("\ufeff")
    assert read_text(str(path), Vocabulary.of_texts(["a"])) == unix_lines(expected)
    assert read_text(str(path), Vocabulary.of_texts(["\r"])) == expected


@in_tmp_path
@given(data=st.binary())
def test_read_text_keeps_all_bytes_for_a_vocabulary_of_bytes(tmp_path, data):
    path = write(tmp_path / "a", data)
    assert to_bytes(read_text(str(path), Vocabulary(np.arange(256), is_bytes=True))) == data


@in_tmp_path
@given(
    text=st.text("ae\u0301\u0323\u00e9\u212b\ufb01\u1100\u1161\u11a8\uac00\n"),
    chunk=any_chunk,
    form=st.sampled_from(["NFC", "NFD", "NFKC"]),
)
def test_a_text_is_normalised_with_any_chunk_size(tmp_path, text, chunk, form):
    path = write(tmp_path / "a.txt", text.encode())
    expected = unicodedata.normalize(form, text)
    notices = []
    assert codes(path, chunk=chunk, notices=notices, normalize=form) == list(map(ord, expected))
    assert any("normal form" in notice for notice in notices) == (text != expected)


@in_tmp_path
@given(text=st.text("ab\n"), chunk=any_chunk, separator=st.sampled_from(["a", "ab", "aa", "\n\n", "aba"]))
def test_each_separator_becomes_the_end_of_a_document_with_any_chunk_size(tmp_path, text, chunk, separator):
    path = write(tmp_path / "a.txt", text.encode())
    expected = text.replace(separator, chr(DOCUMENT_END))
    assert codes(path, chunk=chunk, document_separator=separator) == list(map(ord, expected))


def test_a_text_that_contains_the_symbol_of_document_ends_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"contains U\+FDD0"):
        codes(write(tmp_path / "a", f"a{chr(DOCUMENT_END)}b".encode()), document_separator="b")
