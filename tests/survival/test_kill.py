"""SIGKILL at any moment: the run can be resumed and ends with the same bits as an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import (
    CHARRNN,
    FREQUENT_WRITES,
    SMALL,
    all_workers_end,
    kill_after,
    outcome,
    resume_arguments,
    running_workers,
    start,
    train_arguments,
)

STEPS = 200  # they take a second or two
MANY_STEPS = 600
START_TIME = 0.2  # seconds before the first kill
DATA = Path(__file__).parents[2] / "data"
CASES = [("rnn", 1), ("lstm", 1), ("gru", 1), ("rnn", 2), ("lstm", 2), ("gru", 2)]
BEFORE_CONFIG = (".lock", ".*.tmp", "last.safetensors")


def kill_repeatedly(run, corpus, cell, workers, steps, kills, rng):
    """Kills a run up to `kills` times and then lets it finish. Returns how often it was still running."""
    arguments = train_arguments(run, corpus, cell, workers, steps)
    hits = 0
    for _ in range(kills):
        hits += kill_after(arguments, START_TIME + 0.8 * rng.random())
        if (run / "config.json").exists():
            arguments = resume_arguments(run, corpus)
        elif run.exists():
            assert all(any(map(path.match, BEFORE_CONFIG)) for path in run.iterdir())
    subprocess.run([*CHARRNN, *arguments], check=True)
    return hits


@pytest.mark.parametrize(
    ("cell", "workers"),
    [pytest.param(*case, marks=[] if case == ("lstm", 2) else pytest.mark.slow) for case in CASES],
)
def test_a_killed_run_ends_with_the_same_bits_after_its_resume(cell, workers, corpus, undisturbed, tmp_path):
    hits = kill_repeatedly(tmp_path / "run", corpus, cell, workers, STEPS, 2, random.Random(f"{cell}{workers}"))
    assert hits >= 1
    assert outcome(tmp_path / "run") == undisturbed(cell, workers, STEPS)
    assert all_workers_end()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["kinds.tsv", "--task", "classify"], id="classify", marks=pytest.mark.slow),
        pytest.param(["syllables.tsv", "--task", "tag"], id="tag", marks=pytest.mark.slow),
        pytest.param(["dates.tsv", "--task", "translate"], id="translate"),
        pytest.param(["season.csv", "--task", "series"], id="series", marks=pytest.mark.slow),
        pytest.param(["shapes.txt", "--features", str(DATA / "shapes.csv")], id="caption", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_of_any_task_ends_with_the_same_bits_after_its_resume(arguments, tmp_path):
    file, *options = arguments
    train = ["train", str(DATA / file), *options, "--max-steps", "60", "--workers", "2", *SMALL, *FREQUENT_WRITES]
    subprocess.run([*CHARRNN, *train, "--run", str(tmp_path / "undisturbed")], check=True)
    rng = random.Random(options[-1])
    run = tmp_path / "run"
    resume = ["train", "--resume", str(run), "--quiet"]
    seconds = 0.5
    while not (run / "config.json").exists():
        kill_after([*train, "--run", str(run)], seconds + rng.random())
        seconds *= 1.5  # a busy machine needs more time until the run can be resumed
    kill_after(resume, 0.6 + rng.random())
    subprocess.run([*CHARRNN, *resume], check=True)
    assert outcome(run) == outcome(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "workers"), CASES)
def test_fifty_kills(cell, workers, corpus, undisturbed, tmp_path):
    rng = random.Random(f"slow {cell}{workers}")
    hits = 0
    runs = 0
    while hits < 50:
        runs += 1
        hits += kill_repeatedly(tmp_path / f"run{runs}", corpus, cell, workers, MANY_STEPS, 6, rng)
        assert outcome(tmp_path / f"run{runs}") == undisturbed(cell, workers, MANY_STEPS)
    print(f"{cell}, {workers} workers: {hits} kills in {runs} runs")
    assert all_workers_end()


# Runs charrnn and kills the process before the file operation with the number argv[1].
KILL_AT_OPERATION = """
import os, signal, sys
from charrnn import system
from charrnn.runs import files
from charrnn.cli.app import main

operations_left = int(sys.argv[1])

def counted(call):
    def counted_call(*args, **kwargs):
        global operations_left
        operations_left -= 1
        if operations_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counted_call

class CountingOs:
    fsync = staticmethod(counted(os.fsync))
    replace = staticmethod(counted(os.replace))
    truncate = staticmethod(counted(os.truncate))
    unlink = staticmethod(counted(os.unlink))
    def __getattr__(self, name):
        return getattr(os, name)

files.os = system.os = CountingOs()
files.open = counted(open)
main(sys.argv[2:])
"""


def is_killed_at_operation(number, arguments):
    """Runs a command that is killed before an operation. Returns False if the command has fewer operations."""
    script = [sys.executable, "-c", KILL_AT_OPERATION, str(number), *arguments]
    return subprocess.run(script, stderr=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "number", [*(3, 10, 17), *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4, 5, 9, *range(11, 17)))]
)
def test_a_kill_between_two_operations_of_a_save_loses_nothing(number, corpus, undisturbed, tmp_path):
    """Each file takes four operations (open, fsync, rename, fsync of the directory): first last.safetensors and
    config.json; then result.json is deleted; then the metrics and the checkpoints are written."""
    run = tmp_path / "run"
    assert is_killed_at_operation(number, train_arguments(run, corpus))
    subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
    assert outcome(run) == undisturbed()


@pytest.mark.slow
def test_a_kill_at_any_operation_of_a_run_loses_nothing(corpus, undisturbed, tmp_path):
    number = 1
    while is_killed_at_operation(number, train_arguments(tmp_path / f"run{number}", corpus)):
        run = tmp_path / f"run{number}"
        subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
        assert outcome(run) == undisturbed()
        number += 1
    print(f"killed at {number - 1} operations")
    assert number > 60


def test_a_result_does_not_outlive_a_resume_that_is_killed(corpus, tmp_path):
    run = tmp_path / "run"
    subprocess.run([*CHARRNN, *train_arguments(run, corpus)], check=True)
    assert json.loads((run / "result.json").read_text())["steps"] == 30
    assert is_killed_at_operation(20, ["train", "--resume", str(run), "--max-steps", "40", "--quiet"])
    assert not (run / "result.json").exists()
    listing = subprocess.run([*CHARRNN, "runs", str(tmp_path), "--json"], check=True, capture_output=True)
    assert [row["status"] for row in json.loads(listing.stdout)["runs"]] == ["unfinished"]
    subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
    assert json.loads((run / "result.json").read_text())["steps"] == 40


@pytest.mark.parametrize(
    "interrupt", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))]
)
def test_an_interrupted_run_leaves_no_process_and_ends_with_the_same_bits(interrupt, corpus, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(train_arguments(run, corpus, workers=2, steps=STEPS))
    while not (run / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, interrupt)
    process.communicate()
    assert process.returncode in (128 + interrupt, 0)
    assert all_workers_end()
    subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
    assert outcome(run) == undisturbed(workers=2, steps=STEPS)


def test_a_killed_worker_ends_the_run_with_the_state_saved(corpus, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(train_arguments(run, corpus, workers=2, steps=STEPS))
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    (worker,) = running_workers()
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    (line,) = errors.decode().splitlines()
    assert line.startswith(f"charrnn: error: worker process {worker} died")
    assert "--resume" in line
    assert all_workers_end()
    subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
    assert outcome(run) == undisturbed(workers=2, steps=STEPS)
