"""Unusual corpora, primes and terminals."""

import json
import os
import re
import subprocess
import sys
import threading
import unicodedata

import pytest

from charrnn.corpus import reading

from .conftest import CHARRNN

TINY = ["--hidden-size", "8", "--max-steps", "4", "--workers", "1"]


def run(*arguments, **options):
    options = {"capture_output": True, "timeout": 300, **options}
    return subprocess.run([*CHARRNN, *map(str, arguments)], check=False, **options)


def train(folder, text, *options):
    """Trains a model `r` on a text for a few steps. Returns the result."""
    path = folder / "corpus.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    completed = run("train", path, "--run", folder / "r", *TINY, *options, "--json")
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1000,
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 " * 50,
        "e\u0301\u0308o\u0302" * 100,
        "".join(map(chr, range(32))) * 20,
        "\0\0ab\n" * 100,
        "ab",
        "one line, no end",
        "\U0001f600\U0001f4a9 text \uffff" * 30,
    ],
    ids=[
        "one distinct character",
        "right to left",
        "combining characters",
        "control characters",
        "NUL",
        "two characters",
        "one line without an end",
        "outside the BMP",
    ],
)
def test_a_model_is_trained_on_any_text_and_samples_its_characters(text, tmp_path):
    result = train(tmp_path, text)
    text = unicodedata.normalize("NFC", text.replace("\r", "\n"))
    assert result["vocabulary_size"] == len(set(text))
    sampled = run("sample", "--run", tmp_path / "r", "-n", "30", "--seed", "1")
    assert (sampled.returncode, sampled.stderr) == (0, b"")
    assert set(sampled.stdout.decode()[:-1]) <= set(text)
    assert run("eval", tmp_path / "corpus.txt", "--run", tmp_path / "r").returncode == 0


@pytest.mark.slow
def test_a_text_may_have_sixty_thousand_distinct_characters(tmp_path):
    characters = [
        character for character in map(chr, range(0x3400, 0x2A000)) if unicodedata.category(character) == "Lo"
    ]
    text = "".join(character for character in characters if unicodedata.is_normalized("NFC", character))
    result = train(tmp_path, text[:60000] * 3)
    assert result["vocabulary_size"] == 60000


@pytest.mark.slow
def test_a_line_of_fifty_megabytes_is_read_in_bounded_memory(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"lorem ipsum dolor sit amet " * 2_000_000)
    command = [*CHARRNN, "train", str(path), "--run", str(tmp_path / "r"), *TINY, "--val-fraction", "0.001", "--quiet"]
    # A process of its own, because the peak is that of all children that a process has had.
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    measured = subprocess.run([sys.executable, "-c", measure, *command], check=True, capture_output=True, text=True)
    assert int(measured.stdout) * 1024 < 8 * 54_000_000


def test_a_fifo_is_read_to_its_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text("through a pipe " * 50))
    writer.start()
    completed = run("train", fifo, "--run", tmp_path / "r", *TINY, "--json")
    writer.join()
    assert completed.returncode == 0
    assert json.loads(completed.stdout)["vocabulary_size"] == len(set("through a pipe "))


def test_an_invalid_byte_in_the_prime_is_named(tmp_path):
    train(tmp_path, "some text " * 50)
    completed = run("sample", "--run", tmp_path / "r", "--prime", b"\xff".decode("utf-8", "surrogateescape"))
    line = b"charrnn: error: character '\\udcff' (U+DCFF) at position 0 is not in the vocabulary"
    assert completed.returncode == 3
    assert completed.stderr.startswith(line) and completed.stderr.count(b"\n") == 1


def test_output_to_a_pipe_has_no_escape_sequences_in_any_environment(tmp_path):
    train(tmp_path, "caf\u00e9 na\u00efve " * 60)
    for environment in ({"LC_ALL": "C"}, {"NO_COLOR": "1", "COLUMNS": "20", "TERM": "dumb"}):
        for arguments in (["sample", "--run", "r"], ["info", "r"], ["runs", "."], ["--help"], ["train", "--help"]):
            completed = run(*arguments, cwd=tmp_path, env=os.environ | environment)
            assert (completed.returncode, completed.stderr) == (0, b""), arguments
            assert not re.search(rb"\x1b", completed.stdout)
            completed.stdout.decode("utf-8")


@pytest.mark.parametrize("columns", [20, 100])
def test_a_terminal_shows_a_progress_bar_that_fits_its_width(columns, tmp_path):
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    (tmp_path / "corpus.txt").write_text("some text " * 100)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    # long enough for the bar to be drawn between two steps
    budget = ["--max-steps", "1000000", "--max-minutes", "0.03"]
    command = [*CHARRNN, "train", "corpus.txt", "--run", "r", *TINY, *budget]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux reports the end of a terminal as an error
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait() == 0
    assert process.stdout.read() == b""
    assert re.search(rb"\d+%\|", shown)
    assert (b"left" in shown) == (columns == 100)  # a narrow terminal shows a part of the line


@pytest.mark.parametrize("change", ["deleted", "grows"])
def test_a_file_may_be_deleted_or_grow_while_it_is_read(change, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_SIZE", 8)
    path = tmp_path / "corpus.txt"
    path.write_text("12345678abcdefgh")
    chunks = reading.TextReader().codes(str(path))
    text = bytes(next(chunks))
    if change == "deleted":
        path.unlink()
    else:
        with path.open("a") as file:
            file.write("more")
    text += b"".join(map(bytes, chunks))
    assert text == b"12345678abcdefgh" + b"more" * (change == "grows")
