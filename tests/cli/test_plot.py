"""charrnn plot --gradients."""

import re
from pathlib import Path

import pytest

from .conftest import error_cases

CELLS = ("lstm", "gru", "rnn")


@pytest.fixture
def cell_runs(train, corpus):
    """A run of each cell that has not been trained."""
    for cell in CELLS:
        train(corpus, "--run", cell, "--cell", cell, "--max-steps", "0")


def test_gradients_are_drawn_and_printed(cell_runs, charrnn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    outcome = charrnn("plot", "--gradients", *CELLS, "--steps", "20", "--output", "g.svg")
    assert (outcome.code, outcome.err) == (0, "saved g.svg\n")
    assert Path("g.svg").read_bytes().startswith(b"<?xml")
    assert all(f"{cell}: {cell}" in outcome.out for cell in CELLS)
    assert all(f"k = {k}" in outcome.out for k in (2, 10, 20))


def test_gradients_in_the_terminal_are_plain_text(cell_runs, charrnn):
    pytest.importorskip("plotext", reason="plotext is not installed")
    outcome = charrnn("plot", "--gradients", *CELLS, "--steps", "20", "--terminal")
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    assert "best weights" in outcome.out and "k = 0" in outcome.out
    assert all(f"{mark} {cell}: {cell}" in outcome.out for mark, cell in zip("*o+", CELLS, strict=True))
    assert not Path("plot.png").exists() and not Path("gradients.png").exists()


def test_the_initial_weights_are_those_that_the_training_started_from(train, charrnn, corpus):
    train(corpus, "--run", "untrained", "--max-steps", "0", "--seed", "5")
    train(corpus, "--run", "trained", "--max-steps", "30", "--seed", "5", "--lr", "0.05")

    def medians(run, checkpoint):
        table = charrnn("plot", "--gradients", run, "--checkpoint", checkpoint, "--terminal").out
        return re.findall(r"│ ([\d.e-]+)", table.partition("\n")[2])[:3]

    initial = medians("untrained", "initial")
    assert initial == medians("untrained", "best") == medians("untrained", "last")
    assert medians("trained", "initial") == initial != medians("trained", "best")


@error_cases(
    ("--gradients", 2, "nothing to draw", "--sweep"),
    ("run --sweep s", 2, "--sweep", "runs"),
    ("run --study s", 2, "--study", "--sweep"),
    ("run --x epochs", 2, "--x epochs", "chars, steps, seconds"),
    ("run --output p.pdf", 2, "--output p.pdf", ".png or .svg"),
    ("--gradients run --checkpoint first", 2, "--checkpoint first", "initial, best, last"),
    ("--gradients run --steps 135", 2, "--steps 135", "at most 134"),
    ("run --steps 10", 2, "--steps", "--gradients"),
    ("--gradients --sweep s", 2, "--gradients", "--sweep"),
    ("--gradients nowhere", 4, "nowhere: no such run"),
)
def test_a_mistake_is_named(charrnn, trained, monkeypatch, arguments, code, facts):
    pytest.importorskip("plotext", reason="plotext is not installed")
    monkeypatch.chdir(trained.parent)
    charrnn("plot", *arguments).fails(code, *facts)


def test_gradients_need_a_language_model_and_its_corpus(charrnn, train, task_directory, corpus):
    charrnn("plot", "--gradients", task_directory / "runs/classify").fails(2, "runs/classify", "language model")
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.unlink()
    charrnn("plot", "--gradients", "r").fails(3, "corpus.txt", "No such file")
