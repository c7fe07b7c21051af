"""Runs that are broken off on purpose, and what must be left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TEXT = "the quick brown fox jumps over the lazy dog; " * 40
# What a clock says differs between two runs; everything else in the metrics must not.
CLOCK = ("seconds", "chars_per_second")
SMALL = ["--hidden-size", "8", "--batch-size", "4", "--seq-length", "8", "--dropout", "0.2"]
OFTEN = ["--eval-every", "7", "--save-every", "2", "--quiet"]


def arguments(run, corpus, cell="lstm", workers=1, steps=30):
    budget = ["--workers", str(workers), "--max-steps", str(steps)]
    return ["train", str(corpus), "--run", str(run), "--cell", cell, *budget, *SMALL, *OFTEN]


def outcome(run):
    """All that a finished run leaves but for the clock: weights and state as bytes, metrics as rows."""
    from charrnn.runs.checkpoint import load_checkpoint

    best, last = (load_checkpoint(run / f"{name}.safetensors") for name in ("best", "last"))
    arrays = {name: array.tobytes() for name, array in (*last.weights.items(), *last.tensors.items())}
    arrays |= {f"best {name}": array.tobytes() for name, array in best.weights.items()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return arrays, [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def finished(corpus, tmp_path):
    """The outcome of a run that nothing happened to, for a cell and a number of workers."""

    def run(cell="lstm", workers=1, steps=30):
        path = tmp_path / f"whole-{cell}-{workers}-{steps}"
        if not path.exists():
            subprocess.run(
                [sys.executable, "-m", "charrnn", *arguments(path, corpus, cell, workers, steps)], check=True
            )
        return outcome(path)

    return run


def start(command):
    return subprocess.Popen([sys.executable, "-m", "charrnn", *command], stderr=subprocess.PIPE, start_new_session=True)


def kill_after(command, seconds):
    """Runs a command and kills it; True if it was still running. Its workers must end by themselves."""
    process = start(command)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode()
    return False


MARK = f"CHARRNN_TEST={os.getpid()}"  # in the environment of what these tests start, and of nothing else
os.environ.update([MARK.split("=")])


def workers_running():
    """Process ids of the training workers that these tests have started (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = MARK.encode() in (path / "environ").read_bytes().split(b"\0")
            if mine and b"charrnn.engines.numpy.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def no_workers_left(deadline=5.0):
    end = time.monotonic() + deadline
    while workers_running() and time.monotonic() < end:
        time.sleep(0.05)
    return not workers_running()
