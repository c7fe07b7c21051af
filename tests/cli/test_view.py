"""charrnn view: texts, units and figures."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli import view

from .conftest import TEXT as CORPUS
from .conftest import error_cases, on_terminal

TEXT = "the lazy dog.\nthe fox.\n"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return "text.txt"


def test_a_pipe_gets_the_text_and_digits(charrnn, trained, text):
    outcome = charrnn("view", text, "--run", trained)
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    lines = outcome.out.splitlines()
    assert (lines[0], lines[2]) == ("the lazy dog.↵", "the fox.↵")
    assert re.fullmatch("[1-9 ]*", lines[1]) and re.fullmatch("[1-9 ]*", lines[3])
    caption = r"nats per character, mean \d\.\d\d, in steps of 1 \(9 = 9 or more\): below each character"
    assert re.fullmatch(caption, lines[5])


def test_json_has_a_line_for_each_character(charrnn, trained, text):
    rows = charrnn("view", text, "--run", trained, "--json").rows
    assert [row.keys() for row in rows] == [{"char", "nats"}] * len(TEXT)
    assert "".join(row["char"] for row in rows) == TEXT
    loss = charrnn("eval", text, "--run", trained, "--json").json["loss"]
    assert sum(row["nats"] for row in rows) / len(rows) == pytest.approx(loss, rel=1e-5)
    rows = charrnn("view", text, "--run", trained, "--unit", "0.3", "--part", "f", "--json").rows
    assert [row.keys() for row in rows] == [{"char", "nats", "value"}] * len(TEXT)
    assert all(0 <= row["value"] <= 1 for row in rows)


def test_the_text_can_come_from_standard_input_or_a_gzip_file(charrnn, trained, text):
    plain = charrnn("view", text, "--run", trained).out
    assert charrnn("view", "-", "--run", trained, stdin=TEXT).out == plain
    Path("text.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert charrnn("view", "text.txt.gz", "--run", trained).out == plain


def test_the_default_text_is_the_start_of_the_validation_part(charrnn, trained, monkeypatch):
    rows = charrnn("view", "--run", trained, "--json").rows
    assert "".join(row["char"] for row in rows) == CORPUS[len(CORPUS) - len(CORPUS) // 10 :]
    monkeypatch.setattr(view, "SHOWN_CHARS", 20)
    assert len(charrnn("view", "--run", trained, "--json").rows) == 20
    assert len(charrnn("view", "--model", trained / "best.safetensors", "--json").rows) == 20


def test_the_validation_part_can_be_a_file_of_lines_or_bytes(charrnn, train, corpus, text):
    train(corpus, "--run", "r", "--max-steps", "2", "--lines", "--val-file", text)
    rows = charrnn("view", "--run", "r", "--json").rows
    assert "".join(row["char"] for row in rows) == TEXT
    train(corpus, "--run", "b", "--max-steps", "2", "--bytes")
    assert charrnn("view", "--run", "b").code == 0


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ("missing", ["corpus.txt", "No such file"]),
        ("changed", ["r: ", "corpus.txt", "changed"]),
        ("standard input", ["r: ", "standard input"]),
        ("no validation", ["r: ", "no validation part"]),
    ],
)
def test_without_a_validation_part_a_text_is_needed(charrnn, train, corpus, change, facts):
    source = "-" if change == "standard input" else corpus
    options = ("--val-fraction", "0") if change == "no validation" else ()
    train(source, "--run", "r", "--max-steps", "2", *options, stdin=CORPUS)
    if change == "missing":
        corpus.unlink()
    elif change == "changed":
        corpus.write_text(CORPUS[:-1] + "!")
    charrnn("view", "--run", "r").fails(3, *facts, "TEXT")


def test_a_checkpoint_outside_of_a_run_needs_a_text(charrnn, trained):
    shutil.copy(trained / "best.safetensors", "alone.safetensors")
    charrnn("view", "--model", "alone.safetensors").fails(3, "alone.safetensors", "not in a run", "TEXT")


@pytest.mark.parametrize(
    ("environment", "options", "background"),
    [
        ({}, (), "48;5;"),
        ({"COLORTERM": "truecolor"}, (), "48;2;"),
        ({"NO_COLOR": "1"}, (), None),
        ({"TERM": "dumb"}, (), None),
        ({}, ("--colour", "never"), None),
        ({"NO_COLOR": "1"}, ("--colour", "always"), "48;5;"),
    ],
)
def test_a_terminal_gets_the_colours_that_it_supports(environment, options, background, trained, text):
    shown, _ = on_terminal("view", text, "--run", trained, *options, **environment)
    assert ("\x1b[" in shown) == (background is not None)
    assert background is None or f";{background}" in shown


def test_a_pipe_gets_colours_on_request(charrnn, trained, text):
    assert "\x1b[" in charrnn("view", text, "--run", trained, "--colour", "always").out


def test_find_prints_a_table_or_json(charrnn, trained):
    words = ["view", trained.parent / "corpus.txt", "--run", trained]
    outcome = charrnn(*words, "--find")
    assert outcome.code == 0 and "just after a space" in outcome.out
    warning, hint = outcome.err.splitlines()
    assert "1,350 characters" in warning and "50,000" in warning
    assert re.search(r"--unit 0\.\d+$", hint)
    rows = charrnn(*words, "--find", "--json").rows
    assert all(row.keys() == {"probe", "layer", "unit", "correlation"} for row in rows)
    assert all(row["layer"] == 0 and 0 <= row["unit"] < 16 and abs(row["correlation"]) <= 1 for row in rows)
    strengths = [abs(row["correlation"]) for row in rows]
    assert strengths == sorted(strengths, reverse=True)
    best = {row["probe"]: row for row in rows}["just after a space"]
    values = charrnn(*words, "--unit", f"0.{best['unit']}", "--json").rows[675:]  # the second half
    correlation = np.corrcoef([row["char"] == " " for row in values], [row["value"] for row in values])[0, 1]
    assert best["correlation"] == pytest.approx(correlation, rel=1e-4)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
@pytest.mark.parametrize("options", [(), ("--find",), ("--unit", "0.3"), ("--unit", "0.3", "--part", "c")])
def test_output_draws_units(suffix, magic, options, charrnn, trained):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    outcome = charrnn("view", "--run", trained, *options, "--output", f"u{suffix}")
    assert outcome.code == 0 and outcome.err.endswith(f"saved u{suffix}\n")
    assert Path(f"u{suffix}").read_bytes().startswith(magic)
    assert ("correlation" in outcome.out) == ("--find" in options)


@error_cases(
    ("--unit 17", 2, "--unit 17", "0.17"),
    ("--unit 1.0", 2, "unit 1.0", "0.0 to 0.15"),
    ("--unit 0.16", 2, "unit 0.16", "0.0 to 0.15"),
    ("--unit 0.1 --part z", 2, "quantity z", "lstm", "tanh(c), h, c, i, f, g, o"),
    ("--part h", 2, "--part", "--unit"),
    ("--unit 0.1 --find", 2, "--unit", "--find", "cannot be used together"),
    ("--output u.pdf", 2, "--output u.pdf", ".png or .svg"),
    ("--output u", 2, "--output u", ".png or .svg"),
    ("--colour red", 2, "--colour red", "always, auto, never"),
    ("nowhere.txt", 3, "nowhere.txt", "No such file"),
    ("empty.txt", 3, "empty.txt", "empty"),
    ("other.txt", 3, "other.txt, line 1, column 5", "'ß' (U+00DF)", "--on-unknown skip"),
    ("unknown.txt --on-unknown skip", 3, "vocabulary"),
)
def test_a_mistake_is_named(charrnn, trained, arguments, code, facts):
    for name, content in (("empty.txt", ""), ("other.txt", "the ß"), ("unknown.txt", "ß")):
        Path(name).write_text(content)
    charrnn("view", *arguments, "--run", trained).fails(code, *facts)


def test_unknown_characters_can_be_skipped(charrnn, trained):
    outcome = charrnn("view", "-", "--run", trained, "--on-unknown", "skip", "--json", stdin="aßb")
    assert [row["char"] for row in outcome.rows] == ["a", "b"]
    assert outcome.err == "skipped 1 character outside the vocabulary\n"


@pytest.mark.parametrize("task", ["classify", "series"])
def test_other_models_than_language_models_are_refused(task_runs, charrnn, task):
    charrnn("view", "--run", f"runs/{task}").fails(2, f"--task {task}", "--task lm")
