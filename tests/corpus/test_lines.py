"""Lines of text files: their line ends, their numbers, and when they become available."""

import os
import threading
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus import reading
from charrnn.corpus.lines import read_available_lines, read_lines

in_tmp_path = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@in_tmp_path
@given(
    lines=st.lists(st.text("ab—😀\x0b\u2028")), line_end=st.sampled_from(["\n", "\r\n", "\r"]), chunk=st.integers(1, 9)
)
def test_only_lf_crlf_and_cr_end_a_line(tmp_path, lines, line_end, chunk):
    (tmp_path / "a.txt").write_bytes("".join(line + line_end for line in lines).encode())
    with mock.patch.object(reading, "CHUNK_SIZE", chunk):
        read = list(read_lines([str(tmp_path / "a.txt")], "utf-8", []))
    assert [line.text for line in read] == lines
    assert [line.number for line in read] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize(("text", "lines"), [("", []), ("\n", [""]), ("a", ["a"]), ("a\n\nb\r", ["a", "", "b"])])
def test_the_last_line_need_not_have_a_line_end(tmp_path, text, lines):
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert [line.text for line in read_lines([str(tmp_path / "a.txt")], "utf-8", [])] == lines


def test_the_place_of_a_line_names_its_file_and_its_number_there(tmp_path):
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    for path in paths:
        Path(path).write_text("one\ntwo\n")
    lines = list(read_lines(paths, "utf-8", []))
    assert [line.place for line in lines[1:3]] == [f"{paths[0]}, line 2", f"{paths[1]}, line 1"]


def test_a_notice_says_that_crlf_line_ends_became_lf(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\r\n")
    notices = []
    assert [line.text for line in read_lines([str(tmp_path / "a.txt")], "utf-8", notices)] == ["a", "b"]
    assert len(notices) == 1 and "CR LF became LF" in notices[0]


def test_a_line_never_continues_in_the_next_file(tmp_path):
    for name, text in {"a": "one\ntwo", "b": "three"}.items():
        (tmp_path / name).write_text(text)
    lines = read_lines([str(tmp_path / name) for name in "ab"], "utf-8", [])
    assert [line.text for line in lines] == ["one", "two", "three"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_lines_of_a_pipe_are_available_before_the_pipe_is_closed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    was_read = threading.Event()

    def write():
        with open(tmp_path / "pipe", "wb", buffering=0) as pipe:
            pipe.write(b"one\ntwo\nthr")
            assert was_read.wait(30)
            pipe.write(b"ee\n")

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    lines = read_available_lines(str(tmp_path / "pipe"), reading.TextReader())
    assert [line.text for line in next(lines)] == ["one", "two"]
    was_read.set()
    assert [line.text for line in next(lines)] == ["three"]
    writer.join(30)
