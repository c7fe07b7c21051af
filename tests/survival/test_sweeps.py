"""Sweeps that are killed, shared by several processes, and kept in databases: no trial is lost, none is run twice."""

import contextlib
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
pytestmark = pytest.mark.slow

TEXT = "the quick brown fox jumps over the lazy dog; " * 400
TRIALS = 24
SMALL = ["--hidden-size", "16", "--batch-size", "8", "--seq-length", "16", "--max-steps", "300", "--eval-every", "15"]
SPACE = ["--search", "lr=log:1e-4:1e-1", "--search", "dropout=float:0:0.5", "--search", "cell=choice:lstm,gru,rnn"]
ENDED = {"completed", "pruned"}


def start(folder, *options, trials=TRIALS, space=SPACE, runs="runs"):
    (folder / "corpus.txt").write_text(TEXT)
    words = ["sweep", "corpus.txt", *SMALL, *space, "--trials", str(trials), "--jobs", "2", *options, "--json", "-q"]
    environment = os.environ | {"CHARRNN_RUNS": str(folder / runs)}
    command = [sys.executable, "-m", "charrnn", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors.decode()) == (0, "")
    return json.loads(out)["trials"]


def whole(trials, count=TRIALS):
    """Every number once, every trial at its end."""
    assert sorted(row["number"] for row in trials) == list(range(count))
    assert {row["state"] for row in trials} <= ENDED


def intact(folder):
    """Each run's metrics as if nobody had touched it, up to where it ended."""
    for run in sorted(folder.glob("0*")):
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        result = json.loads((run / "result.json").read_text())
        assert steps == list(range(15, result["steps"] + 1, 15))
        assert result["status"] in ("completed", "interrupted")


@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_killed_twice_and_continued_has_all_its_trials_once(seed, tmp_path):
    rng = random.Random(seed)
    for _ in range(2):
        process = start(tmp_path, "--prune")
        time.sleep(rng.uniform(1.5, 4))
        assert process.poll() is None, "it was over before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    trials = finish(start(tmp_path, "--prune"))
    whole(trials)
    intact(tmp_path / "runs" / "corpus")
    assert len(list((tmp_path / "runs" / "corpus").glob("0*"))) == TRIALS
    assert [path.name for path in (tmp_path / "runs" / "corpus" / ".study").iterdir()] == ["id"]


def test_a_sweep_killed_at_many_moments_loses_nothing(tmp_path):
    """From the first file on: also before a trial's directory or its first checkpoint is there."""
    kills, delay = 0, 0.3
    while True:
        process = start(tmp_path, trials=8)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills, delay = kills + 1, delay + 0.11
            continue
        whole(finish(process), 8)
        break
    print(f"killed {kills} times")
    assert kills > 5
    intact(tmp_path / "runs" / "corpus")


def test_when_one_of_two_processes_is_killed_the_other_finishes_its_trials(tmp_path):
    first, second = start(tmp_path), start(tmp_path)
    time.sleep(3)
    assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    whole(finish(second))
    intact(tmp_path / "runs" / "corpus")


def shared(tmp_path, *options, folders=("runs", "runs"), **more):
    """The rows of a study that as many processes have worked on, and how many trials each folder holds."""
    processes = [start(tmp_path, *options, runs=runs, **more) for runs in folders]
    for process in processes:
        finish(process)
    return finish(start(tmp_path, *options, runs=folders[0], **more)), [
        len(list((tmp_path / runs / "corpus").glob("0*"))) for runs in folders
    ]


def test_processes_on_one_journal_share_a_search(tmp_path):
    trials, _ = shared(tmp_path, "--prune")
    whole(trials)
    assert len({json.dumps(row["params"]) for row in trials}) == TRIALS


def test_processes_on_one_journal_run_each_point_of_a_grid_once(tmp_path):
    grid = ["--grid", "cell=lstm,gru,rnn", "--grid", "lr=0.001,0.01,0.02,0.03"]
    trials, _ = shared(tmp_path, trials=12, space=grid, folders=("runs",) * 3)
    whole(trials, 12)
    assert len({json.dumps(row["params"]) for row in trials}) == 12


def test_machines_with_folders_of_their_own_share_a_journal(tmp_path):
    trials, counts = shared(tmp_path, "--storage", str(tmp_path / "study.journal"), folders=("a", "b"))
    assert len({row["number"] for row in trials}) == len(trials) == TRIALS == sum(counts)
    assert min(counts) > 0


def test_a_study_in_sqlite_is_shared_and_survives_a_kill(tmp_path):
    database(tmp_path, f"sqlite:///{tmp_path}/study.db")


def test_a_study_in_postgresql_is_shared_and_survives_a_kill(tmp_path):
    pytest.importorskip("psycopg", reason="PostgreSQL's driver psycopg is not installed")
    with postgresql() as url:
        database(tmp_path, url)


def database(tmp_path, url):
    first = start(tmp_path, "--storage", url)
    time.sleep(4)
    assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    trials, counts = shared(tmp_path, "--storage", url, folders=("runs", "other"))
    assert len({row["number"] for row in trials}) == len(trials) == TRIALS == sum(counts)
    assert {row["state"] for row in trials} <= ENDED
    assert min(counts) > 0


@contextlib.contextmanager
def postgresql():
    """The URL of a server of our own, from Debian's package, reached through a socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    folder = Path("/tmp", f"charrnn-postgresql-{os.getpid()}")  # a socket's path must be short
    folder.mkdir()
    user = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    tools, quiet = found[-1].parent, {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **user}
    control = [str(tools / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    try:
        initialise = [str(tools / "initdb"), "-D", str(folder / "data"), "-U", "tester", "-A", "trust"]
        subprocess.run(initialise, **quiet)
        where = f"-k {folder} -c listen_addresses=''"
        subprocess.run([*control, "-l", str(folder / "log"), "-o", where, "start"], **quiet)
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([*control, "-m", "immediate", "stop"], stderr=subprocess.DEVNULL, **quiet)
        shutil.rmtree(folder)
