"""A trained model of a series: predictions, forecasts and evaluations."""

import numpy as np
import pytest

from charrnn.corpus.numbers import Table
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.parameters import count_parameters
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.series import model as series_model
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster

ROWS = np.stack([np.arange(20.0), 5 + np.sin(np.arange(20))], axis=1)


def make_table(labels=None):
    columns = ("a", "b") if labels is None else ("a", "b", "label")
    cells = [[*map(repr, row), *([] if labels is None else [labels[n]])] for n, row in enumerate(ROWS.tolist())]
    return Table("t.csv", columns, cells)


def make_model(table, targets, cell="lstm"):
    """A model with random parameters."""
    columns = Columns.from_tables([table], [len(table.cells)], targets)
    architecture = columns.architecture(ModelOptions(cell, 6, 2))
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(architecture.specs()))
    return Forecaster(Checkpoint(architecture, {"name": "series", **columns.to_dict()}, flat))


LABELS = ["xyz"[n % 3] for n in range(20)]


@pytest.mark.parametrize("cell", CELLS)
def test_a_forecast_is_a_sequence_of_predictions_of_the_next_row(cell):
    model = make_model(make_table(), [], cell)
    rows = ROWS
    for _ in range(4):
        rows = np.concatenate([rows, model.predict_rows(rows)[-1:]])
    np.testing.assert_allclose(model.forecast(ROWS, 4), rows[-4:], rtol=1e-6)


def test_predictions_do_not_depend_on_how_many_steps_are_read_at_a_time(monkeypatch):
    models = [make_model(make_table(), []), make_model(make_table(LABELS), ["label"])]
    expected = [model.predict_rows(ROWS) for model in models]
    monkeypatch.setattr(series_model, "MAX_SEQ_LENGTH", 7)
    np.testing.assert_allclose(models[0].predict_rows(ROWS), expected[0], rtol=1e-10)
    assert models[1].predict_rows(ROWS) == expected[1]


def test_the_evaluation_compares_predictions_with_the_next_rows():
    model = make_model(make_table(), [])
    result = model.evaluate_tables([make_table()], [slice(5, None)])
    errors = (model.predict_rows(ROWS)[:-1] - ROWS[1:])[4:]
    last_errors = (ROWS[1:] - ROWS[:-1])[4:]
    assert result["rows"] == 15
    for n, column in enumerate("ab"):
        assert result["rmse"][column] == pytest.approx(np.sqrt(np.square(errors[:, n]).mean()))
        assert result["mae"][column] == pytest.approx(np.abs(errors[:, n]).mean())
        assert result["rmse_of_last"][column] == pytest.approx(np.sqrt(np.square(last_errors[:, n]).mean()))
    expected_loss = 0.5 * np.square(errors / model.columns.output_scale.std).mean()
    assert result["loss"] == pytest.approx(expected_loss)


def test_the_first_row_is_evaluated_only_with_targets():
    assert make_model(make_table(), []).evaluate_tables([make_table()], [slice(None)])["rows"] == 19
    model = make_model(make_table(), ["b"])
    result = model.evaluate_tables([make_table()], [slice(None)])
    assert result["rows"] == 20
    errors = model.predict_rows(ROWS[:, :1]) - ROWS[:, 1:]
    assert result["rmse"] == {"b": pytest.approx(np.sqrt(np.square(errors).mean()))}


def test_a_single_row_with_targets_has_no_error_of_repeating_the_last_value():
    model = make_model(make_table(), ["b"])
    table = Table("t.csv", ("a", "b"), [["1", "2"]])
    with np.errstate(all="raise"):
        result = model.evaluate_tables([table], [slice(None)])
    assert (result["rows"], result["rmse_of_last"]) == (1, None)


def test_the_evaluation_of_labels():
    model = make_model(make_table(LABELS), ["label"])
    result = model.evaluate_tables([make_table(LABELS)], [slice(None)])
    predicted = model.predict_rows(ROWS)
    assert set(predicted) <= set(LABELS)
    assert result["accuracy"] == np.mean([a == b for a, b in zip(predicted, LABELS, strict=True)])
    right = model.evaluate_tables([make_table(predicted)], [slice(None)])
    assert (right["rows"], right["accuracy"]) == (20, 1)
    assert right["loss"] < result["loss"]


def test_unknown_labels_count_as_wrong_and_have_no_part_in_the_loss():
    model = make_model(make_table(LABELS), ["label"])
    known = model.evaluate_tables([make_table(LABELS)], [slice(0, 10)])
    result = model.evaluate_tables([make_table([*LABELS[:10], *["new"] * 10])], [slice(None)])
    assert result["loss"] == pytest.approx(known["loss"])
    assert (result["rows"], result["accuracy"]) == (20, known["accuracy"] / 2)


def test_an_evaluation_with_unknown_labels_only_has_no_loss():
    model = make_model(make_table(LABELS), ["label"])
    assert model.evaluate_tables([make_table(["new"] * 20)], [slice(None)]) == {"rows": 20, "loss": None, "accuracy": 0}


def test_tables_are_predicted_row_by_row_or_continued(tmp_path):
    (tmp_path / "t.csv").write_text("b,a\n" + "".join(f"{b!r},{a!r}\n" for a, b in ROWS.tolist()))
    model = make_model(make_table(), [])
    names, rows = model.predict_table(str(tmp_path / "t.csv"), None)
    assert names == ("a", "b")
    np.testing.assert_array_equal(rows, model.predict_rows(ROWS))
    _, rows = model.predict_table(str(tmp_path / "t.csv"), 3)
    np.testing.assert_array_equal(rows, model.forecast(ROWS, 3))
    labels = make_model(make_table(LABELS), ["label"])
    names, rows = labels.predict_table(str(tmp_path / "t.csv"), None)
    assert (names, rows) == (("label",), [[label] for label in labels.predict_rows(ROWS)])


def test_invalid_rows_and_tables_are_refused(tmp_path):
    model = make_model(make_table(), [])
    for rows in (ROWS[:, :1], ROWS[0], ROWS[:0]):
        with pytest.raises(CorpusError, match="the model needs rows of 2 numbers: a, b"):
            model.predict_rows(rows)
    with pytest.raises(CorpusError, match="not finite"):
        model.predict_rows([[1, np.nan]])
    with pytest.raises(UsageError, match="--target"):
        make_model(make_table(), ["b"]).forecast(ROWS[:, :1], 3)
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CorpusError, match=r"one\.csv: only one row"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "one.csv")))
    (tmp_path / "other.csv").write_text("a,c\n1,2\n2,3\n")
    with pytest.raises(CorpusError, match=r"other\.csv: no column b"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "other.csv")))
