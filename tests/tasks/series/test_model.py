"""A trained model of a series: predictions, forecasts and evaluations."""

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.nn.parameters import count_parameters
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.series import model as series_model
from charrnn.tasks.series import sequences
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster

ROWS = np.stack([np.arange(20.0), 5 + np.sin(np.arange(20))], axis=1)
LABELS = ["xyz"[n % 3] for n in range(20)]


@pytest.fixture
def tabulate(make_table):
    """Makes a table of ROWS, or of other rows, with labels if they are given."""

    def make(labels=None, rows=ROWS):
        if labels is None:
            return make_table("a,b", rows.tolist())
        return make_table("a,b,label", [[*row, labels[n]] for n, row in enumerate(ROWS.tolist())], keep_texts=["label"])

    return make


def make_model(table, targets=(), cell="lstm", **options):
    """A model with random parameters."""
    columns = Columns.from_tables([table], [len(table)], list(table.names), list(targets), **options)
    architecture = columns.architecture(ModelOptions(cell, 6, 2))
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(architecture.specs()))
    return Forecaster(Checkpoint(architecture, {"name": "series", **columns.to_dict()}, flat))


@pytest.mark.parametrize("cell", CELLS)
def test_a_forecast_is_a_sequence_of_predictions_of_the_next_row(cell, tabulate):
    model = make_model(tabulate(), cell=cell)
    rows = ROWS
    for _ in range(4):
        rows = np.concatenate([rows, model.predict_rows(rows)[-1:]])
    np.testing.assert_allclose(model.forecast(ROWS, 4), rows[-4:], rtol=1e-6)


def test_a_forecast_with_history_reads_the_given_columns_and_its_own_predictions(tabulate):
    model = make_model(tabulate(), ["b"])
    rows = ROWS.copy()
    rows[16:, 1] = np.nan
    predicted = model.predict_rows(rows)
    assert np.isnan(predicted[0]).all() and np.isfinite(predicted[1:]).all()
    np.testing.assert_allclose(model.forecast(rows, 4), predicted[16:])
    np.testing.assert_allclose(model.forecast(rows, 2), predicted[16:18])
    for n in range(16, 20):  # one row at a time
        rows[n, 1] = model.predict_rows(rows[: n + 1])[n, 0]
    np.testing.assert_allclose(rows[16:, 1:], predicted[16:], rtol=1e-6)
    with pytest.raises(UsageError, match=r"--steps 5: 4 rows follow the last .* value of b \(append rows with a"):
        model.forecast(np.where(np.arange(20)[:, None] < [20, 16], ROWS, np.nan), 5)


def test_predictions_do_not_depend_on_how_many_steps_are_read_at_a_time(monkeypatch, tabulate):
    models = [make_model(tabulate()), make_model(tabulate(LABELS), ["label"])]
    expected = [model.predict_rows(ROWS) for model in models]
    forecast = models[0].forecast(ROWS, 3)
    monkeypatch.setattr(series_model, "MAX_SEQ_LENGTH", 7)
    np.testing.assert_allclose(models[0].predict_rows(ROWS), expected[0], rtol=1e-10)
    np.testing.assert_allclose(models[0].forecast(ROWS, 3), forecast, rtol=1e-10)
    assert models[1].predict_rows(ROWS) == expected[1]


def test_several_readers_of_a_long_series_agree_with_one_reader(monkeypatch, tabulate):
    rows = np.stack([np.sin(np.arange(300.0)), np.cos(np.arange(300) / 3)], axis=1)
    model = make_model(tabulate(rows=rows), cell="gru")
    model.parameters *= 0.3
    expected = model.predict_rows(rows)
    monkeypatch.setattr(sequences, "WARMUP", 60)
    assert sequences.SequencePass(model.columns.records([tabulate(rows=rows)], [slice(None)]), 32, 60).steps == 2
    np.testing.assert_allclose(model.predict_rows(rows), expected, atol=1e-6)


def test_the_evaluation_compares_predictions_with_the_next_rows(tabulate):
    model = make_model(tabulate())
    result = model.evaluate_tables([tabulate()], [slice(5, None)])
    errors = (model.predict_rows(ROWS)[:-1] - ROWS[1:])[4:]
    last_errors = (ROWS[1:] - ROWS[:-1])[4:]
    assert result["rows"] == 15
    for n, column in enumerate("ab"):
        assert result["rmse"][column] == pytest.approx(np.sqrt(np.square(errors[:, n]).mean()))
        assert result["mae"][column] == pytest.approx(np.abs(errors[:, n]).mean())
        assert result["rmse_of_last"][column] == pytest.approx(np.sqrt(np.square(last_errors[:, n]).mean()))
    expected_loss = 0.5 * np.square(errors / model.columns.output_scale.std).mean()
    assert result["loss"] == pytest.approx(expected_loss)


@pytest.mark.parametrize("history", [True, False])
def test_the_first_row_is_evaluated_only_without_history(history, tabulate):
    assert make_model(tabulate()).evaluate_tables([tabulate()], [slice(None)])["rows"] == 19
    model = make_model(tabulate(), ["b"], history=history)
    result = model.evaluate_tables([tabulate()], [slice(None)])
    assert result["rows"] == 20 - history
    inputs = ROWS if history else ROWS[:, :1]
    errors = (model.predict_rows(inputs) - ROWS[:, 1:])[history:]
    assert result["rmse"] == {"b": pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)}
    assert result["rmse_of_last"] == {"b": pytest.approx(np.sqrt(np.square(np.diff(ROWS[:, 1])).mean()))}


def test_a_mean_over_no_rows_is_none(tabulate, make_table):
    model = make_model(tabulate(), ["b"], history=False)
    with np.errstate(all="raise"):
        result = model.evaluate_tables([make_table("a,b", [[1, 2]])], [slice(None)])
        assert (result["rows"], result["rmse_of_last"]) == (1, None)
        assert set(model.evaluate_tables([tabulate()], [slice(0, 0)]).values()) == {0, None}


def test_the_evaluation_of_labels(tabulate):
    model = make_model(tabulate(LABELS), ["label"])
    result = model.evaluate_tables([tabulate(LABELS)], [slice(None)])
    predicted = model.predict_rows(ROWS)
    assert set(predicted) <= set(LABELS)
    assert result["accuracy"] == np.mean([a == b for a, b in zip(predicted, LABELS, strict=True)])
    right = model.evaluate_tables([tabulate(predicted)], [slice(None)])
    assert (right["rows"], right["accuracy"]) == (20, 1)
    assert right["loss"] < result["loss"]


def test_rows_with_an_unknown_label_are_counted_and_not_scored(tabulate):
    model = make_model(tabulate(LABELS), ["label"])
    known = model.evaluate_tables([tabulate(LABELS)], [slice(0, 10)])
    result = model.evaluate_tables([tabulate([*LABELS[:10], *["new"] * 10])], [slice(None)])
    assert result == known | {"unknown_rows": 10}
    assert known["rows"] == 10
    expected = {"rows": 0, "unknown_rows": 20, "loss": None, "accuracy": None}
    assert model.evaluate_tables([tabulate(["new"] * 20)], [slice(None)]) == expected


def test_tables_are_predicted_row_by_row_or_continued(tmp_path, tabulate):
    (tmp_path / "t.csv").write_text("b,more,a\n" + "".join(f"{b!r},x,{a!r}\n" for a, b in ROWS.tolist()))
    path = str(tmp_path / "t.csv")
    model = make_model(tabulate())
    names, rows = model.predict_table(path, None)
    assert names == ("a", "b")
    np.testing.assert_allclose(rows, model.predict_rows(ROWS), atol=1e-6)
    _, rows = model.predict_table(path, 3)
    np.testing.assert_allclose(rows, model.forecast(ROWS, 3), atol=1e-6)
    labels = make_model(tabulate(LABELS), ["label"])
    names, rows = labels.predict_table(path, None)
    assert (names, rows) == (("label",), [[label] for label in labels.predict_rows(ROWS)])


@pytest.mark.parametrize("missing", ["error", "drop", "previous", "mean"])
def test_the_last_rows_of_a_table_can_be_without_targets(tmp_path, missing, tabulate):
    lines = [f"{a!r};{b!r}" if n < 16 else f"{a!r};" for n, (a, b) in enumerate(ROWS.tolist())]
    (tmp_path / "t.csv").write_text("\n".join(["a;b", *lines]).replace(".", ","))
    model = make_model(tabulate(), ["b"], missing=missing)
    names, rows = model.predict_table(str(tmp_path / "t.csv"), None)
    assert names == ("b",) and len(rows) == 20 and rows[0] == [None]
    known = np.where(np.arange(20)[:, None] < [20, 16], ROWS, np.nan)
    np.testing.assert_allclose(rows[1:], model.predict_rows(known)[1:], atol=1e-6)
    assert model.predict_table(str(tmp_path / "t.csv"), 4)[1] == rows[16:]


def test_a_row_that_is_left_out_has_no_prediction(tmp_path, tabulate):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{'' if n == 5 else a},{b}\n" for n, (a, b) in enumerate(ROWS)))
    model = make_model(tabulate(), ["b"], missing="drop")
    _, rows = model.predict_table(str(tmp_path / "t.csv"), None)
    assert [n for n, row in enumerate(rows) if row == [None]] == [0, 5]
    np.testing.assert_allclose(rows[6:], model.predict_rows(np.delete(ROWS, 5, axis=0))[5:], atol=1e-6)
    assert model.evaluate_file(EvaluationFile(str(tmp_path / "t.csv")))["rows"] == 18


def test_invalid_rows_and_tables_are_refused(tmp_path, tabulate):
    model = make_model(tabulate())
    for rows in (ROWS[:, :1], ROWS[0], ROWS[:0]):
        with pytest.raises(CorpusError, match="the model needs rows of 2 numbers: a, b"):
            model.predict_rows(rows)
    with pytest.raises(CorpusError, match="not finite"):
        model.predict_rows([[1, np.nan]])
    history = make_model(tabulate(), ["b"])
    with pytest.raises(CorpusError, match="no row has a value of b"):
        history.predict_rows([[1, np.nan]])
    with pytest.raises(UsageError, match="leave --steps out"):
        make_model(tabulate(), ["b"], history=False).forecast(ROWS[:, :1], 3)
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CorpusError, match=r"one\.csv: only one row has a value"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "one.csv")))
    (tmp_path / "other.csv").write_text("a,c\n1,2\n2,3\n")
    with pytest.raises(CorpusError, match=r"other\.csv: no column b, which the model reads \(its columns are a, c\)"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "other.csv")))
    with pytest.raises(CorpusError, match=r"other\.csv: no row has a value of b"):
        history.predict_table(str(tmp_path / "other.csv"), None)
    (tmp_path / "hole.csv").write_text("a,b\n1,2\n2,\n3,4\n")
    with pytest.raises(CorpusError, match=r"hole\.csv, line 3, column b: the value is missing"):
        model.predict_table(str(tmp_path / "hole.csv"), None)
