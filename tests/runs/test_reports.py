"""The JSON files of a run: what is written is read unchanged, and damage is reported with the file and the name."""

import json

import pytest

from charrnn.errors import RunError
from charrnn.options import ModelOptions, RunConfig
from charrnn.runs import reports
from charrnn.runs.directory import Run
from charrnn.runs.files import append_line, dump_json
from charrnn.runs.reports import Metrics, Result, read_config, read_metrics, read_result

from .conftest import METRICS, OPTIONS, RESULT


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def make_config(**changes):
    return RunConfig.from_options(["corpus.txt"], OPTIONS | changes).to_dict()


def assert_damaged(path, read, reason):
    with pytest.raises(RunError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: damaged: {reason}"


def test_reports_are_read_as_they_were_written(run):
    append_line(run.metrics, dump_json(METRICS.to_dict()))
    run.write_json(run.result, RESULT.to_dict())
    assert list(read_metrics(run.metrics)) == [METRICS.to_dict()]
    assert read_result(run.result) == RESULT.to_dict()
    assert Metrics.from_dict(METRICS.to_dict()) == METRICS


def test_scores_are_values_of_a_report_with_a_prefix():
    values = METRICS.to_dict()
    assert {name: value for name, value in values.items() if name.startswith("val")} == {
        "val_loss": 1.5,
        "val_bpc": 2.2,
        "val_accuracy": 0.5,
        "val_rmse": None,
    }
    assert list(values) == Metrics.names()
    assert list(RESULT.to_dict()) == Result.names()


def test_an_incomplete_last_line_of_the_metrics_is_ignored(run):
    append_line(run.metrics, dump_json(METRICS.to_dict()))
    with run.metrics.open("a") as file:
        file.write('{"step": 14, "epo')
    assert list(read_metrics(run.metrics)) == [METRICS.to_dict()]


def test_a_run_without_metrics_has_no_evaluations(run):
    assert list(read_metrics(run.metrics)) == []


def test_the_metrics_of_a_long_run_are_read_one_by_one(run, monkeypatch):
    """The whole file may be larger than the limit of a line."""
    monkeypatch.setattr(reports, "MAX_SIZE", 1000)
    rows = [METRICS.to_dict() | {"step": n, "val_rmse": {"a": 1.0} if n % 2 else None} for n in range(50)]
    run.metrics.write_text("".join(dump_json(row) + "\n" for row in rows))
    assert run.metrics.stat().st_size > 10 * reports.MAX_SIZE
    assert list(read_metrics(run.metrics)) == rows
    assert next(read_metrics(run.metrics)) == rows[0]
    with run.metrics.open("a") as file:
        file.write(1000 * " ")
    assert_damaged(run.metrics, lambda path: list(read_metrics(path)), "line 50: the line is too long")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step": -1}, "step -1: must be at least 0"),
        ({"step": "7"}, "setting 'step' is '7': must be of type int"),
        ({"seconds": float("nan")}, "seconds nan: must be a finite number"),
        ({"extra": 1}, "unknown setting 'extra'"),
        ({"val_loss": None, "val_rmse": 3}, "setting 'rmse' is 3: must be of type dict"),
    ],
)
def test_damaged_metrics_are_reported_with_file_and_line(run, changes, reason):
    append_line(run.metrics, dump_json(METRICS.to_dict()))
    append_line(run.metrics, json.dumps(METRICS.to_dict() | changes))
    assert_damaged(run.metrics, lambda path: list(read_metrics(path)), f"line 2: {reason}")


def test_a_line_that_is_not_an_object_is_reported_with_its_number(run):
    run.metrics.write_text("[1]\n")
    assert_damaged(run.metrics, lambda path: list(read_metrics(path)), "line 1: expected an object with named values")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "lost"}, "status lost: not one of completed, early_stopped, interrupted, diverged"),
        ({"steps": 1.5}, "setting 'steps' is 1.5: must be of type int"),
        ({"val_words": 1}, "unknown setting 'val_words'"),
    ],
)
def test_a_damaged_result_is_refused(run, changes, reason):
    run.result.write_text(json.dumps(RESULT.to_dict() | changes))
    assert_damaged(run.result, read_result, reason)


def test_a_configuration_is_read_as_it_was_written(run):
    run.write_json(run.config, make_config(cell="gru"))
    config = read_config(run.config)
    assert config.to_dict() == make_config(cell="gru")
    assert config.model == ModelOptions(cell="gru")


@pytest.mark.parametrize(
    "name", ["batch_size", "seq_length", "learning_rate", "dropout", "recurrent_dropout", "workers"]
)
def test_a_configuration_must_have_a_value_for_each_option_that_has_no_fixed_default(run, name):
    run.write_json(run.config, make_config(**{name: None}))
    assert_damaged(run.config, read_config, f"{name} has no value")


def test_a_configuration_must_have_a_budget(run):
    run.write_json(run.config, make_config(max_steps=None))
    assert_damaged(run.config, read_config, "none of max_steps, max_epochs, max_minutes has a value")


@pytest.mark.parametrize(
    ("corpus", "reason"),
    [
        ([], "the corpus is not a list of paths"),
        ("corpus.txt", "the corpus is not a list of paths"),
        ([1], "not a path: 1"),
        (["a\0b"], "not a path: a\\x00b"),
    ],
)
def test_a_configuration_with_a_corpus_that_cannot_be_paths_is_refused(run, corpus, reason):
    run.write_json(run.config, make_config() | {"corpus": corpus})
    assert_damaged(run.config, read_config, reason)


def test_a_report_with_a_missing_value_is_refused_with_its_name(run):
    for name in Metrics.names():
        values = METRICS.to_dict()
        del values[name]
        run.metrics.write_text(dump_json(values) + "\n")
        assert_damaged(run.metrics, lambda path: list(read_metrics(path)), f"line 1: {name} is missing")


def test_a_configuration_with_an_unknown_group_is_refused(run):
    run.write_json(run.config, make_config() | {"text": {}})
    assert_damaged(run.config, read_config, "unknown setting 'text'")


def test_a_configuration_without_a_group_is_refused_with_its_name(run):
    config = make_config()
    del config["model"]
    run.write_json(run.config, config)
    assert_damaged(run.config, read_config, "'model' is missing")
