"""Sweeps that are killed, shared by several processes or saved in a database: each trial is trained once."""

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
EVAL_EVERY = 15
SMALL = ["--hidden-size", "16", "--batch-size", "8", "--seq-length", "16", "--max-steps", "300"]
SMALL += ["--eval-every", str(EVAL_EVERY)]
SPACE = ["--search", "lr=log:1e-4:1e-1", "--search", "dropout=float:0:0.5", "--search", "cell=choice:lstm,gru,rnn"]


def start_sweep(folder, *options, trials=TRIALS, space=SPACE, runs="runs"):
    """A sweep in a process of its own, with its runs under `folder/runs`."""
    (folder / "corpus.txt").write_text(TEXT)
    arguments = ["sweep", "corpus.txt", *SMALL, *space, "--trials", str(trials), "--jobs", "2"]
    command = [sys.executable, "-m", "charrnn", *arguments, *options, "--json", "-q"]
    environment = os.environ | {"CHARRNN_RUNS": str(folder / runs)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_rows(process):
    """The rows of the trials that a sweep prints at its end."""
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors.decode()) == (0, "")
    return json.loads(out)["trials"]


def kill_after(process, seconds):
    time.sleep(seconds)
    assert process.poll() is None, "the sweep ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def assert_each_trial_ended_once(rows, count=TRIALS):
    assert sorted(row["number"] for row in rows) == list(range(count))
    assert {row["state"] for row in rows} <= {"completed", "pruned"}


def assert_runs_are_intact(folder):
    """The metrics of each run have no gaps and no duplicates, up to the step at which it ended."""
    for run in sorted(folder.glob("0*")):
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        result = json.loads((run / "result.json").read_text())
        expected = list(range(EVAL_EVERY, result["steps"] + 1, EVAL_EVERY))
        if result["status"] == "interrupted":  # a trial that is pruned may stop during its last validation
            assert steps in (expected, expected[:-1])
        else:
            assert steps == expected
        assert result["status"] in ("completed", "interrupted")


@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_that_is_killed_twice_trains_each_trial_once(seed, tmp_path):
    rng = random.Random(seed)
    for _ in range(2):
        kill_after(start_sweep(tmp_path, "--prune"), rng.uniform(1.5, 4))
    assert_each_trial_ended_once(wait_for_rows(start_sweep(tmp_path, "--prune")))
    folder = tmp_path / "runs" / "corpus"
    assert_runs_are_intact(folder)
    assert len(list(folder.glob("0*"))) == TRIALS
    assert list((folder / ".study" / "owners").iterdir()) == []


def test_a_sweep_that_is_killed_at_many_moments_loses_nothing(tmp_path):
    """The first kills come before the first trial has a directory or a checkpoint."""
    kills = 0
    while True:
        process = start_sweep(tmp_path, trials=8)
        try:
            process.wait(0.3 + 0.11 * kills)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            break
    assert kills > 5
    assert_each_trial_ended_once(wait_for_rows(process), 8)
    assert_runs_are_intact(tmp_path / "runs" / "corpus")


def test_when_one_of_two_processes_is_killed_the_other_continues_its_trials(tmp_path):
    first = start_sweep(tmp_path)
    second = start_sweep(tmp_path)
    kill_after(first, 3)
    assert_each_trial_ended_once(wait_for_rows(second))
    assert_runs_are_intact(tmp_path / "runs" / "corpus")


def run_together(tmp_path, *options, folders, **more):
    """Runs one process per folder at the same time. Returns the rows of the study and the number of runs per folder."""
    processes = [start_sweep(tmp_path, *options, runs=runs, **more) for runs in folders]
    for process in processes:
        wait_for_rows(process)
    rows = wait_for_rows(start_sweep(tmp_path, *options, runs=folders[0], **more))
    return rows, [len(list((tmp_path / runs / "corpus").glob("0*"))) for runs in folders]


def test_two_processes_share_a_search(tmp_path):
    rows, _ = run_together(tmp_path, "--prune", folders=("runs", "runs"))
    assert_each_trial_ended_once(rows)
    assert len({json.dumps(row["params"]) for row in rows}) == TRIALS


def test_three_processes_train_each_point_of_a_grid_once(tmp_path):
    grid = ["--grid", "cell=lstm,gru,rnn", "--grid", "lr=0.001,0.01,0.02,0.03"]
    rows, _ = run_together(tmp_path, trials=12, space=grid, folders=("runs", "runs", "runs"))
    assert_each_trial_ended_once(rows, 12)
    assert len({json.dumps(row["params"]) for row in rows}) == 12


def assert_trials_are_shared(rows, counts):
    """Surplus trials leave gaps in the numbers."""
    assert len({row["number"] for row in rows}) == len(rows) == TRIALS == sum(counts)
    assert {row["state"] for row in rows} <= {"completed", "pruned"}
    assert min(counts) > 0


def test_two_folders_share_a_journal(tmp_path):
    rows, counts = run_together(tmp_path, "--storage", str(tmp_path / "study.journal"), folders=("a", "b"))
    assert_trials_are_shared(rows, counts)


def test_a_study_in_sqlite_is_shared_and_survives_a_kill(tmp_path):
    share_a_database(tmp_path, f"sqlite:///{tmp_path}/study.db")


def test_a_study_in_postgresql_is_shared_and_survives_a_kill(tmp_path):
    pytest.importorskip("psycopg", reason="PostgreSQL's driver psycopg is not installed")
    with postgresql() as url:
        share_a_database(tmp_path, url)


def share_a_database(tmp_path, url):
    kill_after(start_sweep(tmp_path, "--storage", url), 4)
    rows, counts = run_together(tmp_path, "--storage", url, folders=("runs", "other"))
    assert_trials_are_shared(rows, counts)


@contextlib.contextmanager
def postgresql():
    """Starts a temporary PostgreSQL server from Debian's package. Yields its URL, which names a Unix socket."""
    initdb_paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not initdb_paths:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    tools = initdb_paths[-1].parent
    folder = Path("/tmp", f"charrnn-postgresql-{os.getpid()}")  # the path of a socket must be short
    folder.mkdir()
    user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def run(*command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)

    control = [tools / "pg_ctl", "-D", folder / "data", "-w"]
    try:
        run(tools / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust")
        run(*control, "-l", folder / "log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run(*control, "-m", "fast", "stop")
        shutil.rmtree(folder)
