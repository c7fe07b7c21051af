"""The columns of a series: inputs, targets, labels, missing values and scales."""

import json

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.options import ModelOptions
from charrnn.tasks.series.columns import Columns, complete_rows

ROWS = [[n, n * n % 7, "xy"[n % 3 == 0]] for n in range(9)]
MISSING = [[1, ""], [2, 5], ["", 7], [8, ""], [9, 3]]


@pytest.fixture
def table(make_table):
    """Two columns of numbers and one of labels."""
    return make_table("a,b,c", ROWS, keep_texts=["c"])


def columns_of(table, names, targets=(), rows=9, **options):
    return Columns.from_tables([table], [rows], list(names), list(targets), **options)


def test_without_targets_the_change_to_the_next_row_is_predicted(table):
    columns = columns_of(table, "ab")
    assert (columns.inputs, columns.targets, columns.others) == (("a", "b"), ("a", "b"), ())
    records = columns.records([table], [slice(3, None)])
    values = table.numbers(["a", "b"])
    np.testing.assert_allclose(columns.input_scale.invert(records.x), values[:-1], atol=1e-6)
    np.testing.assert_allclose(columns.output_scale.invert(records.targets), np.diff(values, axis=0), atol=1e-6)
    assert records.loss_mask.tolist() == [False] * 2 + [True] * 6  # row 3 is predicted at row 2
    assert columns.output_scale.std[0] == 1  # column a always changes by 1
    assert columns.target_scale.std.tolist() == columns.input_scale.std.tolist()


def test_with_history_a_step_reads_the_target_of_the_row_before(table):
    columns = columns_of(table, "ba", ["b"])
    assert (columns.inputs, columns.targets, columns.others) == (("a", "b"), ("b",), ("a",))
    records = columns.records([table], [slice(3, 5)])
    values = table.numbers(["a", "b"])
    inputs = np.stack([values[1:, 0], values[:-1, 1]], axis=1)
    np.testing.assert_allclose(columns.input_scale.invert(records.x), inputs, atol=1e-6)
    np.testing.assert_allclose(columns.output_scale.invert(records.targets)[:, 0], np.diff(values[:, 1]), atol=1e-6)
    assert records.loss_mask.tolist() == [False] * 2 + [True] * 2 + [False] * 4
    assert columns.architecture(ModelOptions()).input_size == 2


def test_without_history_target_columns_are_predicted_from_the_same_row(table):
    columns = columns_of(table, "ab", ["b"], history=False)
    assert (columns.inputs, columns.targets) == (("a",), ("b",))
    records = columns.records([table], [slice(3, 5)])
    np.testing.assert_allclose(columns.output_scale.invert(records.targets), table.numbers(["b"]), atol=1e-6)
    assert records.loss_mask.tolist() == [False] * 3 + [True] * 2 + [False] * 4
    architecture = columns.architecture(ModelOptions())
    assert (architecture.input, architecture.loss) == ("numbers", "squared")
    assert (architecture.input_size, architecture.output_size) == (1, 1)


def test_a_target_column_of_texts_has_labels(table):
    columns = columns_of(table, "abc", ["c"])
    assert (columns.inputs, columns.labels, columns.output_scale) == (("a", "b"), ("x", "y"), None)
    records = columns.records([table], [slice(None)])
    assert [columns.labels[n] for n in records.targets] == [row[2] for row in ROWS]
    architecture = columns.architecture(ModelOptions())
    assert (architecture.loss, architecture.output_size) == ("softmax", 2)


def test_unknown_labels_are_not_scored(table, make_table):
    columns = columns_of(table, "abc", ["c"])
    other = make_table("a,b,c", [[1, 2, "new"], [2, 3, "x"]], keep_texts=["c"])
    assert columns.label_ids(other).tolist() == [-1, 0]
    assert columns.records([other], [slice(None)]).loss_mask.tolist() == [False, True]


def test_scales_are_those_of_the_training_rows(table):
    columns = Columns.from_tables([table, table], [3, 2], ["a", "b"], ["b"], history=False)
    assert columns.input_scale.mean.tolist() == [np.mean([0, 1, 2, 0, 1])]
    assert columns.output_scale.mean.tolist() == [np.mean([0, 1, 4, 0, 1])]


def test_constant_changes_are_not_scaled_up_because_of_their_rounding_errors(make_table):
    table = make_table("a", [[1000 + 0.001 * n] for n in range(100)])
    assert columns_of(table, "a", rows=100).output_scale.std.tolist() == [1]


@pytest.mark.parametrize(
    ("names", "targets", "options", "error", "message"),
    [
        ("ab", "ab", {"history": False}, UsageError, "no column is left .*leave --no-target-history out"),
        ("c", "c", {}, UsageError, "no column is left to predict from$"),
        ("abc", "bc", {}, UsageError, "--target c: a column of labels must be the only target"),
        ("abc", "", {}, CorpusError, "line 2, column c: 'y' is not a number .*--ignore c"),
    ],
)
def test_invalid_targets_are_refused(table, names, targets, options, error, message):
    with pytest.raises(error, match=message):
        columns_of(table, names, targets, **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [("xxxxx", "only one label: 'x'"), ("abcdef", "6 different labels in 6 rows .*'a' is not a number")],
)
def test_labels_must_be_few_and_different(make_table, labels, message):
    table = make_table("a,c", enumerate(labels), keep_texts=["c"])
    with pytest.raises(CorpusError, match=message):
        columns_of(table, "ac", "c")


def test_a_missing_value_is_refused_by_default_and_the_message_names_the_options(make_table):
    with pytest.raises(CorpusError, match=r"line 2, column b: the value is missing \(train with --missing .*--ignore"):
        columns_of(make_table("a,b", MISSING), "ab", rows=5)
    with pytest.raises(CorpusError, match=r"line 3, column c: the value is missing"):
        columns_of(make_table("a,c", [[1, "x"], [2, ""], [3, "y"], [4, "x"]], keep_texts=["c"]), "ac", "c", rows=4)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("previous", [[1, 5.5], [2, 5], [2, 7], [8, 7], [9, 3]]),
        ("mean", [[1, 5], [2, 5], [5, 7], [8, 5], [9, 3]]),
    ],
)
def test_missing_values_are_replaced(make_table, missing, expected):
    table = make_table("a,b", MISSING)
    columns = columns_of(table, "ab", rows=5, missing=missing)
    np.testing.assert_allclose(columns.input_scale.mean, np.mean(expected, axis=0))
    np.testing.assert_allclose(columns.inputs_of(table), expected)
    assert columns.inputs_of(table, known_rows=2).shape == (5, 2)
    assert np.isnan(columns.inputs_of(table, known_rows=2)[2:]).all()


def test_a_row_without_a_target_is_not_scored(make_table):
    table = make_table("b,a", MISSING)
    for history in (True, False):
        columns = columns_of(table, "ba", "a", rows=5, missing="mean", history=history)
        expected = [False, True, True, False, True]
        assert columns.records([table], [slice(None)]).loss_mask.tolist() == expected[history:]


def test_rows_are_complete_if_all_their_values_are_there(make_table):
    table = make_table("a,c", [[1, "x"], ["", "y"], [3, ""], [4, "nan"]], keep_texts=["c"])
    assert complete_rows(table, ["a"], ["c"]).tolist() == [True, False, False, True]


def test_a_column_without_values_in_the_training_part_is_refused(make_table):
    table = make_table("a,b", [[1, ""], [2, ""], [3, ""], [4, 5]])
    with pytest.raises(CorpusError, match=r"column b has no value in the training part \(use --ignore b"):
        columns_of(table, "ab", rows=3, missing="mean")


@pytest.mark.parametrize(("names", "targets"), [("ab", ""), ("ab", "b"), ("abc", "c")])
@pytest.mark.parametrize("history", [True, False])
def test_metadata_survive_json(table, names, targets, history):
    columns = columns_of(table, names, targets, history=history)
    values = json.loads(json.dumps(columns.to_dict()))
    read = Columns.from_dict(values)
    assert read.to_dict() == values
    assert (read.has_history, read.others) == (columns.has_history, columns.others)


@pytest.mark.parametrize(
    "damage",
    [
        {"columns": []},
        {"columns": ["a", "a"]},
        {"columns": ["b", "a"]},
        {"targets": []},
        {"targets": ["b", "c"]},
        {"missing": "guess"},
        {"scale": None},
        {"output_scale": {"mean": [0], "std": [0]}},
    ],
)
def test_damaged_metadata_are_refused(table, damage):
    with pytest.raises((ValueError, TypeError, KeyError)):
        Columns.from_dict(columns_of(table, "ab", "b").to_dict() | damage)
