"""SIGKILL at any moment: the run resumes, and ends as if nothing had happened, to the bit."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import OFTEN, SMALL, arguments, kill_after, no_workers_left, outcome, start, workers_running

LONG = 600  # steps: a second or two
DATA = Path(__file__).parents[2] / "data"
CASES = [("rnn", 1), ("lstm", 1), ("gru", 1), ("rnn", 2), ("lstm", 2), ("gru", 2)]


def survive(run, corpus, cell, workers, kills, rng):
    """Kills the run `kills` times, each time a little later in its life, then lets it finish. How often it was hit."""
    command, hits, quickest = arguments(run, corpus, cell, workers, LONG), 0, 0.2
    for _ in range(kills):
        hits += kill_after(command, quickest + rng.random() * 0.8)
        if (run / "config.json").exists():
            command = ["train", "--resume", str(run), "--quiet"]
        elif run.exists():
            assert {p.name for p in run.iterdir()} <= {"last.safetensors", ".last.safetensors.tmp", ".config.json.tmp"}
    subprocess.run([sys.executable, "-m", "charrnn", *command], check=True)
    return hits


@pytest.mark.parametrize(
    ("cell", "workers"),
    [pytest.param(*case, marks=[] if case in (("lstm", 2), ("gru", 1)) else pytest.mark.slow) for case in CASES],
)
def test_a_killed_run_resumes_to_the_same_bytes(cell, workers, corpus, finished, tmp_path):
    hits = survive(tmp_path / "run", corpus, cell, workers, 3, random.Random(f"{cell}{workers}"))
    assert hits >= 1
    assert outcome(tmp_path / "run") == finished(cell, workers, LONG)
    assert no_workers_left()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["kinds.tsv", "--task", "classify"], id="classify", marks=pytest.mark.slow),
        pytest.param(["syllables.tsv", "--task", "tag"], id="tag", marks=pytest.mark.slow),
        pytest.param(["dates.tsv", "--task", "translate"], id="translate"),
        pytest.param(["season.csv", "--task", "series"], id="series", marks=pytest.mark.slow),
        pytest.param(["shapes.txt", "--features", str(DATA / "shapes.csv")], id="captions"),
    ],
)
def test_a_killed_run_of_any_task_resumes_to_the_same_bytes(words, tmp_path):
    options = ["--max-steps", "150", "--workers", "2", *SMALL, *OFTEN]
    command = ["train", str(DATA / words[0]), *words[1:], *options, "--run"]
    subprocess.run([sys.executable, "-m", "charrnn", *command, str(tmp_path / "whole")], check=True)
    rng, run = random.Random(words[-1]), tmp_path / "run"
    while not (run / "config.json").exists():
        kill_after([*command, str(run)], 0.5 + rng.random())
    kill_after(["train", "--resume", str(run), "--quiet"], 0.6 + rng.random())
    subprocess.run([sys.executable, "-m", "charrnn", "train", "--resume", str(run), "--quiet"], check=True)
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "workers"), CASES)
def test_killed_fifty_times(cell, workers, corpus, finished, tmp_path):
    hits, runs, rng = 0, 0, random.Random(f"slow {cell}{workers}")
    while hits < 50:
        runs += 1
        hits += survive(tmp_path / f"run{runs}", corpus, cell, workers, 6, rng)
        assert outcome(tmp_path / f"run{runs}") == finished(cell, workers, LONG)
    print(f"{cell}, {workers} workers: {hits} kills in {runs} runs")
    assert no_workers_left()


KILL_AT_OPERATION = """
import os, signal, sys
from charrnn.runs import files
from charrnn.cli.app import main
left = int(sys.argv[1])
def counting(call):
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counted
class Os:
    fsync, replace, truncate = map(staticmethod, map(counting, (os.fsync, os.replace, os.truncate)))
    def __getattr__(self, name):
        return getattr(os, name)
files.os = Os()
files.open = counting(open)
main(sys.argv[2:])
"""


def kill_at_operation(number, command):
    script = [sys.executable, "-c", KILL_AT_OPERATION, str(number), *command]
    return subprocess.run(script, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "number", [*(3, 5, 10, 13, 16), *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4, 9, 11, 12, 14, 15))]
)
def test_killed_between_any_two_operations_of_a_save(number, corpus, finished, tmp_path):
    """open, fsync, rename, fsync of the directory: of config.json, then last, then metrics, best and last ..."""
    run = tmp_path / "run"
    assert kill_at_operation(number, arguments(run, corpus))
    command = ["train", "--resume", str(run), "--quiet"] if (run / "config.json").exists() else arguments(run, corpus)
    subprocess.run([sys.executable, "-m", "charrnn", *command], check=True)
    assert outcome(run) == finished()


@pytest.mark.slow
def test_killed_at_every_operation_of_a_run(corpus, finished, tmp_path):
    number = 1
    while kill_at_operation(number, arguments(tmp_path / f"run{number}", corpus)):
        run = tmp_path / f"run{number}"
        command = (
            ["train", "--resume", str(run), "--quiet"] if (run / "config.json").exists() else arguments(run, corpus)
        )
        subprocess.run([sys.executable, "-m", "charrnn", *command], check=True)
        assert outcome(run) == finished()
        number += 1
    print(f"killed at {number - 1} operations")
    assert number > 60


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_process_and_resumes_to_the_same_bytes(interrupt, corpus, finished, tmp_path):
    run = tmp_path / "run"
    process = start(arguments(run, corpus, workers=2, steps=LONG))
    while not (run / "last.safetensors").exists():
        assert process.poll() is None
    os.kill(process.pid, interrupt)
    process.communicate()
    assert process.returncode in (128 + interrupt, 0)
    assert no_workers_left()
    subprocess.run([sys.executable, "-m", "charrnn", "train", "--resume", str(run), "--quiet"], check=True)
    assert outcome(run) == finished(workers=2, steps=LONG)


def test_a_killed_worker_ends_the_run_in_one_line_with_the_state_saved(corpus, finished, tmp_path):
    run = tmp_path / "run"
    process = start(arguments(run, corpus, workers=2, steps=LONG))
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None
    (worker,) = workers_running()
    os.kill(worker, signal.SIGKILL)
    errors = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 4
    assert errors == f"charrnn: error: worker process {worker} died (the run can go on with --resume)\n"
    assert no_workers_left()
    subprocess.run([sys.executable, "-m", "charrnn", "train", "--resume", str(run), "--quiet"], check=True)
    assert outcome(run) == finished(workers=2, steps=LONG)
