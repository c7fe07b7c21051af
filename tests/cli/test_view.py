"""charrnn view and plot --gradients: what each prints, draws and refuses."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli import view

TEXT = "the lazy dog.\nthe fox.\n"
CELLS = ("lstm", "gru", "rnn")
NO_QUANTITY = "the cell lstm has no such quantity (it has tanh(c), h, c, i, f, g, o)"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return "text.txt"


def test_a_pipe_gets_the_text_and_digits(charrnn, trained, text):
    outcome = charrnn("view", text, "--run", trained)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "the lazy dog.↵" and lines[2] == "the fox.↵"
    assert re.fullmatch("[1-9 ]*", lines[1]) and re.fullmatch("[1-9 ]*", lines[3])
    caption = r"nats a character, mean \d\.\d\d, in steps of 1 \(9: or more\): below each character"
    assert re.fullmatch(caption, lines[5])
    assert "\x1b" not in outcome.out


def test_json_has_a_line_for_each_character(charrnn, trained, text):
    rows = charrnn("view", text, "--run", trained, "--json").rows
    assert [row.keys() for row in rows] == [{"char", "nats"}] * len(TEXT)
    assert "".join(row["char"] for row in rows) == TEXT
    loss = charrnn("eval", text, "--run", trained, "--json").json["loss"]
    assert sum(row["nats"] for row in rows) / len(rows) == pytest.approx(loss, rel=1e-5)
    rows = charrnn("view", text, "--run", trained, "--unit", "0.3", "--part", "f", "--json").rows
    assert [row.keys() for row in rows] == [{"char", "nats", "value"}] * len(TEXT)
    assert all(0 <= row["value"] <= 1 for row in rows)


def test_standard_input_and_gzip_are_texts_too(charrnn, trained, text):
    plain = charrnn("view", text, "--run", trained).out
    assert charrnn("view", "-", "--run", trained, stdin=TEXT).out == plain
    subprocess.run(["gzip", text], check=True)
    assert charrnn("view", "text.txt.gz", "--run", trained).out == plain


def test_without_a_text_the_beginning_of_the_validation_part(charrnn, trained, monkeypatch):
    whole = (trained.parent / "corpus.txt").read_text()
    rows = charrnn("view", "--run", trained, "--json").rows
    shown = "".join(row["char"] for row in rows)
    assert shown == whole[len(whole) - len(whole) // 10 :]
    monkeypatch.setattr(view, "SHOWN", 20)
    assert len(charrnn("view", "--run", trained, "--json").rows) == 20
    best = trained / "best.safetensors"
    assert len(charrnn("view", "--model", best, "--json").rows) == 20


def test_the_validation_part_of_lines_and_of_an_own_file(charrnn, train, corpus, text):
    train(corpus, "--run", "r", "--max-steps", "2", "--lines", "--val-file", text)
    rows = charrnn("view", "--run", "r", "--json").rows
    assert "".join(row["char"] for row in rows) == TEXT
    train(corpus, "--run", "b", "--max-steps", "2", "--bytes")
    assert charrnn("view", "--run", "b").code == 0


@pytest.mark.parametrize("change", ["gone", "changed", "standard input", "nothing"])
def test_a_corpus_that_is_not_to_be_had_asks_for_a_text(charrnn, train, corpus, change):
    source = "-" if change == "standard input" else corpus
    spare = ("--val-fraction", "0") if change == "nothing" else ()
    train(source, "--run", "r", "--max-steps", "2", *spare, stdin=corpus.read_text())
    if change == "gone":
        corpus.unlink()
    elif change == "changed":
        corpus.write_text(corpus.read_text()[:-1] + "!")
    reason = {
        "gone": f"{corpus.resolve()}: No such file or directory",
        "changed": f"r: its corpus has changed since it was trained: {corpus.resolve()}",
        "standard input": "r: its corpus came from standard input and was not kept",
        "nothing": "r: nothing of its corpus was kept to validate on",
    }[change]
    charrnn("view", "--run", "r").fails(3, f"{reason} (name a TEXT to look at)")


def test_a_model_alone_asks_for_a_text(charrnn, trained, tmp_path):
    shutil.copy(trained / "best.safetensors", tmp_path / "alone.safetensors")
    outcome = charrnn("view", "--model", "alone.safetensors")
    outcome.fails(3, "alone.safetensors: it lies in no run, which would know its corpus (name a TEXT to look at)")


def on_a_terminal(*arguments, **environment):
    """What a terminal of 80 columns is sent."""
    master, slave = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")}
    variables |= {"COLUMNS": "80", "TERM": "xterm-256color"} | environment
    command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    child = subprocess.Popen(command, stdout=slave, stderr=subprocess.PIPE, env=variables)
    os.close(slave)
    sent = b""
    try:
        while data := os.read(master, 65536):
            sent += data
    except OSError:
        pass  # the other end is closed
    assert child.wait(60) == 0, child.stderr.read().decode()
    child.stderr.close()
    os.close(master)
    return sent.decode()


@pytest.mark.parametrize(
    ("environment", "options", "ground"),
    [
        ({}, (), "48;5;"),
        ({"COLORTERM": "truecolor"}, (), "48;2;"),
        ({"NO_COLOR": "1"}, (), None),
        ({"TERM": "dumb"}, (), None),
        ({}, ("--colour", "never"), None),
        ({"NO_COLOR": "1"}, ("--colour", "always"), "48;5;"),
    ],
)
def test_a_terminal_gets_the_colours_that_it_can_show(environment, options, ground, trained, text):
    sent = on_a_terminal("view", text, "--run", trained, *options, **environment)
    assert ("\x1b[" in sent) == (ground is not None)
    assert ground is None or f";{ground}" in sent


def test_colours_in_a_pipe_on_request(charrnn, trained, text):
    assert "\x1b[" in charrnn("view", text, "--run", trained, "--colour", "always").out


def test_find_is_a_table_or_json(charrnn, trained):
    outcome = charrnn("view", trained.parent / "corpus.txt", "--run", trained, "--find")
    assert outcome.code == 0 and "just after a space" in outcome.out
    notice, hint = outcome.err.splitlines()
    assert notice == "1,350 characters: too few to trust a correlation; some 50,000 are enough"
    assert re.fullmatch(r"look at one with --unit 0\.\d+", hint)
    rows = charrnn("view", trained.parent / "corpus.txt", "--run", trained, "--find", "--json").rows
    assert all(row.keys() == {"probe", "layer", "unit", "correlation"} for row in rows)
    assert all(row["layer"] == 0 and 0 <= row["unit"] < 16 and abs(row["correlation"]) <= 1 for row in rows)
    strengths = [abs(row["correlation"]) for row in rows]
    assert strengths == sorted(strengths, reverse=True)
    best = {row["probe"]: row for row in rows}["just after a space"]
    values = charrnn("view", trained.parent / "corpus.txt", "--run", trained, "--unit", f"0.{best['unit']}", "--json")
    second = values.rows[675:]
    correlation = np.corrcoef([row["char"] == " " for row in second], [row["value"] for row in second])[0, 1]
    assert best["correlation"] == pytest.approx(correlation, rel=1e-4)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
@pytest.mark.parametrize("options", [(), ("--find",), ("--unit", "0.3"), ("--unit", "0.3", "--part", "c")])
def test_output_draws_units_against_characters(suffix, magic, options, charrnn, trained):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    outcome = charrnn("view", "--run", trained, *options, "--output", f"u{suffix}")
    assert outcome.code == 0 and outcome.err.endswith(f"wrote u{suffix}\n")
    assert Path(f"u{suffix}").read_bytes().startswith(magic)
    assert ("correlation" in outcome.out) == ("--find" in options)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--unit", "17"), 2, "--unit 17: not of the form LAYER.UNIT, as 0.17"),
        (("--unit", "1.0"), 2, "unit 1.0: not in this network (layer.unit, from 0.0 to 0.15)"),
        (("--unit", "0.16"), 2, "unit 0.16: not in this network (layer.unit, from 0.0 to 0.15)"),
        (("--unit", "0.1", "--part", "z"), 2, f"z: {NO_QUANTITY}"),
        (("--part", "h"), 2, "--part goes with --unit"),
        (("--unit", "0.1", "--find"), 2, "--unit and --find exclude each other"),
        (("--output", "u.pdf"), 2, "--output u.pdf: must end in .png or .svg"),
        (("--output", "u"), 2, "--output u: must end in .png or .svg"),
        (("--colour", "red"), 2, "--colour red: not one of always, auto, never"),
        (("nowhere.txt",), 3, "nowhere.txt: No such file or directory"),
        (("empty.txt",), 3, "empty.txt: the text is empty"),
        (("other.txt",), 3, "character 'ß' (U+00DF) at position 4 is not in the vocabulary (leave such out with "
                            "--on-unknown skip)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments, code, message, charrnn, trained):
    Path("empty.txt").write_text("")
    Path("other.txt").write_text("the ß")
    charrnn("view", *arguments, "--run", trained).fails(code, message)


def test_unknown_characters_are_left_out_on_request(charrnn, trained):
    rows = charrnn("view", "-", "--run", trained, "--on-unknown", "skip", "--json", stdin="aßb").rows
    assert [row["char"] for row in rows] == ["a", "b"]
    charrnn("view", "-", "--run", trained, "--on-unknown", "skip", stdin="ß").fails(
        3, "no character of the text is known to the model"
    )


def test_only_language_models_have_a_text_to_view(charrnn, train):
    Path("kinds.tsv").write_text("a b\tx\nc d\ty\n" * 200)
    train("kinds.tsv", "--task", "classify", "--run", "k", "--max-steps", "2")
    assert charrnn("view", "--run", "k").code == 2
    charrnn("plot", "--gradients", "k").fails(2, "k: no language model (--gradients are those of one)")


# plot --gradients


@pytest.fixture
def cells(train, corpus):
    """A run of each cell that has not been trained."""
    for cell in CELLS:
        train(corpus, "--run", cell, "--cell", cell, "--max-steps", "0")


def test_gradients_are_drawn_and_told(cells, charrnn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    outcome = charrnn("plot", "--gradients", *CELLS, "--steps", "20", "--output", "g.svg")
    assert (outcome.code, outcome.err) == (0, "wrote g.svg\n")
    assert Path("g.svg").read_bytes().startswith(b"<?xml")
    assert all(f"{cell}: {cell}" in outcome.out for cell in CELLS)
    assert all(f"k = {k}" in outcome.out for k in (2, 10, 20))


def test_gradients_in_the_terminal_are_plain_text(cells, charrnn):
    pytest.importorskip("plotext", reason="plotext is not installed")
    outcome = charrnn("plot", "--gradients", *CELLS, "--steps", "20", "--terminal")
    assert (outcome.code, outcome.err) == (0, "") and "\x1b" not in outcome.out
    assert "the state's gradient at the best weights, share of that at k = 0" in outcome.out
    assert all(f"{mark} {cell}: {cell}" in outcome.out for mark, cell in zip("*o+", CELLS, strict=True))
    assert not Path("plot.png").exists()


def test_initial_weights_are_those_that_training_began_with(train, charrnn, corpus):
    """`begun` has the weights of step 0, `trained` those of step 30, both the seed."""
    train(corpus, "--run", "begun", "--max-steps", "0", "--seed", "5")
    train(corpus, "--run", "trained", "--max-steps", "30", "--seed", "5", "--lr", "0.05")
    tables = {
        (run, checkpoint): charrnn("plot", "--gradients", run, "--checkpoint", checkpoint, "--terminal").out.split(
            "\n", 1
        )[1]
        for run in ("begun", "trained")
        for checkpoint in ("initial", "best", "last")
    }
    assert len({tables["begun", which] for which in ("initial", "best", "last")}) == 1
    numbers = {key: re.findall(r"│ ([\d.e-]+)", table)[:3] for key, table in tables.items()}
    assert numbers["trained", "initial"] == numbers["begun", "best"] != numbers["trained", "best"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--gradients",), 2, "nothing to draw: name a run, or --sweep"),
        (("--gradients", "run", "--checkpoint", "first"), 2, "--checkpoint first: not one of initial, best, last"),
        (("--gradients", "run", "--steps", "135"), 2, "--steps 135: run has too short a validation part (at most 134)"),
        (("run", "--steps", "10"), 2, "--steps and --checkpoint go with --gradients"),
        (("--gradients", "--sweep", "s"), 2, "--gradients are those of runs, not of a sweep"),
        (("--gradients", "nowhere"), 4, "nowhere: no such run (charrnn runs lists them)"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(arguments, code, message, charrnn, trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    charrnn("plot", *arguments).fails(code, message)


def test_gradients_need_the_corpus(charrnn, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.unlink()
    assert charrnn("plot", "--gradients", "r").code == 3
