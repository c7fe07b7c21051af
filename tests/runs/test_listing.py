"""Rows of a table of runs: their values at each stage of a run, and selecting, sorting and grouping."""

import json

import pytest

from charrnn.errors import UsageError
from charrnn.runs.directory import Run
from charrnn.runs.files import append_line, dump_json
from charrnn.runs.listing import FIELDS, RESULTS, Condition, flat_value, group_rows, parse_field, sort_rows, summary
from charrnn.runs.reports import Result

from .conftest import METRICS, RESULT, write_run


def test_the_fields_are_the_options_and_the_values_of_a_result():
    assert set(FIELDS) >= {"modified", "corpus", "cell", "task", "seed", "val_loss", "val_rmse", "best_val_bpc"}
    assert set(Result.names()) - set(FIELDS) == {"config"}
    assert len(set(FIELDS)) == len(FIELDS)


def test_a_finished_run_has_the_values_of_its_result(tmp_path):
    run = write_run(tmp_path / "r", cell="gru")
    run.write_json(run.result, RESULT.to_dict())
    row = summary(run)
    assert row["cell"] == "gru"
    assert row["run"] == str(run.path)
    assert {name: row[name] for name in RESULTS} == {name: RESULT.to_dict()[name] for name in RESULTS}
    assert set(row) == set(FIELDS)


def test_an_unfinished_run_has_the_values_of_its_last_and_best_evaluations(tmp_path):
    run = write_run(tmp_path / "r")
    for step, loss in ((7, 1.5), (14, 1.25), (21, 1.75)):
        values = METRICS.to_dict() | {"step": step, "epoch": step / 14, "val_loss": loss, "val_bpc": loss / 0.7}
        append_line(run.metrics, dump_json(values))
    row = summary(run)
    expected = {
        "status": "unfinished",
        "steps": 21,
        "epochs": 1.5,
        "chars": 700,
        "val_loss": 1.75,
        "val_accuracy": 0.5,
        "best_val_loss": 1.25,
        "best_val_bpc": 1.25 / 0.7,
        "best_step": 14,
    }
    assert {name: row[name] for name in expected} == expected
    assert set(row) <= set(FIELDS)


@pytest.mark.parametrize(("keep_best", "best_step"), [("loss", 14), ("accuracy", 7)])
def test_the_best_evaluation_of_an_unfinished_run_is_that_of_keep_best(keep_best, best_step, tmp_path):
    run = write_run(tmp_path / "r", keep_best=keep_best)
    for step, loss, accuracy in ((7, 1.5, 0.75), (14, 1.25, 0.5), (21, 1.75, 0.75)):
        values = METRICS.to_dict() | {"step": step, "val_loss": loss, "val_accuracy": accuracy}
        append_line(run.metrics, dump_json(values))
    assert summary(run)["best_step"] == best_step


def test_a_run_that_is_being_trained_is_running(tmp_path):
    run = write_run(tmp_path / "r")
    with run.lock():
        assert summary(run)["status"] == "running"


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl", "result.json"])
def test_a_damaged_run_is_broken_and_the_row_says_why(tmp_path, file):
    run = write_run(tmp_path / "r")
    (run.path / file).write_text("[]\n")
    row = summary(run)
    assert row["status"] == "broken"
    assert f"{file}: damaged: " in row["error"]


def test_a_missing_run_is_broken(tmp_path):
    assert "no such run" in summary(Run(tmp_path / "none"))["error"]


def test_a_row_is_valid_json(tmp_path):
    run = write_run(tmp_path / "r")
    run.write_json(run.result, RESULT.to_dict() | {"test_metrics": {"loss": float("nan")}})
    assert json.loads(json.dumps(summary(run), allow_nan=False))["test_metrics"] == {"loss": None}


def test_the_name_of_a_field_may_have_hyphens_or_be_short():
    assert parse_field("best-val-loss", "--sort") == "best_val_loss"
    assert parse_field(" lr ", "--sort") == "learning_rate"
    with pytest.raises(UsageError, match=r"--sort colour: no such field \(the fields are modified, corpus, cell, "):
        parse_field("colour", "--sort")


ROW = {
    "run": "runs/fables-001",
    "corpus": "/data/fables.txt",
    "cell": "gru",
    "steps": 10,
    "bytes": False,
    "target": ["a", "b"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps=10", True),
        ("steps=1e1", True),
        ("steps!=10", False),
        ("steps>9", True),
        ("steps>=10.5", False),
        ("steps<x", False),
        ("steps!=x", True),
        ("cell=gru", True),
        ("cell!=gru", False),
        ("cell<z", False),
        ("run=fables-001", True),
        ("run=runs/fables-001", True),
        ("corpus=fables.txt", True),
        ("bytes=false", True),
        ("bytes=0", False),
        ("target=a,b", True),
        ("target=a", False),
        ("target!=a", True),
        ("val-loss=-", True),
        ("val_loss=1", False),
        ("val_loss!=1", True),
    ],
)
def test_a_condition_compares_numbers_as_numbers_and_runs_also_by_name(text, expected):
    assert Condition.parse(text).holds(ROW) is expected


@pytest.mark.parametrize("text", ["steps", "=1", "steps~1", "colour=1"])
def test_a_malformed_condition_is_refused(text):
    with pytest.raises(UsageError, match=f"--where {text.partition('=')[0]}"):
        Condition.parse(text)


def test_lists_and_objects_become_text_and_other_values_stay():
    assert [flat_value(value) for value in (["s"], ["a", "b"], {"a": 0.5, "b": 2.0}, 1, None)] == [
        *("s", "a,b", "a=0.5,b=2.0", 1, None)
    ]


def test_rows_without_a_value_come_last_in_both_directions():
    rows = [{"steps": 2}, {"steps": None}, {"steps": 10}]
    assert [row["steps"] for row in sort_rows(rows, "steps")] == [2, 10, None]
    assert [row["steps"] for row in sort_rows(rows, "-steps")] == [10, 2, None]


def test_groups_have_the_median_and_the_extremes_of_their_best_losses():
    losses = [("gru", 1.5), ("gru", 1.25), ("gru", 1.0), ("lstm", 1.125), ("lstm", None)]
    rows = [{"cell": cell, "best_val_loss": loss} for cell, loss in losses]
    assert group_rows(rows, ["cell"]) == [
        {"cell": "lstm", "runs": 1, "median": 1.125, "least": 1.125, "greatest": 1.125},
        {"cell": "gru", "runs": 3, "median": 1.25, "least": 1.0, "greatest": 1.5},
    ]
