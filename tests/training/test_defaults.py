"""The values that are chosen for options that the user did not give."""

import pytest

from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.options import OPTIMIZERS, ModelOptions, ResolvedTraining, RunConfig, TrainingOptions
from charrnn.tasks.registry import read_task
from charrnn.training import sizing
from charrnn.training.defaults import TASK_DEFAULTED, resolve_options
from charrnn.training.sizing import (
    CHARS_PER_WEIGHT,
    EFFICIENCY,
    SIZES,
    affordable_size,
    default_dropout,
    product_rate,
)

RESOLVED = {
    "batch_size": 4,
    "seq_length": 6,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "workers": 2,
    "val_limit": 50,
}


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_affordable_size_is_the_largest_with_enough_characters_per_weight(cell, layers, monkeypatch):
    monkeypatch.setattr(sizing, "product_rate", lambda: 1e11)
    train = ResolvedTraining(**RESOLVED)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    for seconds in (0.01, 10, 100, 1000, 1e6):
        size = affordable_size(
            lambda size: Architecture(cell, size, layers, input_size=65, output_size=65), train, seconds
        )

        def chars_per_weight(size, seconds=seconds):
            recurrent_weights = (1 + 2 * (layers - 1)) * gates * size**2
            operations = 2e11 * seconds * EFFICIENCY
            return operations / (6 * (recurrent_weights + 65 * size)) / recurrent_weights

        assert size == SIZES[0] or chars_per_weight(size) >= CHARS_PER_WEIGHT
        assert all(chars_per_weight(larger) < CHARS_PER_WEIGHT for larger in SIZES if larger > size)


def test_the_measured_rate_of_a_product_is_plausible_for_a_processor():
    assert 1e8 < product_rate() < 1e13


def test_default_dropout_rises_with_weights_and_epochs_and_falls_with_the_length_of_the_text():
    assert default_dropout(280_000, 1_000_000, 9) == pytest.approx(0.13, abs=0.01)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(560_000, 1_000_000, 9)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(280_000, 1_000_000, 30)
    assert default_dropout(280_000, 100_000_000, 1) <= 0.01
    assert default_dropout(280_000, 4, 1000) == 0.4
    assert default_dropout(280_000, 1_000_000, 0) == 0


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr("charrnn.training.defaults.available_cores", lambda: 2)


@pytest.fixture
def series(tmp_path):
    """A function that reads a series task with 90 rows. The past of a given target is not an input."""
    path = tmp_path / "s.csv"
    path.write_text("a,b\n" + "1,2\n3,1\n5,2\n" * 30)

    def read(target=None):
        options = {"task": "series", "target": target, "target_history": target is None}
        return read_task(RunConfig.from_options([str(path)], options))

    return read


@pytest.mark.parametrize(("target", "cell", "learning_rate"), [(None, "gru", 0.002), (["b"], "lstm", 0.008)])
def test_the_task_chooses_unset_options_and_a_small_network_for_little_data(series, target, cell, learning_rate):
    resolved = resolve_options(ModelOptions(), TrainingOptions(max_steps=9), series(target), unset=TASK_DEFAULTED)
    assert (resolved.model.cell, resolved.model.hidden_size) == (cell, 16)
    assert resolved.train.learning_rate == learning_rate
    assert "hidden size 16" in resolved.notices[0]


def test_options_that_were_given_are_not_changed(series):
    train = TrainingOptions(**RESOLVED, max_steps=9)
    resolved = resolve_options(ModelOptions("rnn", 250, 2), train, series())
    assert resolved.model == ModelOptions("rnn", 250, 2)
    assert resolved.train.to_dict() == train.to_dict()
    assert resolved.notices == []


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if not name.startswith("adamw")])
def test_weight_decay_without_adamw_is_refused(optimizer, series):
    train = TrainingOptions(optimizer=optimizer, weight_decay=0.1)
    with pytest.raises(UsageError, match=f"--weight-decay needs --optimizer adamw, not {optimizer}"):
        resolve_options(ModelOptions(), train, series())


def test_more_workers_than_streams_are_refused(series):
    train = TrainingOptions(batch_size=3, workers=4)
    with pytest.raises(UsageError, match=r"--workers 4: more workers than streams in a batch \(.* 3\)"):
        resolve_options(ModelOptions(), train, series())


@pytest.mark.parametrize("missing", RESOLVED)
def test_resolved_training_refuses_a_missing_value(missing):
    with pytest.raises(ValueError, match=f"{missing} has no value"):
        ResolvedTraining.from_options(TrainingOptions(**RESOLVED | {missing: None}))


def test_resolved_training_has_the_values_of_complete_options():
    train = TrainingOptions(**RESOLVED, max_steps=9)
    assert ResolvedTraining.from_options(train).to_dict() == train.to_dict()


def test_a_translator_has_a_cosine_schedule_and_no_recurrent_dropout(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n}\t{n * n}\n" for n in range(400)))
    config = RunConfig.from_options([str(pairs)], {"task": "translate", "max_epochs": 20})
    task = read_task(config)
    resolved = resolve_options(config.model, config.train, task, unset=TASK_DEFAULTED)
    train = resolved.train
    assert (resolved.model.cell, train.schedule, train.recurrent_dropout) == ("gru", "cosine", 0)
    assert train.dropout > 0
    given = resolve_options(config.model, config.train, task, unset=set(TASK_DEFAULTED) - {"schedule"})
    assert given.train.schedule == "constant"


@pytest.mark.parametrize(("records", "batch_size"), [(6, 6), (100, 8), (1000, 18), (5000, 32)])
def test_few_records_have_small_batches(records, batch_size, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n}\t{n * n}\n" for n in range(records)))
    task = read_task(RunConfig.from_options([str(pairs)], {"task": "translate"}))
    assert task.fit_batch(None, None)[0] == batch_size


def test_more_workers_than_cores_are_said_to_be_slower(series):
    train = TrainingOptions(**RESOLVED | {"workers": 4}, max_steps=9)
    resolved = resolve_options(ModelOptions("rnn", 250, 2), train, series())
    assert resolved.notices == ["--workers 4: slower than --workers 2, the number of cores"]
    train = TrainingOptions(**RESOLVED, max_steps=9)
    assert resolve_options(ModelOptions("rnn", 250, 2), train, series()).notices == []


@pytest.mark.parametrize(("symbols", "embedding_size"), [(999, 0), (1000, 128)])
def test_texts_with_many_symbols_have_an_embedding(symbols, embedding_size, tmp_path):
    (tmp_path / "corpus.txt").write_text("".join(chr(0x4E00 + n) for n in range(symbols)) * 3, "utf-8")
    task = read_task(RunConfig.from_options([str(tmp_path / "corpus.txt")], {}))
    assert task.vocabulary_size == symbols
    for unset, expected in ((TASK_DEFAULTED, embedding_size), (("hidden_size",), 5)):
        resolved = resolve_options(ModelOptions(embedding_size=5), TrainingOptions(max_steps=9), task, unset=unset)
        assert resolved.model.embedding_size == expected


@pytest.mark.parametrize(("records", "cell"), [(29_999, "gru"), (30_000, "lstm")])
def test_translators_of_many_records_have_lstm_layers(records, cell, tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\t{n % 7}\n" for n in range(records)))
    options = {"task": "translate", "val_fraction": 0.0}
    task = read_task(RunConfig.from_options([str(tmp_path / "pairs.tsv")], options))
    resolved = resolve_options(ModelOptions(), TrainingOptions(max_steps=9), task, unset=TASK_DEFAULTED)
    assert resolved.model.cell == cell
