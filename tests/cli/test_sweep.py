"""charrnn sweep and charrnn plot, as CLI.md and the help say; info --toml."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pty
import shlex
import signal
import statistics
import struct
import subprocess
import sys
import termios
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
pytest.importorskip("plotext", reason="the extra `plot` is not installed")

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
MODEL = ("--hidden-size", "8", "--dropout", "0", "--recurrent-dropout", "0")
TINY = (*MODEL, "--batch-size", "8", "--seq-length", "16", "--max-steps", "6", "--eval-every", "2")
GRID = ("--grid", "cell=gru,rnn", "--grid", "lr=0.01,0.02")
HOPEFUL = ("--search", "lr=log:1e-3:1e-1", "--trials", "3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep over a grid of four, its JSON and what it said."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "corpus.txt").write_text(TEXT)
    command = [sys.executable, "-m", "charrnn", "sweep", "corpus.txt", *TINY, *GRID, "--jobs", "2", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "CHARRNN_RUNS"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return folder, json.loads(ended.stdout), ended.stderr


@pytest.fixture
def in_swept(swept, monkeypatch):
    monkeypatch.chdir(swept[0])
    return swept


def weights(run):
    return {name: array.tobytes() for name, array in load_checkpoint(Path(run) / "best.safetensors").weights.items()}


def test_json_is_the_study_its_trials_and_its_winner(swept):
    _, result, _ = swept
    assert result.keys() == {"study", "trials", "best", "importances", "command"}
    assert result["study"] == "corpus"
    assert all({"number", "state", "value", "params", "run"} <= row.keys() for row in result["trials"])
    assert [row["state"] for row in result["trials"]] == ["completed"] * 4
    assert result["best"] == min(result["trials"], key=lambda row: row["value"])
    assert result["importances"] == {}  # four trials are too few to tell


def test_progress_is_one_plain_line_for_each_trial(swept):
    first, *lines = swept[2].splitlines()
    assert first == "study: runs/corpus, 4 trials, 2 at a time"
    assert sorted(line.split(":")[0] for line in lines) == [f"trial {n}" for n in range(4)]
    assert ": completed " in lines[0] and "(4 of 4, best " in lines[-1]


def test_the_winners_command_gives_the_winner_again(in_swept, charrnn):
    _, result, _ = in_swept
    words = shlex.split(result["command"])
    assert words[:3] == ["charrnn", "train", "corpus.txt"]
    charrnn(*words[1:], "--run", "again", "--quiet")
    assert weights("again") == weights(result["best"]["run"])


def test_the_trials_are_runs_for_the_other_commands(in_swept, charrnn):
    rows = charrnn("runs", "runs/corpus", "--json").json["runs"]
    assert [row["status"] for row in rows] == ["completed"] * 4
    assert charrnn("info", "runs/corpus/002").code == 0
    assert len(charrnn("sample", "--run", "runs/corpus/002", "-n", "5").out) == 6
    assert charrnn("train", "--resume", "runs/corpus/002", "--max-steps", "8", "--json", "-q").json["steps"] == 8


def test_runs_names_a_sweep_instead_of_calling_it_broken(in_swept, charrnn):
    outcome = charrnn("runs")
    assert outcome.err.splitlines()[0] == "a sweep: charrnn runs runs/corpus"
    assert "broken" not in outcome.out


def test_a_table_of_the_best_and_the_command_stand_at_the_end(in_swept, charrnn):
    outcome = charrnn("sweep", "corpus.txt", *TINY, *GRID, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert "study corpus: 4 completed" in outcome.out
    assert f"the best again: {in_swept[1]['command']}\n" in outcome.out


def test_the_options_can_stand_in_a_file(charrnn, corpus):
    Path("sweep.toml").write_text(
        'grid = ["cell=gru,rnn"]\nhidden_size = 8\nmax_steps = 2\nbatch_size = 8\nseq_length = 16\njobs = 2\n'
    )
    result = charrnn("sweep", corpus, "--config", "sweep.toml", "--json", "-q").json
    assert {row["params"]["cell"] for row in result["trials"]} == {"gru", "rnn"}
    assert json.loads(Path("runs/corpus/000/config.json").read_text())["model"]["hidden_size"] == 8


def test_a_bar_only_on_a_terminal(corpus):
    parent, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    command = [sys.executable, "-m", "charrnn", "sweep", str(corpus), *TINY, *HOPEFUL, "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # Linux: the other end is closed
        while chunk := os.read(parent, 65536):
            seen += chunk
    out = child.communicate(timeout=60)[0]
    assert child.returncode == 0
    assert len(json.loads(out)["trials"]) == 3
    assert b"100%|" in seen and b"3 of 3, best " in seen
    assert b"trial 0: completed" in seen  # the history stands above the bar


def test_an_interrupted_sweep_saves_its_trials_and_the_same_command_goes_on(process, corpus):
    words = ["sweep", str(corpus), *HOPEFUL, "--hidden-size", "8", "--max-steps", "1500", "--jobs", "2"]
    words += ["--batch-size", "8", "--seq-length", "16", "--workers", "1", "--eval-every", "50"]
    child = subprocess.Popen([sys.executable, "-m", "charrnn", *words], stderr=subprocess.PIPE, text=True)
    while not all(Path(f"runs/corpus/{n}/metrics.jsonl").exists() for n in ("000", "001")):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "interrupted and saved; go on with: " + shlex.join(["charrnn", *words])
    stopped = [json.loads(Path(f"runs/corpus/{n}/result.json").read_text()) for n in ("000", "001")]
    assert [result["status"] for result in stopped] == ["interrupted"] * 2
    result = process(*words, "--json", "-q").json
    assert sorted(row["number"] for row in result["trials"]) == [0, 1, 2]
    assert {row["state"] for row in result["trials"]} == {"completed"}
    for number in ("000", "001", "002"):
        rows = [json.loads(line) for line in Path(f"runs/corpus/{number}/metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(50, 1501, 50))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "no corpus to train on (charrnn sweep FILE --search NAME=...)"),
        (("missing.txt", "--grid", "lr=1"), 3, "missing.txt: No such file or directory"),
        (("-", "--grid", "lr=1"), 3, "standard input can be read only once, by one trial (name a file)"),
        (("corpus.txt", "--grid", "lr=1", "--trials", "2"), 2, "--trials 2: more than there are points to try, 1"),
        (("corpus.txt", "--grid", "lr=1", "--study", "a/b"), 2, "--study a/b: must be a name for a directory"),
        (("corpus.txt", "--grid", "lr=1", "--study", ".."), 2, "--study ..: must be a name for a directory"),
        (("corpus.txt", "--grid", "lr=1", "--study", ""), 2, "--study : must be a name for a directory"),
        (("corpus.txt", "--grid", "batch-size=1,9999"), 2, None),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(arguments, code, message, charrnn, corpus):
    outcome = charrnn("sweep", *arguments)
    if message is None:
        assert (outcome.code, outcome.err.count("\n")) == (code, 1)
    else:
        outcome.fails(code, message)
    assert not Path("runs").exists()


def test_a_sweep_of_which_every_trial_diverges_says_so(charrnn, corpus):
    diverging = ("--grid", "lr=1e38", "--optimizer", "sgd", "--clip-norm", "0", "--warmup-steps", "0")
    outcome = charrnn("sweep", corpus, *TINY, *diverging, "-q")
    assert outcome.code == 5
    assert outcome.err == "charrnn: error: every trial diverged (try lower learning rates)\n"


@pytest.mark.parametrize(
    ("library", "extra", "command"),
    [
        ("optuna", "sweep", ("sweep", "corpus.txt", "--grid", "lr=1")),
        ("matplotlib", "plot", ("plot", "runs/corpus/000")),
        ("plotext", "plot", ("plot", "runs/corpus/000", "--terminal")),
        ("onnx", "onnx", ("export", "--run", "runs/corpus/000", "model.onnx")),
    ],
)
def test_without_the_extra_the_error_names_it(library, extra, command, in_swept):
    program = f"""
import sys
from charrnn.cli.app import main
class Nowhere:
    def find_spec(name, *_):
        if name.split(".")[0] == {library!r}:
            raise ModuleNotFoundError(name={library!r})
sys.meta_path.insert(0, Nowhere)
main({list(command)!r})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    how = f"{sys.executable} -m pip install {library}"
    assert ended.stderr == f"charrnn: error: {library}, of the extra {extra}, is not installed ({how})\n"


# plot


@pytest.mark.parametrize("x", ["chars", "steps", "seconds"])
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml")])
def test_plot_writes_a_picture(x, suffix, magic, in_swept, charrnn, tmp_path):
    path = tmp_path / f"curves{suffix}"
    outcome = charrnn("plot", "runs/corpus/000", "runs/corpus/001", "--x", x, "--output", path)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"wrote {path}\n")
    assert path.read_bytes().startswith(magic)


def test_a_curve_is_named_by_its_run_and_what_sets_it_apart(in_swept):
    from charrnn.plots.curves import read_curves

    picture = read_curves([Run(Path(f"runs/corpus/00{n}")) for n in (0, 1, 3)], "steps")
    assert {curve.label for curve in picture.curves} == {
        "000: gru, lr 0.01",
        "001: gru, lr 0.02",
        "003: rnn, lr 0.02",
    }
    best = picture.curves[0]
    assert picture.title == f"corpus.txt: best validation loss {best.best:.4f} ({best.label})"
    assert picture.loss == "nats per character"
    assert [curve.best for curve in picture.curves] == sorted(curve.best for curve in picture.curves)
    (first,) = [curve for curve in picture.curves if curve.label.startswith("000")]
    rows = [json.loads(line) for line in Path("runs/corpus/000/metrics.jsonl").read_text().splitlines()]
    assert first.x == [row["step"] for row in rows]
    assert first.val == [row["val_loss"] for row in rows]
    assert first.train == [row["train_loss"] for row in rows]
    assert read_curves([Run(Path("runs/corpus/000"))], "steps").curves[0].label == "000"
    rates = read_curves([Run(Path(f"runs/corpus/00{n}")) for n in (0, 1)], "steps").curves
    assert {curve.label for curve in rates} == {"000: lr 0.01", "001: lr 0.02"}


def test_the_axis_begins_after_the_first_evaluations():
    from charrnn.plots.curves import Curve, Picture

    curve = Curve("a", [1, 2, 3, 4, 5], [9, 8, 7, 6, 5], [50.0, 9.0, 3.0, 2.0, 1.0])
    low, high = Picture([curve], "", "", "").limits
    assert 0.5 < low < 1 and 3 < high < 4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_labels_are_spread_without_meeting(places):
    from charrnn.plots.curves import spread

    moved = spread(places, 0.05, 0.0, 1.0)
    ordered = sorted(moved)
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[-1] <= 1 + 1e-9
    assert [m for _, m in sorted(zip(places, moved, strict=True), key=lambda pair: pair)] == ordered


def test_curves_in_the_terminal_are_plain_text_with_names(in_swept, charrnn):
    outcome = charrnn("plot", "runs/corpus/000", "runs/corpus/003", "--terminal", "--x", "steps")
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    lines = outcome.out.splitlines()
    assert lines[0].startswith("corpus.txt: best validation loss ")
    assert {line.rpartition("│ ")[2] for line in lines if "│ " in line and "00" in line} == {"━ 003: rnn", "* 000: gru"}
    assert lines[-1] == "steps" and "e0" not in outcome.out
    assert not Path("plot.png").exists()


def test_a_sweep_in_the_terminal_shows_the_median_of_each_value(in_swept, charrnn):
    outcome = charrnn("plot", "--sweep", "runs/corpus", "--terminal")
    assert (outcome.code, outcome.err) == (0, "")
    _, result, _ = in_swept
    for cell in ("gru", "rnn"):
        median = statistics.median(row["value"] for row in result["trials"] if row["params"]["cell"] == cell)
        (line,) = [line for line in outcome.out.splitlines() if line.startswith(f"  {cell} ")]
        assert line.split()[1] == f"{median:.4f}" and line.endswith("(2 trials)")


@pytest.mark.parametrize("place", ["runs/corpus", "runs/corpus/study.journal"])
def test_plot_draws_a_sweep(place, in_swept, charrnn, tmp_path):
    outcome = charrnn("plot", "--sweep", place, "--output", tmp_path / "sweep.svg")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "sweep.svg").read_bytes().count(b"<g id=") > 50


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing to draw: name a run, or --sweep"),
        (("runs/nothing",), 4, "runs/nothing: no such run (charrnn runs lists them)"),
        (("runs/corpus/000", "--x", "hours"), 2, "--x hours: not one of chars, steps, seconds"),
        (("runs/corpus/000", "--output", "a.gif"), 2, "--output a.gif: must end in .png or .svg"),
        (("runs/corpus/000", "--sweep", "runs/corpus"), 2, "--sweep and runs exclude each other"),
        (("runs/corpus/000", "--study", "corpus"), 2, "--study goes with --sweep"),
        (("--sweep", "runs/corpus", "--study", "x"), 4, "no such study is kept there: x (corpus)"),
        (
            ("--sweep", "nowhere"),
            4,
            "nowhere: no such study (name its folder, its journal file or the URL of its storage)",
        ),
        (
            ("runs/corpus/000", "--output", "nowhere/a.png"),
            6,
            "cannot write nowhere/a.png: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_line(arguments, code, message, in_swept, charrnn):
    charrnn("plot", *arguments).fails(code, message)


def test_a_run_without_validation_or_without_an_evaluation(train, charrnn, corpus):
    train(corpus, "--run", "blind", "--max-steps", "4", "--val-fraction", "0")
    assert charrnn("plot", "blind").code == 0
    assert charrnn("plot", "blind", "--terminal").code == 0
    Path("blind/metrics.jsonl").unlink()
    charrnn("plot", "blind").fails(4, "nothing to plot: no evaluation yet")
    Path("blind/metrics.jsonl").write_text('{"step": 1}\n')
    assert charrnn("plot", "blind").code == 4


# info --toml


def test_a_runs_toml_trains_it_again_to_the_same_weights(train, charrnn, corpus):
    train(corpus, "--run", "first", "--max-steps", "12", "--cell", "gru", "--dropout", "0.25", "--seed", "7", "--lines")
    text = charrnn("info", "first", "--toml").out
    Path("again.toml").write_text(text)
    assert text.splitlines()[:2] == ["# charrnn train --config FILE.toml", f'corpus = ["{corpus.resolve()}"]']
    assert charrnn("train", "--config", "again.toml", "--run", "second", "-q").code == 0
    assert weights("second") == weights("first")
    assert json.loads(Path("second/config.json").read_text()) == json.loads(Path("first/config.json").read_text())


def test_toml_goes_with_runs_and_not_with_json(charrnn, trained):
    charrnn("info", trained, "--toml", "--json").fails(2, "--json and --toml exclude each other")
    path = trained / "best.safetensors"
    charrnn("info", path, "--toml").fails(
        4, f"{path}: a file, and no run (its run is {path.parent}; --model takes a checkpoint)"
    )


numbers = st.floats(0, 1e300) | st.floats(0, 1e-300)


@given(
    seed=st.integers(0, 2**63 - 1),
    learning_rate=numbers,
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lines=st.booleans(),
    as_bytes=st.booleans(),
    minutes=st.none() | st.floats(0, 1e7),
)
def test_toml_says_the_same_as_the_configuration(seed, learning_rate, name, lines, as_bytes, minutes):
    from charrnn.cli.info import to_toml

    text = DataOptions(lines=lines, bytes=as_bytes, val_file=f"/{name}" if len(name) % 2 else None)
    train = TrainingOptions(seed=seed, learning_rate=learning_rate, max_minutes=minutes)
    config = RunConfig(("/a",), ModelOptions(), text, train)
    options = tomllib.loads(to_toml(config))
    assert options == {"corpus": ["/a"], **config.to_options()}
    assert RunConfig.from_options(("/a",), options).train == train


def test_a_run_knows_the_checkpoint_that_it_began_with(train, charrnn, corpus):
    train(corpus, "--run", "first", "--max-steps", "4")
    words = (
        "--init-from",
        "first",
        "--max-steps",
        "4",
        "--batch-size",
        "8",
        "--seq-length",
        "16",
        "--workers",
        "1",
        "-q",
    )
    assert charrnn("train", corpus, *words, "--run", "second").code == 0
    file = Path("first/best.safetensors").resolve()
    origin = {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert json.loads(Path("second/config.json").read_text())["init_from"] == origin
    assert origin["sha256"][:12] in charrnn("info", "second").out
    Path("again.toml").write_text(charrnn("info", "second", "--toml").out)
    assert (
        charrnn("train", "--config", "again.toml", "--run", "third", "-q").code == 0
    )  # corpus and start are in the file
    assert weights("third") == weights("second")
