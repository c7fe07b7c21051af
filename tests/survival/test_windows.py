"""The main commands on a simulated Windows; see sitecustomize.py. Their results are the same bits as on this system."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.runs.files import TEMPORARY_FILES

from .conftest import CHARRNN, all_workers_end, outcome, train_arguments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the simulation of Windows needs Linux")
SIMULATION = Path(__file__).parent / "windows"
ROOT = Path(__file__).parents[2]
TEXT = "the quick brown fox jumps over the lazy dög — again; " * 40
SIGBREAK = signal.SIGUSR1  # what the simulation sends in its place
STEPS = 120


@pytest.fixture
def windows(tmp_path, monkeypatch):
    """Starts a command on the simulated Windows -> the process."""
    (tmp_path / "tags").mkdir()
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    folders = [str(SIMULATION), str(ROOT)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(folders),
        "CHARRNN_TEST_TAGS": str(tmp_path / "tags"),
        "PYTHONWARNDEFAULTENCODING": "1",
    }

    def start(*arguments):
        words = [*CHARRNN, *map(str, arguments)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def finish(process):
    """stdout of a command that must succeed and must not write to stderr."""
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err.decode()) == (0, "")
    return out


def wait_for(path, process, pattern=""):
    """Waits until the path exists. pattern: until the directory contains a file whose name matches."""
    while not (any(path.glob(pattern)) if pattern else path.exists()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_a_run_that_is_killed_and_resumed_on_windows_has_the_bits_of_this_system(windows, tmp_path):
    arguments = train_arguments(Path("run"), "corpus.txt", workers=2, steps=STEPS)
    process = windows(*arguments)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.kill()
    process.communicate()
    assert all_workers_end()
    for left_by_kill in (tmp_path / "run").glob(TEMPORARY_FILES):
        left_by_kill.unlink()
    process = windows("train", "--resume", "run", "--quiet")
    with open("run/last.safetensors", "rb"):  # as a virus scanner does: the file cannot be replaced meanwhile
        wait_for(tmp_path / "run", process, TEMPORARY_FILES)
        time.sleep(0.5)
    finish(process)
    assert all_workers_end()
    here = train_arguments(Path("here"), "corpus.txt", workers=2, steps=STEPS)
    subprocess.run([*CHARRNN, *here], check=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "here")
    sample = ("sample", "run", "--seed", "1", "--prime", "dög — ", "--length", "300")
    text = finish(windows(*sample))
    assert text == subprocess.run([*CHARRNN, *sample], check=True, capture_output=True).stdout
    assert text.startswith("dög — ".encode()) and b"\r" not in text


def test_ctrl_break_saves_a_run(windows, tmp_path):
    process = windows(*train_arguments(Path("run"), "corpus.txt", workers=2, steps=10**6), "--json")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(SIGBREAK)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + SIGBREAK
    assert err == b"interrupted and saved; to continue: charrnn train --resume run\n"
    assert json.loads(out)["status"] == "interrupted"
    assert all_workers_end()


def test_a_sweep_that_is_killed_on_windows_continues(windows, tmp_path):
    pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    small = ["--hidden-size", "8", "--batch-size", "4", "--seq-length", "8", "--max-steps", "60", "--eval-every", "20"]
    words = ["sweep", "corpus.txt", "--grid", "lr=0.01,0.02,0.03", "--jobs", "2", *small, "--json", "--quiet"]
    process = windows(*words)
    wait_for(tmp_path / "runs" / "corpus" / "000" / "metrics.jsonl", process)
    process.kill()
    process.communicate()
    trials = json.loads(finish(windows(*words)))["trials"]
    assert sorted((row["number"], row["state"]) for row in trials) == [(n, "completed") for n in range(3)]
    rows = json.loads(finish(windows("runs", "runs/corpus", "--json")))["runs"]
    assert [row["status"] for row in rows] == ["completed"] * 3


@pytest.mark.parametrize(
    "line", ["import fcntl", "from os import fork", "import signal; signal.SIGHUP", "import os; os.open('.', 0)"]
)
def test_the_simulation_hides_what_windows_lacks(line, tmp_path):
    script = f"exec({line!r}, {{'__name__': 'charrnn.module'}})"
    environment = os.environ | {"PYTHONPATH": str(SIMULATION)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert b"Error" in ended.stderr and ended.returncode == 1
