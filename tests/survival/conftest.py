"""Training runs as processes that the tests interrupt. Their files are compared with those of an undisturbed run."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TEXT = "the quick brown fox jumps over the lazy dog; " * 40
TIMES = ("seconds", "chars_per_second")  # metrics that differ between two runs; all others must be equal
SMALL = ["--hidden-size", "8", "--batch-size", "4", "--seq-length", "8", "--dropout", "0.2"]
FREQUENT_WRITES = ["--eval-every", "7", "--save-every", "2", "--quiet"]
CHARRNN = [sys.executable, "-m", "charrnn"]
PROCESS_MARK = f"CHARRNN_TEST={os.getpid()}"  # in the environment of all processes that these tests start
WORKER_DEADLINE = 5.0  # seconds in which the workers of a killed run must end

os.environ.update([PROCESS_MARK.split("=")])


def train_arguments(run, corpus, cell="lstm", workers=1, steps=30):
    options = ["--cell", cell, "--workers", str(workers), "--max-steps", str(steps)]
    return ["train", str(corpus), "--run", str(run), *options, *SMALL, *FREQUENT_WRITES]


def resume_arguments(run, corpus):
    """The arguments that continue a run, or start it again if it cannot be resumed yet."""
    if (run / "config.json").exists():
        return ["train", "--resume", str(run), "--quiet"]
    return train_arguments(run, corpus)


def outcome(run):
    """The content of a finished run without times: weights and training state as bytes, and the metrics."""
    from charrnn.runs.checkpoint import load_checkpoint

    best = load_checkpoint(run / "best.safetensors")
    last = load_checkpoint(run / "last.safetensors")
    arrays = {"best": best.parameters.tobytes(), "last": last.parameters.tobytes()}
    arrays |= {name: array.tobytes() for name, array in last.tensors.items()}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    metrics = [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]
    return arrays, metrics


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def undisturbed(corpus, tmp_path_factory):
    """A function that returns the outcome of a run that is not interrupted. Each run is trained once in a session."""

    @functools.cache
    def run(cell="lstm", workers=1, steps=30):
        path = tmp_path_factory.mktemp("undisturbed") / "run"
        subprocess.run([*CHARRNN, *train_arguments(path, corpus, cell, workers, steps)], check=True)
        return outcome(path)

    return run


def start(arguments):
    return subprocess.Popen([*CHARRNN, *arguments], stderr=subprocess.PIPE, start_new_session=True)


def kill_after(arguments, seconds):
    """Runs a command and kills it with SIGKILL. Returns whether it was still running."""
    process = start(arguments)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return False


def running_workers():
    """The process ids of the training workers that these tests have started. Linux only."""
    process_ids = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = PROCESS_MARK.encode() in (path / "environ").read_bytes().split(b"\0")
            if is_ours and b"charrnn.engines.numpy.worker" in (path / "cmdline").read_bytes():
                process_ids.append(int(path.name))
        except OSError:  # the process has ended, or belongs to another user
            continue
    return process_ids


def all_workers_end():
    """Waits for the workers. Returns whether all of them have ended by the deadline."""
    end = time.monotonic() + WORKER_DEADLINE
    while running_workers() and time.monotonic() < end:
        time.sleep(0.05)
    return not running_workers()
