"""The rules by which sizes and dropout are chosen."""

import pytest

from charrnn.models.architecture import Architecture
from charrnn.options import ModelOptions, RunConfig, TrainingOptions
from charrnn.tasks.registry import read_task
from charrnn.training import sizing
from charrnn.training.defaults import TASK_DEFAULTED, default_dropout, resolve_options
from charrnn.training.sizing import CHARS_PER_WEIGHT, EFFICIENCY, SIZES, affordable_size, product_rate


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_largest_size_whose_weights_see_enough_characters(cell, layers, monkeypatch):
    monkeypatch.setattr(sizing, "product_rate", lambda: 1e11)
    for seconds in (0.01, 10, 100, 1000, 1e6):
        shape = {"cell": cell, "num_layers": layers, "input_size": 65, "output_size": 65}
        size = affordable_size(
            lambda size, shape=shape: Architecture(hidden_size=size, **shape), TrainingOptions(workers=2), seconds
        )

        def chars_per_weight(size, flops=2e11 * seconds * EFFICIENCY):
            recurrent = (1 + 2 * (layers - 1)) * {"lstm": 4, "gru": 3, "rnn": 1}[cell] * size**2
            return flops / (6 * (recurrent + 65 * size)) / recurrent

        assert size == SIZES[0] or chars_per_weight(size) >= CHARS_PER_WEIGHT
        assert all(chars_per_weight(larger) < CHARS_PER_WEIGHT for larger in SIZES if larger > size)


def test_the_rate_of_a_product_is_that_of_a_processor():
    assert 1e8 < product_rate() < 1e13


def test_dropout_grows_with_the_model_and_the_epochs_and_falls_with_the_text():
    assert default_dropout(280_000, 1_000_000, 9) == pytest.approx(0.13, abs=0.01)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(560_000, 1_000_000, 9)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(280_000, 1_000_000, 30)
    assert default_dropout(280_000, 100_000_000, 1) <= 0.01
    assert default_dropout(280_000, 4, 1000) == 0.4
    assert default_dropout(280_000, 1_000_000, 0) == 0


@pytest.mark.parametrize(("target", "cell", "rate"), [(None, "gru", 0.002), (["b"], "lstm", 0.008)])
def test_a_task_chooses_what_was_left_open_and_a_small_network_for_little_data(tmp_path, target, cell, rate):
    (tmp_path / "s.csv").write_text("a,b\n" + "1,2\n3,1\n5,2\n" * 30)
    task = read_task(RunConfig.from_options([str(tmp_path / "s.csv")], {"task": "series", "target": target}))
    model, train, notices = resolve_options(ModelOptions(), TrainingOptions(max_steps=9), task, unset=TASK_DEFAULTED)
    assert (model.cell, model.hidden_size, train.learning_rate) == (cell, 16, rate)
    assert "hidden size 16" in notices[0]
    given, _, _ = resolve_options(ModelOptions(cell="rnn"), TrainingOptions(max_steps=9), task)
    assert (given.cell, given.hidden_size) == ("rnn", 256)
