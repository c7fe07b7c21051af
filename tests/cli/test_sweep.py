"""charrnn sweep, and charrnn plot --sweep."""

import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.runs.checkpoint import load_checkpoint

from .conftest import TEXT, command, error_cases, on_terminal

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

BATCH = ("--batch-size", "8", "--seq-length", "16")
SMALL = ("--hidden-size", "8", "--dropout", "0", "--recurrent-dropout", "0", *BATCH)
SMALL += ("--max-steps", "6", "--eval-every", "2")
GRID = ("--grid", "cell=gru,rnn", "--grid", "lr=0.01,0.02")
SEARCH = ("--search", "lr=log:1e-3:1e-1", "--trials", "3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep over a grid of four points, its JSON and its progress lines."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "corpus.txt").write_text(TEXT)
    words = command("sweep", "corpus.txt", *SMALL, *GRID, "--jobs", "2", "--json")
    environment = {name: value for name, value in os.environ.items() if name != "CHARRNN_RUNS"}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return folder, json.loads(ended.stdout), ended.stderr


@pytest.fixture
def in_swept(swept, monkeypatch):
    """The same, in the folder of the sweep."""
    monkeypatch.chdir(swept[0])
    return swept


def parameters_of(run):
    return load_checkpoint(Path(run) / "best.safetensors").parameters.tobytes()


# the result


def test_json_has_the_trials_and_the_best_one(swept):
    _, result, _ = swept
    assert result.keys() == {"study", "trials", "best", "importances", "command"}
    assert result["study"] == "corpus"
    assert all({"number", "state", "value", "params", "run"} <= row.keys() for row in result["trials"])
    assert [row["state"] for row in result["trials"]] == ["completed"] * 4
    assert result["best"] == min(result["trials"], key=lambda row: row["value"])
    assert result["importances"] == {}  # four trials are too few


def test_each_trial_has_a_line_of_progress(swept):
    first, *lines = swept[2].splitlines()
    assert "runs/corpus" in first
    assert "4 trials" in first
    assert sorted(line.split(":")[0] for line in lines) == [f"trial {n}" for n in range(4)]
    assert ": completed " in lines[0]
    assert "(4 of 4, best " in lines[-1]


def test_the_command_of_the_best_trial_trains_the_same_model(in_swept, charrnn):
    _, result, _ = in_swept
    words = shlex.split(result["command"])
    assert words[:3] == ["charrnn", "train", "corpus.txt"]
    charrnn(*words[1:], "--run", "again", "--quiet")
    assert parameters_of("again") == parameters_of(result["best"]["run"])


def test_the_table_shows_the_best_trials_and_the_command(in_swept, charrnn):
    outcome = charrnn("sweep", "corpus.txt", *SMALL, *GRID, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert "study corpus: 4 completed" in outcome.out
    assert in_swept[1]["command"] in outcome.out
    positions = [outcome.out.index(row["run"]) for row in in_swept[1]["trials"]]
    assert positions == sorted(positions)


def test_the_importances_of_nine_trials_are_printed(charrnn, corpus):
    grid = ("--grid", "cell=gru,rnn,lstm", "--grid", "lr=0.0001,0.01,0.1")
    outcome = charrnn("sweep", corpus, *SMALL, *grid, "--jobs", "2", "--warmup-steps", "0", "-q")
    assert outcome.code == 0
    (line,) = [line for line in outcome.out.splitlines() if "explains" in line]
    assert "cell " in line
    assert "learning rate " in line


def test_trials_are_ordinary_runs_for_other_commands(in_swept, charrnn):
    rows = charrnn("runs", "runs/corpus", "--json").json["runs"]
    assert [row["status"] for row in rows] == ["completed"] * 4
    assert charrnn("info", "runs/corpus/002").code == 0
    assert len(charrnn("sample", "--run", "runs/corpus/002", "-n", "5").out) == 6
    assert charrnn("train", "--resume", "runs/corpus/002", "--max-steps", "8", "--json", "-q").json["steps"] == 8


def test_runs_lists_a_sweep_by_its_folder(in_swept, charrnn):
    outcome = charrnn("runs")
    assert "charrnn runs runs/corpus" in outcome.err.splitlines()[0]
    assert "broken" not in outcome.out


# options


def test_options_can_be_in_a_toml_file(charrnn, corpus):
    Path("sweep.toml").write_text(
        'grid = ["cell=gru,rnn"]\nhidden_size = 8\nmax_steps = 2\nbatch_size = 8\nseq_length = 16\njobs = 2\n'
    )
    result = charrnn("sweep", corpus, "--config", "sweep.toml", "--json", "-q").json
    assert {row["params"]["cell"] for row in result["trials"]} == {"gru", "rnn"}
    assert json.loads(Path("runs/corpus/000/config.json").read_text())["model"]["hidden_size"] == 8


@pytest.mark.parametrize("delay", [(), ("--delay", "3")])
def test_a_tagger_can_be_swept(delay, charrnn):
    lines = [f"{a}{b}an\tCVVC\n" for a in "bcdfgklmnprst" for b in "aeiou"]
    Path("tags.tsv").write_text("".join(lines))
    result = charrnn(
        *("sweep", "tags.tsv", "--task", "tag", *delay, "--grid", "hidden-size=4,8", "--max-steps", "4"),
        *("--workers", "1", "--json", "-q"),
    ).json
    assert [row["state"] for row in result["trials"]] == ["completed", "completed"]


def test_the_target_of_a_series_can_be_varied_and_the_command_trains_it_again(charrnn):
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400))
    Path("series.csv").write_text("wind,demand,price\n" + rows)
    small = ("--hidden-size", "4", "--max-steps", "4", "--workers", "1")
    arguments = ("sweep", "series.csv", "--task", "series", "--grid", "target=demand,price", *small, "--json", "-q")
    result = charrnn(*arguments).json
    assert {row["params"]["target"] for row in result["trials"]} == {"demand", "price"}
    charrnn(*shlex.split(result["command"])[1:], "--run", "again", "--quiet")
    config = json.loads(Path("again/config.json").read_text())
    assert config["data"]["target"] == [result["best"]["params"]["target"]]
    assert parameters_of("again") == parameters_of(result["best"]["run"])


def test_a_target_that_all_trials_share_is_in_the_command(charrnn):
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400))
    Path("series.csv").write_text("wind,demand,price\n" + rows)
    targets = ("--target", "demand", "--target", "price")
    small = ("--hidden-size", "4", "--max-steps", "2", "--workers", "1")
    result = charrnn(
        "sweep", "series.csv", "--task", "series", *targets, "--grid", "lr=0.01", *small, "--json", "-q"
    ).json
    assert " --target demand --target price" in result["command"]


# the terminal, and interrupting


def test_a_terminal_shows_a_progress_bar(corpus):
    shown, out = on_terminal("sweep", corpus, *SMALL, *SEARCH, "--json", columns=100, stream="stderr")
    assert len(json.loads(out)["trials"]) == 3
    assert "100%|" in shown
    assert "3 of 3, best " in shown
    assert "trial 0: completed" in shown


def test_an_interrupted_sweep_saves_its_trials_and_the_same_command_continues_it(process, corpus):
    words = ["sweep", str(corpus), *SEARCH, "--hidden-size", "8", "--max-steps", "500", "--jobs", "2"]
    words += [*BATCH, "--workers", "1", "--eval-every", "50"]
    child = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True)
    while not all(Path(f"runs/corpus/{number}/metrics.jsonl").exists() for number in ("000", "001")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert errors.splitlines()[-1].endswith(": " + shlex.join(["charrnn", *words]))
    stopped = [json.loads(Path(f"runs/corpus/{number}/result.json").read_text()) for number in ("000", "001")]
    assert [result["status"] for result in stopped] == ["interrupted"] * 2
    result = process(*words, "--json", "-q").json
    assert sorted(row["number"] for row in result["trials"]) == [0, 1, 2]
    assert {row["state"] for row in result["trials"]} == {"completed"}
    for number in ("000", "001", "002"):
        rows = [json.loads(line) for line in Path(f"runs/corpus/{number}/metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(50, 501, 50))


# errors


@error_cases(
    ("", 2, "no corpus", "charrnn sweep FILE"),
    ("missing.txt --grid lr=1", 3, "missing.txt: No such file"),
    ("- --grid lr=1", 3, "standard input", "name a file"),
    ("corpus.txt", 2, "--grid or --search"),
    ("corpus.txt --grid lr=1 --search cell=choice:gru", 2, "--grid and --search"),
    ("corpus.txt --grid lr=1 --trials 2", 2, "--trials 2", "at most 1"),
    ("corpus.txt --grid lr=1 --study a/b", 2, "--study a/b"),
    ("corpus.txt --grid lr=1 --study ..", 2, "--study .."),
    ("corpus.txt --grid lr=1 --study ''", 2, "--study "),
    ("corpus.txt --grid batch-size=1,9999", 2, "9999"),
    ("corpus.txt --grid target=a,b", 2, "--target", "series"),
    ("corpus.txt --grid lr=1 --val-fraction 0", 2, "validation", "--val-fraction"),
)
def test_a_mistake_is_named_and_creates_nothing(arguments, code, facts, charrnn, corpus):
    charrnn("sweep", *arguments).fails(code, *facts)
    assert not Path("runs").exists()


def test_a_sweep_whose_trials_all_diverge_fails(charrnn, corpus):
    diverging = ("--grid", "lr=1e38", "--optimizer", "sgd", "--clip-norm", "0", "--warmup-steps", "0")
    charrnn("sweep", corpus, *SMALL, *diverging, "-q").fails(5, "diverged", "learning rates")


@pytest.mark.parametrize(
    ("library", "extra", "words"),
    [
        ("optuna", "sweep", ("sweep", "corpus.txt", "--grid", "lr=1")),
        ("matplotlib", "plot", ("plot", "runs/corpus/000")),
        ("plotext", "plot", ("plot", "runs/corpus/000", "--terminal")),
        ("onnx", "onnx", ("export", "--run", "runs/corpus/000", "model.onnx")),
    ],
)
def test_a_missing_library_is_named_with_its_extra(library, extra, words, in_swept):
    program = f"""
import sys
import time
from charrnn.cli.app import main
class MissingLibrary:
    def find_spec(name, *_):
        if name.split(".")[0] == {library!r}:
            raise ModuleNotFoundError(name={library!r})
sys.meta_path.insert(0, MissingLibrary)
main({list(words)!r})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    for fact in (library, f"extra {extra}", f"{sys.executable} -m pip install {library}"):
        assert fact in ended.stderr


# charrnn plot --sweep


@pytest.mark.parametrize("place", ["runs/corpus", "runs/corpus/study.journal"])
def test_plot_draws_a_sweep(place, in_swept, charrnn, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    outcome = charrnn("plot", "--sweep", place, "--output", tmp_path / "sweep.svg")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "sweep.svg").read_bytes().count(b"<g id=") > 50


def test_plot_prints_the_median_loss_of_each_value_of_a_sweep(in_swept, charrnn):
    pytest.importorskip("plotext", reason="the extra `plot` is not installed")
    outcome = charrnn("plot", "--sweep", "runs/corpus", "--terminal")
    assert (outcome.code, outcome.err) == (0, "")
    _, result, _ = in_swept
    for cell in ("gru", "rnn"):
        median = statistics.median(row["value"] for row in result["trials"] if row["params"]["cell"] == cell)
        (line,) = [line for line in outcome.out.splitlines() if line.startswith(f"  {cell} ")]
        assert line.split()[1] == f"{median:.4f}"
        assert line.endswith("(2 trials)")


@error_cases(
    ("runs/corpus/000 --sweep runs/corpus", 2, "--sweep"),
    ("runs/corpus/000 --study corpus", 2, "--study", "--sweep"),
    ("--sweep runs/corpus --study x", 4, "runs/corpus/study.journal", "--study", "(corpus)"),
    ("--sweep nowhere", 4, "nowhere: no such study"),
)
def test_a_sweep_that_cannot_be_drawn_is_named(arguments, code, facts, in_swept, charrnn):
    charrnn("plot", *arguments).fails(code, *facts)
