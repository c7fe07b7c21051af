"""Corpora and terminals that are out of the ordinary."""

import json
import os
import re
import subprocess
import sys
import threading

import pytest

from charrnn.corpus import reading
from charrnn.options import DataOptions

TINY = ["--hidden-size", "8", "--max-steps", "4", "--workers", "1"]


def charrnn(*command, **options):
    options = {"capture_output": True, "timeout": 300, **options}
    return subprocess.run([sys.executable, "-m", "charrnn", *map(str, command)], check=False, **options)


def trained(folder, text, *options, cwd=None):
    """The result of a short run on a text."""
    path = folder / "corpus.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ended = charrnn("train", path, "--run", folder / "r", *TINY, *options, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1000,
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 " * 50,
        "e\u0301\u0308o\u0302" * 100,
        "".join(map(chr, range(32))) * 20,
        "\0\n\0\r" * 100,
        "ab",
        "one line, no end",
        "\U0001f600\U0001f4a9 text \uffff" * 30,
    ],
    ids=["one distinct", "right to left", "combining", "controls", "nul", "two characters", "one line", "astral"],
)
def test_odd_texts_train_sample_and_score(text, tmp_path):
    result = trained(tmp_path, text)
    assert result["vocabulary_size"] == len(set(text))
    sampled = charrnn("sample", "--run", tmp_path / "r", "-n", "30", "--seed", "1")
    assert (sampled.returncode, sampled.stderr) == (0, b"")
    assert set(sampled.stdout.decode()[:-1]) <= set(text)
    assert charrnn("eval", tmp_path / "corpus.txt", "--run", tmp_path / "r").returncode == 0


@pytest.mark.slow
def test_sixty_thousand_distinct_characters(tmp_path):
    codes = [code for code in range(0x3400, 0x3400 + 63000) if not 0xD800 <= code < 0xE000][:60000]
    result = trained(tmp_path, "".join(map(chr, codes)) * 3)
    assert result["vocabulary_size"] == 60000


@pytest.mark.slow
def test_one_line_of_fifty_megabytes_in_bounded_memory(tmp_path):
    resource = pytest.importorskip("resource")
    trained(tmp_path, b"lorem ipsum dolor sit amet " * 2_000_000, "--val-fraction", "0.001")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak < 8 * 54_000_000


def test_a_fifo_is_read_to_its_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text("through a pipe " * 50))
    writer.start()
    ended = charrnn("train", fifo, "--run", tmp_path / "r", *TINY, "--json")
    writer.join()
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["vocabulary_size"] == len(set("through a pipe "))


def test_a_lone_surrogate_in_the_prime_is_named(tmp_path):
    trained(tmp_path, "some text " * 50)
    ended = charrnn("sample", "--run", tmp_path / "r", "--prime", b"\xff".decode("utf-8", "surrogateescape"))
    line = b"charrnn: error: character '\\udcff' (U+DCFF) at position 0 is not in the vocabulary"
    assert ended.returncode == 3
    assert ended.stderr.startswith(line) and ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"NO_COLOR": "1"}, {"COLUMNS": "20"}, {"TERM": "dumb"}])
def test_odd_terminals(environment, tmp_path):
    trained(tmp_path, "caf\u00e9 na\u00efve " * 60)
    env = os.environ | environment
    for command in (["sample", "--run", "r"], ["info", "r"], ["runs", "."], ["--help"], ["train", "--help"]):
        ended = charrnn(*command, cwd=tmp_path, env=env)
        assert (ended.returncode, ended.stderr) == (0, b""), command
        assert not re.search(rb"\x1b", ended.stdout)
        ended.stdout.decode("utf-8")


@pytest.mark.parametrize("columns", [20, 100])
def test_what_a_person_sees_on_a_terminal(columns, tmp_path):
    """Through a pseudo-terminal: a bar on stderr, none of it in a file."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    (tmp_path / "corpus.txt").write_text("some text " * 100)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    command = [sys.executable, "-m", "charrnn", "train", "corpus.txt", "--run", "r", *TINY]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait() == 0
    assert process.stdout.read() == b""
    assert b"100%|" in shown
    assert (b"left" in shown) == (columns == 100)  # where there is no room, the line is cut and not wrapped


@pytest.mark.parametrize("change", ["vanishes", "grows"])
def test_a_file_that_changes_while_it_is_read_gives_what_was_read(change, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 8)
    path = tmp_path / "corpus.txt"
    path.write_text("12345678abcdefgh")
    chunks = reading.read_codes([str(path)], DataOptions(), [])
    text = bytes(next(chunks))
    if change == "vanishes":
        path.unlink()
    else:
        with path.open("a") as file:
            file.write("more")
    text += b"".join(map(bytes, chunks))
    assert text == b"12345678abcdefgh" + b"more" * (change == "grows")
