"""charrnn plot: the losses of runs, and --gradients."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from charrnn.plots.curves import read_curves
from charrnn.plots.figures import draw_sweep, save_figure
from charrnn.runs.directory import Run

from .conftest import TEXT, command, error_cases

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
pytest.importorskip("plotext", reason="the extra `plot` is not installed")

SMALL = ("--hidden-size", "8", "--batch-size", "8", "--seq-length", "16", "--max-steps", "6", "--eval-every", "2")
RUNS = {"a": ("gru", "0.01"), "b": ("gru", "0.02"), "c": ("rnn", "0.02")}
CELLS = ("lstm", "gru", "rnn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three runs, which differ in their cell or their learning rate."""
    folder = tmp_path_factory.mktemp("plot")
    (folder / "corpus.txt").write_text(TEXT)
    for name, (cell, rate) in RUNS.items():
        options = ["--cell", cell, "--lr", rate, "--dropout", "0", "--recurrent-dropout", "0", "--workers", "1"]
        words = ["train", "corpus.txt", "--run", name, *SMALL, *options, "--quiet"]
        subprocess.run(command(*words), cwd=folder, check=True, timeout=60)
    return folder


@pytest.fixture
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("x", ["steps", "characters", "seconds", "epochs"])
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml")])
def test_plot_writes_a_figure(x, suffix, magic, in_folder, charrnn, tmp_path):
    path = tmp_path / f"curves{suffix}"
    outcome = charrnn("plot", "a", "b", "--x", x, "--output", path)
    assert (outcome.code, outcome.out) == (0, "")
    assert str(path) in outcome.err
    assert path.read_bytes().startswith(magic)


def test_a_curve_has_the_losses_of_its_run(in_folder):
    figure = read_curves([Run(Path(name)) for name in RUNS], "steps")
    assert [curve.best for curve in figure.curves] == sorted(curve.best for curve in figure.curves)
    best = figure.curves[0]
    assert figure.title == f"corpus.txt: best validation loss {best.best:.4f} ({best.label})"
    (first,) = [curve for curve in figure.curves if curve.label.startswith("a")]
    rows = [json.loads(line) for line in Path("a/metrics.jsonl").read_text().splitlines()]
    assert first.x == [row["step"] for row in rows]
    assert first.val == [row["val_loss"] for row in rows]
    assert first.train == [row["train_loss"] for row in rows]


def test_curves_in_the_terminal_are_plain_text_with_labels(in_folder, charrnn):
    outcome = charrnn("plot", "a", "c", "--terminal", "--x", "steps")
    assert (outcome.code, outcome.err) == (0, "")
    assert "\x1b" not in outcome.out
    lines = outcome.out.splitlines()
    assert lines[0].startswith("corpus.txt: best validation loss ")
    labels = [line.rpartition("│ ")[2] for line in lines if line.endswith((": gru", ": rnn"))]
    assert {label[2:] for label in labels} == {"a: gru", "c: rnn"}
    assert len({label[0] for label in labels}) == 2
    assert "steps" in lines
    assert not Path("plot.png").exists()


def test_a_run_without_validation_data_is_drawn(train, charrnn, corpus):
    train(corpus, "--run", "blind", "--max-steps", "4", "--val-fraction", "0")
    assert charrnn("plot", "blind").code == 0
    assert charrnn("plot", "blind", "--terminal").code == 0


def test_a_run_without_evaluations_cannot_be_drawn(train, charrnn, corpus):
    train(corpus, "--run", "run", "--max-steps", "4")
    Path("run/metrics.jsonl").unlink()
    charrnn("plot", "run").fails(4, "no evaluation")
    Path("run/metrics.jsonl").write_text('{"step": 1}\n')
    charrnn("plot", "run").fails(4, "run/metrics.jsonl", "damaged")


ODD_NAMES = (r"$\frac$", "_run", "$a_b$", r"a\$b", "100%", "猫")


def test_names_are_drawn_as_they_are_and_nothing_else_is_written(in_folder, charrnn, tmp_path, monkeypatch):
    """Matplotlib reads text between dollar signs as mathematics, and hides labels that start with an underscore."""
    for name in ODD_NAMES:
        shutil.copytree("a", tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        corpus = tmp_path / f"{name}.txt"
        corpus.write_text(TEXT)
        config["corpus"] = [str(corpus)]
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    for options in (["--output", "a.svg"], ["--gradients", "--steps", "3", "--output", "b.svg"]):
        outcome = charrnn("plot", *ODD_NAMES, *options)
        assert (outcome.code, outcome.err) == (0, f"saved {options[-1]}\n")
    texts = [re.findall(r"<!-- (.*?) -->", Path(name).read_text()) for name in ("a.svg", "b.svg")]
    for name in ODD_NAMES:
        assert all(any(text.startswith(name) for text in of_figure) for of_figure in texts)


def test_values_of_a_sweep_are_drawn_as_they_are(charrnn):
    trials = [{"state": "completed", "value": 1.0, "params": {"target": name}} for name in ODD_NAMES]
    figure = draw_sweep(trials, "$x$", ())
    save_figure(figure, Path("sweep.svg"))
    texts = re.findall(r"<!-- (.*?) -->", Path("sweep.svg").read_text())
    assert set(texts) >= {*ODD_NAMES, "$x$"}


def test_matplotlib_writes_nothing_to_stderr(folder, process):
    outcome = process("plot", "a", "--output", "odd.png", cwd=folder, env=os.environ | {"MPLCONFIGDIR": "/proc/none"})
    assert (outcome.code, outcome.err) == (0, "saved odd.png\n")


def test_a_terminal_of_five_lines_gets_a_figure(in_folder, charrnn, monkeypatch):
    monkeypatch.setenv("LINES", "5")
    for arguments in (["a"], ["a", "b"], ["--gradients", "a", "--steps", "3"]):
        outcome = charrnn("plot", *arguments, "--terminal")
        assert (outcome.code, outcome.err) == (0, "")
        assert len(outcome.out.splitlines()) >= 8


def test_losses_that_are_cut_off_are_marked_and_shown_with_full(in_folder, charrnn):
    Path("steep").mkdir()
    shutil.copy("a/config.json", "steep")
    rows = [json.loads(line) for line in Path("a/metrics.jsonl").read_text().splitlines()]
    rows = [rows[0] | {"step": n, "chars": n, "val_loss": loss} for n, loss in enumerate((90, 2, 1, 0.9, 0.8), 1)]
    Path("steep/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut_off = charrnn("plot", "steep", "--terminal").out
    assert "▲" in cut_off.partition("losses above")[0] and "are cut off" in cut_off and "--full" in cut_off
    full = charrnn("plot", "steep", "--terminal", "--full").out
    assert "▲" not in full and "cut off" not in full and "94.5" in full
    for option in ([], ["--full"]):
        assert charrnn("plot", "steep", "--output", "steep.svg", *option).code == 0
        assert ("are cut off" in Path("steep.svg").read_text()) == (not option)


# --gradients


@pytest.fixture
def cell_runs(train, corpus):
    """A run of each cell that has not been trained."""
    for cell in CELLS:
        train(corpus, "--run", cell, "--cell", cell, "--max-steps", "0")


def test_gradients_are_drawn_and_printed(cell_runs, charrnn):
    outcome = charrnn("plot", "--gradients", *CELLS, "--steps", "20", "--output", "g.svg")
    assert (outcome.code, outcome.err) == (0, "saved g.svg\n")
    assert Path("g.svg").read_bytes().startswith(b"<?xml")
    assert all(f"{cell}: {cell}" in outcome.out for cell in CELLS)
    assert all(f"k = {k}" in outcome.out for k in (2, 10, 20))


def test_gradients_in_the_terminal_are_plain_text(cell_runs, charrnn):
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
    ("", 2, "nothing to draw", "--sweep"),
    ("nothing", 4, "nothing: no such run"),
    ("run --output nowhere/a.png", 6, "nowhere/a.png: No such file or directory"),
    ("--gradients", 2, "nothing to draw", "--sweep"),
    ("run --sweep s", 2, "--sweep", "runs"),
    ("run --study s", 2, "--study", "--sweep"),
    ("run --x chars", 2, "--x chars", "steps, characters, seconds, epochs"),
    ("run --output p.pdf", 2, "--output p.pdf", ".png or .svg"),
    ("--gradients run --checkpoint first", 2, "--checkpoint first", "initial, best, last"),
    ("--gradients run --steps 135", 2, "--steps 135", "at most 134"),
    ("run --steps 10", 2, "--steps", "--gradients"),
    ("--gradients --sweep s", 2, "--gradients", "--sweep"),
    ("--gradients nowhere", 4, "nowhere: no such run"),
)
def test_a_mistake_is_named(charrnn, trained, monkeypatch, arguments, code, facts):
    monkeypatch.chdir(trained.parent)
    charrnn("plot", *arguments).fails(code, *facts)


def test_gradients_of_short_records_are_drawn_as_far_as_they_reach(charrnn, task_directory):
    outcome = charrnn("plot", "--gradients", task_directory / "runs/classify", "--terminal")
    assert outcome.code == 0
    longest = max(int(k) for k in re.findall(r"k = (\d+)", outcome.out))
    too_many = charrnn("plot", "--gradients", task_directory / "runs/classify", "--steps", longest + 1)
    too_many.fails(2, f"--steps {longest + 1}", f"at most {longest}")


def test_gradients_need_the_corpus_and_validation_data(charrnn, train, corpus):
    train(corpus, "--run", "all", "--max-steps", "2", "--val-fraction", "0")
    charrnn("plot", "--gradients", "all").fails(2, "all", "no validation data")
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.unlink()
    charrnn("plot", "--gradients", "r").fails(3, "corpus.txt", "No such file")
