"""The task of a series: how tables are split by time, and what a validation reports."""

import json

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.registry import read_task
from charrnn.tasks.series.model import Forecaster


def read(tmp_path, *texts, **options):
    paths = []
    for n, text in enumerate(texts):
        path = tmp_path / f"{n}.csv"
        path.write_text(text)
        paths.append(str(path))
    return read_task(RunConfig.from_options(paths, {"task": "series", "hidden_size": 4} | options))


def rows(number, last="1"):
    return "".join(f"{n * n % 5},{n * n % 7},{last}\n" for n in range(number))


def checkpoint(task):
    config = RunConfig.from_options(["-"], {"hidden_size": 4})
    architecture = task.architecture(config.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))


def test_each_table_is_split_by_time(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(50), "a,b,c\n" + rows(20), val_fraction=0.1, test_fraction=0.2)
    assert task.split_points == [(35, 40), (14, 16)]
    assert task.training_size == 34 + 13  # the last row of each table has no next row
    val = task.validation_pass(2, 64)
    assert val.predictions == 5 + 2
    assert (
        "2 files, 3 columns, predicts the next row; 49 rows to train on, 7 to validate, 14 to test" in task.describe()
    )


def test_a_validation_reports_errors_in_the_units_of_the_columns(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(50), target=["b"])
    scores = task.scores(np.array([0.5, 4.0]))
    assert (scores.loss, scores.bpc, scores.accuracy) == (0.5, None, None)
    assert scores.rmse == {"b": pytest.approx(2 * task.columns.output_scale.std[0])}
    model = Forecaster(checkpoint(task))
    network = model.backend.network(model.architecture, model.parameters, 1, 64)
    val = task.validation_pass(1, 64)
    state = np.zeros(model.architecture.state_shape(1), np.float32)
    sums = sum(network.sums(val.batch(step), state) for step in range(val.steps))
    result = model.evaluate_tables(task.tables, [slice(*task.split_points[0])])
    scores = task.scores(sums / val.predictions)
    assert scores.loss == pytest.approx(result["loss"], rel=1e-5)
    assert scores.rmse == pytest.approx(result["rmse"], rel=1e-5)


def test_a_validation_of_labels_reports_their_accuracy(tmp_path):
    labels = "".join(f"{n},{'xy'[n % 2]}\n" for n in range(40))
    scores = read(tmp_path, "a,c\n" + labels, target=["c"]).scores(np.array([0.5, 0.75]))
    assert (scores.loss, scores.accuracy, scores.rmse) == (0.5, 0.75, None)


@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
def test_a_preview_is_an_evaluation_even_without_validation(tmp_path, val_fraction):
    task = read(tmp_path, "a,b,c\n" + rows(20), val_fraction=val_fraction)
    with np.errstate(all="raise"):
        result = json.loads(task.preview(checkpoint(task), seed=1))
    assert result["rows"] == (4 if val_fraction else 19)
    assert np.isfinite(result["loss"])


def test_the_test_part_is_evaluated_if_there_is_one(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(20), test_fraction=0.2)
    assert task.evaluate_test(checkpoint(task))["rows"] == 4
    task = read(tmp_path, "a,b,c\n" + rows(20))
    assert task.evaluate_test(checkpoint(task)) is None


def test_a_sequence_length_longer_than_the_data_is_refused_with_the_largest_that_fits(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(20), val_fraction=0.0)
    assert task.fit_batch(None, None) == (32, 19)
    with pytest.raises(UsageError, match="the largest that fits is 19"):
        task.fit_batch(None, 20)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a,b\n1,2\n2,3\n", "a,c\n1,2\n2,3\n"], {}, "no column b, but"),
        (["a,b\n1,2\n"], {}, "only one row has a value in every column"),
        (["a,b\n1,2\n3,x\n"], {}, "line 3, column b: 'x' is not a number"),
        (["a,b\n1,2\n3,\n4,\n"], {"missing": "drop"}, "only one row has a value in every column"),
        (["a;b\n1,5;2\n2,5;3.5\n"], {}, "decimal comma"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, texts, options, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, *texts, **options)


def test_the_user_is_told_how_the_files_are_read(tmp_path):
    lines = "".join(f"2026-01-{n:02d};{n * n % 5},5;{'' if n == 3 else n % 4}\n" for n in range(1, 20))
    texts = ["day;a;b\n" + lines] * 3
    task = read(tmp_path, *texts, missing="drop")
    layout, left_out, dropped = task.notices
    assert layout.endswith("0.csv and 2 more: separated by semicolons, decimal commas")
    assert left_out.startswith("columns left out: day (dates or times)")
    assert dropped == "3 rows are left out, because a value is missing"
    assert [len(table) for table in task.tables] == [18] * 3


def test_with_history_a_target_is_predicted_from_its_past(tmp_path):
    text = "a,b,c\n" + rows(50)
    task = read(tmp_path, text, target=["b"])
    assert (task.columns.inputs, task.columns.targets) == (("a", "c", "b"), ("b",))
    assert "3 columns, predicts b" in task.describe()
    task = read(tmp_path, text, target=["b"], target_history=False)
    assert task.columns.inputs == ("a", "c")
    with pytest.raises(UsageError, match="--no-target-history needs --target"):
        read(tmp_path, text, target_history=False)


def test_a_validation_part_without_known_labels_is_not_validated(tmp_path):
    labels = "".join(f"{n},{'xy'[n % 2] if n < 36 else ''}\n" for n in range(40))
    task = read(tmp_path, "a,c\n" + labels, target=["c"], missing="mean")
    assert task.has_validation
    assert task.validation_pass(4, 16) is None


def test_the_user_is_told_which_labels_cannot_be_learned(tmp_path):
    text = "a,c\n" + "".join(f"{n % 3},{'xyz'[n // 14]}\n" for n in range(40))
    assert read(tmp_path, text, target=["c"], val_fraction=0.3).notices == [
        "labels that do not occur in the training part: z"
    ]
    assert read(tmp_path, text, target=["c"]).notices == []


def test_the_fingerprint_covers_the_values_and_labels_that_are_read(tmp_path):
    def fingerprint(b="1", c="x", d="2"):
        return read(
            tmp_path, "a,b,c,d\n" + f"{b},1,x,3\n2,2,y,2\n3,2,{c},{d}\n" * 4, target=["c"], ignore="d"
        ).fingerprint

    assert fingerprint() == fingerprint(d="7")
    assert len({fingerprint(), fingerprint(b="5"), fingerprint(c="y")}) == 3


def test_a_notice_says_that_nothing_is_validated(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(3))
    assert not task.has_validation and task.validation_pass(1, 2) is None
    assert "too few rows to validate on" in task.notices[0]
