"""Commands that work for all tasks, and the files that the tasks read."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import DATA, TASK_FILES, error_cases, task_arguments

ACCURACY_TASKS = ("classify", "tag", "translate", "caption")


@pytest.mark.parametrize("task", TASK_FILES)
def test_a_result_has_the_scores_of_its_task(task, task_runs):
    result = json.loads(Path(f"runs/{task}/result.json").read_text())
    last = json.loads(Path(f"runs/{task}/metrics.jsonl").read_text().splitlines()[-1])
    assert result["config"]["data"]["task"] == task
    for row in (result, last):
        assert (row["val_accuracy"] is not None) == (task in ACCURACY_TASKS)
        assert (row["val_rmse"] is not None) == (task == "series")
    if task == "series":
        assert set(result["val_rmse"]) == {"temperature", "rain", "visitors"}
    assert result["test_metrics"]["loss"] == result["test_loss"]


@pytest.mark.parametrize("task", TASK_FILES)
def test_info_runs_resume_and_init_from_work_for_all_tasks(task, task_runs, charrnn, tmp_path):
    info = charrnn("info", f"runs/{task}", "--json").json
    assert info["task"] == task
    assert ("columns" in info) == (task == "series")
    assert ("labels" in info) == (task in ("classify", "tag", "series"))
    assert charrnn("info", f"runs/{task}").code == 0
    copy = tmp_path / "copy"
    words = [*task_arguments(task), "--init-from", f"runs/{task}", "--run", copy, "--max-steps", "2"]
    assert charrnn("train", *words, "--quiet", "--workers", "1", "--batch-size", "4").code == 0
    result = charrnn("train", "--resume", copy, "--max-steps", "4", "--json", "--quiet").json
    assert result["steps"] == 4
    rows = charrnn("runs", "--json", "--where", f"task={task}").json["runs"]
    assert [Path(row["run"]).name for row in rows] == [task]


@pytest.mark.parametrize("task", TASK_FILES)
def test_the_last_line_names_the_command_that_uses_the_model(task, task_runs, charrnn, tmp_path):
    words = [*task_arguments(task), "--run", tmp_path / "r", "--max-steps", "1", "--hidden-size", "4"]
    last = charrnn("train", *words, "--workers", "1").err.splitlines()[-1]
    command = "charrnn sample" if task == "caption" else "charrnn predict"
    assert command in last and ("--features" in last) == (task == "caption")


def test_captions_may_be_truncated_to_one_step(task_runs, charrnn, tmp_path):
    words = ["--features", "shapes.csv", "--hidden-size", "8", "--embedding-size", "3", "--seq-length", "1"]
    assert charrnn("train", "shapes.txt", *words, "--max-steps", "2", "--quiet", "--run", tmp_path / "r").code == 0


def test_the_command_of_a_sweep_trains_its_best_model_again(task_runs, charrnn, monkeypatch, tmp_path):
    pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    monkeypatch.setenv("CHARRNN_RUNS", str(tmp_path))
    options = ["--max-steps", "4", "--workers", "1", "--eval-every", "2", "--quiet"]
    result = charrnn("sweep", "kinds.tsv", "--task", "classify", "--grid", "hidden-size=6,8", *options, "--json").json
    assert [row["state"] for row in result["trials"]] == ["completed"] * 2
    again = charrnn(*result["command"].split()[1:], "--run", tmp_path / "again", "--quiet", "--json").json
    assert again["best_val_loss"] == result["best"]["value"]
    assert again["config"]["model"]["cell"] == "gru"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_series_with_a_trend_is_predicted_as_well_as_by_repeating_the_last_value(cell, charrnn):
    n, rng = np.arange(400), np.random.default_rng(3)
    table = np.stack([0.3 * n + rng.normal(0, 0.4, 400), 1e6 - 2 * n + rng.normal(0, 1, 400)], axis=1)
    np.savetxt("trend.csv", table, fmt="%.4f", delimiter=",", header="up,down", comments="")
    words = ["--task", "series", "--cell", cell, "--test-fraction", "0.1", "--max-steps", "300", "--hidden-size", "8"]
    scores = charrnn("train", "trend.csv", *words, "--workers", "1", "--quiet", "--json").json["test_metrics"]
    for column in ("up", "down"):  # the test part is out of the range of the training part
        assert scores["rmse"][column] <= 1.02 * scores["rmse_of_last"][column]


@error_cases(
    ("kinds.tsv --task classify --lines", 2, "--lines", "--task lm", "classify"),
    ("kinds.tsv --task classify --delay 3", 2, "--delay", "--task tag", "classify"),
    ("kinds.tsv --task caption", 2, "--task caption", "--features"),
    ("season.csv --task series --target snow", 2, "--target snow", "no such column"),
    ("season.csv --task series --embedding-size 3", 2, "--embedding-size", "--task series"),
    ("shapes.txt --features few.csv", 3, "few.csv", "2 rows", "80 lines"),
    ("shapes.txt --features missing.npy", 3, "missing.npy", "No such file"),
    ("few.csv --task series", 3, "few.csv", "header"),
    ("gap.csv --task series", 3, "gap.csv, line 3, column b", "missing", "--missing"),
    ("dates.tsv --task tag", 3, "dates.tsv, line 1"),
    ("kinds.tsv --task classify --batch-size 999", 2, "--batch-size 999", "largest that fits"),
)
def test_a_mistake_is_named(task_directory, charrnn, tmp_path, arguments, code, facts):
    for name in ("kinds.tsv", "season.csv", "shapes.txt", "dates.tsv"):
        (tmp_path / name).write_bytes((task_directory / name).read_bytes())
    (tmp_path / "few.csv").write_text("1,2\n3,4\n")
    (tmp_path / "gap.csv").write_text("a,b\n1,2\n3,\n")
    charrnn("train", *arguments).fails(code, *facts)
    assert not Path("runs").exists()


def test_the_data_sets_are_those_that_their_script_makes(monkeypatch):
    monkeypatch.syspath_prepend(str(DATA))
    make = __import__("make")
    sys.modules.pop("make")
    for name, text in make.all_files().items():
        assert (DATA / name).read_text() == text, name
