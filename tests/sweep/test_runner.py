"""Sweeps that train: what their trials leave behind, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from charrnn.errors import CorpusError, OutOfMemoryError, RunError, UsageError  # noqa: E402
from charrnn.runs.directory import Run, list_runs, newest_run  # noqa: E402
from charrnn.sweep.events import TrialEnded, TrialEvaluated  # noqa: E402
from charrnn.sweep.runner import SweepRunner  # noqa: E402

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
SEARCH = ["lr=log:0.001:0.1", "cell=choice:lstm,gru,rnn"]


def run_sweep(plan, folder, storage=None):
    """The rows of the trials, and the events."""
    runner = SweepRunner(plan, folder, storage)
    events = list(runner.run())
    return runner.trial_rows(), events


def read_result(path):
    return json.loads((Path(path) / "result.json").read_text())


@pytest.fixture(scope="module")
def swept(make_plan, tmp_path_factory):
    """The folder, the rows and the events of a search of 8 trials, two at the same time, with pruning."""
    folder = tmp_path_factory.mktemp("swept") / "study"
    return folder, *run_sweep(make_plan(SEARCH, trials=8, jobs=2, prune=True), folder)


def test_each_trial_is_an_ordinary_run(swept):
    folder, rows, _ = swept
    assert sorted(row["number"] for row in rows) == list(range(8))
    assert [run.path.name for run in list_runs(folder)] == [f"{n:03d}" for n in range(8)]
    for row in rows:
        run = Run(folder / f"{row['number']:03d}")
        config = run.read_config()
        assert row["run"] == str(run.path)
        assert config.train.learning_rate == row["params"]["learning_rate"]
        assert config.model.cell == row["params"]["cell"]
        status = read_result(run.path)["status"]
        assert (row["state"], status) in [("completed", "completed"), ("pruned", "interrupted")]


def test_the_value_of_a_trial_is_its_best_validation_loss(swept):
    _, rows, _ = swept
    completed = [row for row in rows if row["state"] == "completed"]
    assert len(completed) >= 5  # no trial is pruned before five are completed
    for row in completed:
        assert row["value"] == read_result(row["run"])["best_val_loss"]
    assert [row["value"] for row in completed] == sorted(row["value"] for row in completed)
    assert rows[: len(completed)] == completed


def test_each_trial_has_events_for_its_evaluations_and_its_end(swept):
    _, rows, events = swept
    ended = {(event.number, event.state) for event in events if isinstance(event, TrialEnded)}
    assert ended == {(row["number"], row["state"]) for row in rows}
    assert {event.number for event in events if isinstance(event, TrialEvaluated)} == set(range(8))


def test_two_trials_at_the_same_time_share_the_cores(swept):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for run in list_runs(swept[0]):
        assert run.read_config().train.workers <= max(1, cores // 2)


def test_a_completed_study_is_not_changed(swept, make_plan):
    folder, rows, _ = swept
    assert run_sweep(make_plan(SEARCH, trials=8, jobs=2, prune=True), folder) == (rows, [])


def test_invalid_options_are_found_before_the_folder_is_created(make_plan, tmp_path):
    with pytest.raises(UsageError, match="--weight-decay"):
        SweepRunner(make_plan(grid=["weight-decay=0,0.1"], optimizer="sgd"), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_trial_with_several_seeds_has_the_median_loss(make_plan, tmp_path):
    plan = make_plan(grid=["cell=gru,rnn"], trials=2, repeats=3, seed=5)
    rows, events = run_sweep(plan, tmp_path / "study")
    assert [row["state"] for row in rows] == ["completed", "completed"]
    for row in rows:
        results = [read_result(row["run"] + suffix) for suffix in ("", "-2", "-3")]
        assert [result["config"]["train"]["seed"] for result in results] == [5, 6, 7]
        assert row["value"] == sorted(result["best_val_loss"] for result in results)[1]
    progress = [event.progress for event in events if isinstance(event, TrialEvaluated) and event.number == 0]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert run_sweep(plan, tmp_path / "study") == (rows, [])


def test_a_diverged_trial_counts_and_the_sweep_continues(make_plan, tmp_path):
    plan = make_plan(grid=["lr=1e38,0.01"], trials=2, optimizer="sgd", clip_norm=0.0, max_steps=6)
    rows, events = run_sweep(plan, tmp_path / "study")
    assert [(row["number"], row["state"]) for row in rows] == [(1, "completed"), (0, "diverged")]
    assert TrialEnded(0, "diverged") in events


def test_a_pruned_trial_is_saved_and_can_be_resumed(make_plan, tmp_path):
    """Five trials that learn are followed by one with a learning rate of 0."""
    plan = make_plan(
        grid=["lr=0.05,0.04,0.03,0.02,0.01,0"],
        trials=5,
        jobs=2,
        prune=True,
        max_steps=100,
        eval_every=5,
    )
    run_sweep(plan, tmp_path / "study")
    rows, _ = run_sweep(replace(plan, trials=6), tmp_path / "study")
    assert [row["state"] for row in rows] == ["completed"] * 5 + ["pruned"]
    pruned = tmp_path / "study" / "005"
    assert 25 <= read_result(pruned)["steps"] < 100  # not in the first quarter of the budget
    subprocess.run([sys.executable, "-m", "charrnn", "train", "--resume", str(pruned), "-q"], check=True)
    assert read_result(pruned)["steps"] == 100


def test_a_trial_is_not_pruned_without_the_option(make_plan, tmp_path):
    plan = make_plan(grid=["lr=0.05,0.04,0.03,0.02,0.01,0"], trials=6)
    rows, _ = run_sweep(plan, tmp_path / "study")
    assert {row["state"] for row in rows} == {"completed"}


def test_a_trial_whose_process_is_killed_fails_and_the_sweep_continues(make_plan, tmp_path):
    runner = SweepRunner(make_plan(grid=["cell=gru,rnn"], trials=2), tmp_path / "study")
    for event in runner.run():
        if event.number == 0 and 0 in runner.running:
            runner.running[0].child.process.kill()
    rows = runner.trial_rows()
    assert [(row["number"], row["state"]) for row in rows] == [(1, "completed"), (0, "failed")]
    assert "died" in rows[1]["error"]


def test_a_trial_with_an_error_of_its_own_fails_and_the_sweep_continues(make_plan, tmp_path):
    runner = SweepRunner(make_plan(grid=["cell=gru,rnn"], trials=2), tmp_path / "study")
    (tmp_path / "study" / "000").write_text("a file where the run's directory should be")
    list(runner.run())
    rows = runner.trial_rows()
    assert [(row["number"], row["state"]) for row in rows] == [(1, "completed"), (0, "failed")]
    assert "000" in rows[1]["error"]


def test_a_child_without_enough_memory_fails_its_trial_only(make_plan, tmp_path):
    runner = SweepRunner(make_plan(grid=["cell=gru,rnn"], trials=2), tmp_path / "study")
    error = OutOfMemoryError("the model needs 1 TB")
    message = {"error": "OutOfMemoryError", "message": error.message, "hint": error.hint}
    with runner.study:
        assert runner._finish_with_error(runner.study.next_trial(), message) == "failed"
    assert runner.error is None
    assert runner.trial_rows()[0]["error"] == str(error)


def test_a_corpus_that_disappears_ends_the_sweep_which_can_be_continued(make_plan, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT)
    plan = make_plan(grid=["cell=gru,rnn"], trials=2, corpus=str(corpus))
    runner = SweepRunner(plan, tmp_path / "study")
    corpus.unlink()
    with pytest.raises(CorpusError, match=r"corpus\.txt"):
        list(runner.run())
    corpus.write_text(TEXT)
    rows, _ = run_sweep(plan, tmp_path / "study")
    assert [row["state"] for row in rows] == ["completed", "completed"]


def test_a_study_in_sqlite_is_shared_by_two_folders(make_plan, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    plan = make_plan(SEARCH, trials=2, max_steps=2)
    run_sweep(plan, tmp_path / "a", url)
    rows, _ = run_sweep(replace(plan, trials=3), tmp_path / "b", url)
    assert sorted(row["number"] for row in rows) == [0, 1, 2]
    assert [path.name for path in sorted((tmp_path / "b").glob("0*"))] == ["002"]


def test_children_save_and_end_when_their_parent_is_killed(corpus, tmp_path):
    arguments = ["sweep", corpus, "--search", SEARCH[0], "--trials", "2", "--jobs", "2", "--study", "study"]
    arguments += ["--max-steps", "100000", "--hidden-size", "8", "--workers", "1", "--eval-every", "10"]
    environment = os.environ | {"CHARRNN_RUNS": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-m", "charrnn", *arguments], env=environment)
    runs = [Run(tmp_path / "study" / name) for name in ("000", "001")]
    try:
        while not all(run.metrics.exists() for run in runs):
            assert parent.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    while any(run.locked for run in runs):
        time.sleep(0.02)
    assert [read_result(run.path)["status"] for run in runs] == ["interrupted"] * 2


def test_the_newest_run_is_not_a_trial_of_a_sweep(swept, monkeypatch):
    monkeypatch.setenv("CHARRNN_RUNS", str(swept[0].parent))
    with pytest.raises(RunError, match="no runs under"):
        newest_run()
    assert list_runs(swept[0].parent) == []
