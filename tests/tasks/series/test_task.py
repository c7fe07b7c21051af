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
    return "".join(f"{n},{n * n % 7},{last}\n" for n in range(number))


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
    ("texts", "message"),
    [
        (["a,b\n1,2\n2,3\n", "a,c\n1,2\n2,3\n"], "the columns differ from those of"),
        (["a,b\n1,2\n"], "only one row"),
        (["a,b\n1,2\n3,x\n"], "row 2, column b: 'x' is not a number"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, texts, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, *texts)


def test_a_notice_says_that_nothing_is_validated(tmp_path):
    task = read(tmp_path, "a,b,c\n" + rows(3))
    assert not task.has_validation and task.validation_pass(1, 2) is None
    assert "too few rows to validate on" in task.notices[0]
