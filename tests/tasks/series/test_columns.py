"""The columns of a series: inputs, targets, labels and scales."""

import json

import numpy as np
import pytest

from charrnn.corpus.numbers import Table
from charrnn.errors import CorpusError, UsageError
from charrnn.options import ModelOptions
from charrnn.tasks.series.columns import Columns

CELLS = [[str(n), str(n * n % 7), "xy"[n % 3 == 0]] for n in range(9)]
TABLE = Table("t.csv", ("a", "b", "c"), CELLS)
NUMBERS = Table("t.csv", ("a", "b"), [row[:2] for row in CELLS])


def test_without_targets_the_change_to_the_next_row_is_predicted():
    columns = Columns.from_tables([NUMBERS], [9], [])
    assert (columns.inputs, columns.outputs) == (("a", "b"), ("a", "b"))
    records = columns.records([NUMBERS], [slice(3, None)])
    values = NUMBERS.numbers(["a", "b"])
    np.testing.assert_allclose(columns.input_scale.invert(records.x), values[:-1], atol=1e-6)
    np.testing.assert_allclose(columns.output_scale.invert(records.targets), np.diff(values, axis=0), atol=1e-6)
    assert records.loss_mask.tolist() == [False] * 2 + [True] * 6  # row 3 is predicted at row 2
    assert columns.output_scale.std[0] == 1  # column a always changes by 1


def test_target_columns_are_predicted_from_the_same_row():
    columns = Columns.from_tables([NUMBERS], [9], ["b"])
    assert (columns.inputs, columns.outputs) == (("a",), ("b",))
    records = columns.records([NUMBERS], [slice(3, 5)])
    np.testing.assert_allclose(columns.output_scale.invert(records.targets), NUMBERS.numbers(["b"]), atol=1e-6)
    assert records.loss_mask.tolist() == [False] * 3 + [True] * 2 + [False] * 4
    architecture = columns.architecture(ModelOptions())
    assert (architecture.input, architecture.loss) == ("numbers", "squared")
    assert (architecture.input_size, architecture.output_size) == (1, 1)


def test_a_target_column_of_texts_has_labels():
    columns = Columns.from_tables([TABLE], [9], ["c"])
    assert (columns.inputs, columns.labels, columns.output_scale) == (("a", "b"), ("x", "y"), None)
    records = columns.records([TABLE], [slice(None)])
    assert [columns.labels[n] for n in records.targets] == [row[2] for row in CELLS]
    architecture = columns.architecture(ModelOptions())
    assert (architecture.loss, architecture.output_size) == ("softmax", 2)


def test_unknown_labels_are_not_scored():
    columns = Columns.from_tables([TABLE], [9], ["c"])
    table = Table("t.csv", TABLE.columns, [["1", "2", "new"], ["2", "3", "x"]])
    assert columns.label_ids(table).tolist() == [-1, 0]
    assert columns.records([table], [slice(None)]).loss_mask.tolist() == [False, True]


def test_scales_are_those_of_the_training_rows():
    columns = Columns.from_tables([NUMBERS, NUMBERS], [3, 2], ["b"])
    assert columns.input_scale.mean.tolist() == [np.mean([0, 1, 2, 0, 1])]
    assert columns.output_scale.mean.tolist() == [np.mean([0, 1, 4, 0, 1])]


def test_constant_changes_are_not_scaled_up_because_of_their_rounding_errors():
    table = Table("t.csv", ("a",), [[repr(1000 + 0.001 * n)] for n in range(100)])
    assert Columns.from_tables([table], [100], []).output_scale.std.tolist() == [1]


@pytest.mark.parametrize(
    ("table", "targets", "error", "message"),
    [
        (NUMBERS, ["z"], UsageError, "--target z: no such column"),
        (NUMBERS, ["b", "b"], UsageError, "--target b: given more than once"),
        (NUMBERS, ["a", "b"], UsageError, "no column is left"),
        (TABLE, ["b", "c"], UsageError, "--target c: a column of labels must be the only target"),
        (TABLE, [], CorpusError, "row 1, column c: 'y' is not a number"),
        (Table("t.csv", ("a", "c"), [["1", "x"]]), ["c"], CorpusError, "only one label: 'x'"),
    ],
)
def test_invalid_targets_are_refused(table, targets, error, message):
    with pytest.raises(error, match=message):
        Columns.from_tables([table], [len(table.cells)], targets)


@pytest.mark.parametrize("targets", [[], ["b"], ["c"]])
def test_metadata_survive_json(targets):
    columns = Columns.from_tables([TABLE if targets == ["c"] else NUMBERS], [9], targets)
    values = json.loads(json.dumps(columns.to_dict()))
    assert Columns.from_dict(values).to_dict() == values


@pytest.mark.parametrize(
    "damage", [{"columns": []}, {"columns": ["a", "a"]}, {"scale": None}, {"output_scale": {"mean": [0], "std": [0]}}]
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises((ValueError, TypeError, KeyError)):
        Columns.from_dict(Columns.from_tables([NUMBERS], [9], ["b"]).to_dict() | damage)
