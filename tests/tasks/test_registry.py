"""The registry: every task is found by name, from its configuration and from its checkpoints."""

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError, RunError
from charrnn.models.transfer import initial_parameters
from charrnn.options import TASKS as TASK_NAMES
from charrnn.options import ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.runs.directory import Run
from charrnn.tasks.base import AlignsSources, DescribesVectors, ForecastsRows, GeneratesText, PredictsRecords
from charrnn.tasks.registry import MODELS, load_model, make_model, read_corpus, read_run_task, read_task
from charrnn.training.defaults import TASK_DEFAULTED

FILES = {
    "lm": "the quick brown fox\n" * 9,
    "classify": "ab\tx\nba\ty\n" * 9,
    "tag": "ab\txy\nba\tyx\n" * 9,
    "translate": "ab\tcd\nba\tdc\n" * 9,
    "transcribe": "a.csv\tab\nb.csv\tba\n" * 9,
    "caption": "ab\nba\n" * 9,
    "series": "a,b\n" + "1,2\n2,3\n" * 9,
}
CAPABILITIES = {
    "lm": {GeneratesText},
    "classify": {PredictsRecords},
    "tag": {PredictsRecords},
    "translate": {PredictsRecords, AlignsSources},
    "transcribe": {PredictsRecords, AlignsSources},
    "caption": {PredictsRecords, AlignsSources, DescribesVectors},
    "series": {ForecastsRows},
}
RESOLVED = {  # config.json has a value for each of these options
    "batch_size": 2,
    "seq_length": 8,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "workers": 1,
    "val_limit": 0,
    "max_steps": 1,
}
tasks = pytest.mark.parametrize("name", FILES)


def make_config(folder, name):
    (folder / "corpus").write_text(FILES[name])
    options = RESOLVED | {"task": name, "hidden_size": 4}
    if name == "transcribe":
        for matrix in ("a.csv", "b.csv"):
            np.savetxt(folder / matrix, np.arange(6).reshape(3, 2), delimiter=",")
    if name == "caption":
        np.savetxt(folder / "vectors.csv", np.arange(36).reshape(18, 2), delimiter=",")
        options["features"] = str(folder / "vectors.csv")
    return RunConfig.from_options([str(folder / "corpus")], options)


def make_run(folder, name):
    """A run directory with a configuration and two checkpoints, without training."""
    config = make_config(folder, name)
    task = read_task(config)
    architecture = task.architecture(config.model)
    run = Run(folder / "run")
    run.path.mkdir()
    run.write_json(run.config, config.to_dict())
    for file, seed in ((run.best, 1), (run.last, 2)):
        parameters = initial_parameters(architecture, seed)
        training = {"corpus": task.fingerprint}
        save_checkpoint(file, Checkpoint(architecture, task.metadata(), parameters, training=training))
    return run


def test_the_tests_cover_every_task():
    assert set(FILES) == set(MODELS) == set(TASK_NAMES)


@tasks
def test_the_task_and_the_models_of_a_run_are_found(name, tmp_path):
    run = make_run(tmp_path, name)
    task = read_run_task(run)
    best = load_model(run.path)
    last = load_model(run.path, checkpoint="last")
    assert best.task == last.task == task.metadata()["name"] == name
    assert not np.array_equal(best.parameters, last.parameters)
    assert np.array_equal(load_model(run.last).parameters, last.parameters)


@tasks
def test_a_task_implements_the_interface(name, tmp_path):
    run = make_run(tmp_path, name)
    task = read_run_task(run)
    assert "to train on" in task.describe()
    assert task.training_size > 0
    batch_size, seq_length = task.fit_batch(None, None)
    batch = task.training_stream(batch_size, seq_length, seed=1).batch(0)
    assert batch.x.shape[:2] == (seq_length, batch_size)
    assert task.has_validation == (task.validation_pass(batch_size, seq_length) is not None)
    assert task.training_stream(batch_size, seq_length, seed=1).epoch_steps > 0
    assert isinstance(task.preview(load_model(run.path).checkpoint, seed=1), str)
    assert task.evaluate_test(load_model(run.path).checkpoint) is None
    assert not (task.vocabulary_size == 0) ^ (name == "series")


@tasks
def test_a_model_has_the_capabilities_of_its_task(name, tmp_path):
    model = load_model(make_run(tmp_path, name).path)
    for capability in set.union(*CAPABILITIES.values()):
        assert isinstance(model, capability) == (capability in CAPABILITIES[name]), capability


def test_before_the_first_evaluation_the_last_checkpoint_is_used(tmp_path):
    run = make_run(tmp_path, "lm")
    expected = load_model(run.path, checkpoint="last").parameters
    run.best.unlink()
    np.testing.assert_array_equal(load_model(run.path).parameters, expected)
    run.last.unlink()
    with pytest.raises(RunError, match=r"no (best|last)\S* "):
        load_model(run.path)


@tasks
def test_a_changed_corpus_is_refused(name, tmp_path):
    run = make_run(tmp_path, name)
    corpus = Path(run.read_config().corpus[0])
    corpus.write_text(FILES[name].replace("1,2", "2,1") if name == "series" else FILES[name] + FILES[name])
    if name == "caption":
        np.savetxt(tmp_path / "vectors.csv", np.arange(72).reshape(36, 2), delimiter=",")
    with pytest.raises(CorpusError, match="has changed"):
        read_run_task(run)


def test_a_corpus_from_standard_input_is_not_available(tmp_path):
    run = make_run(tmp_path, "lm")
    run.write_json(run.config, replace(run.read_config(), corpus=("-",)).to_dict())
    with pytest.raises(CorpusError, match="standard input"):
        read_run_task(run)


def test_the_corpus_of_a_language_model_is_read_again(tmp_path):
    run = make_run(tmp_path, "lm")
    corpus = read_corpus(load_model(run.path))
    parts = (corpus.train, corpus.val, corpus.test)
    assert "".join(corpus.vocabulary.decode(part[1:]) for part in parts) == FILES["lm"]
    run.config.unlink()
    with pytest.raises(CorpusError, match="not in a run directory"):
        read_corpus(load_model(run.best))


@pytest.mark.parametrize("damage", [{"name": "poetry"}, {"name": ["lm"]}, {"vocabulary": [1]}, {"lines": 1}])
def test_a_checkpoint_with_damaged_metadata_is_refused(damage, tmp_path):
    checkpoint = load_model(make_run(tmp_path, "lm").path).checkpoint
    with pytest.raises(RunError, match=r"best\.safetensors"):
        make_model(replace(checkpoint, task=checkpoint.task | damage))


def stated_default(option, task):
    """The default of an option for a task as the help states it: `A; for --task TASK, TASK and TASK B, TASK C`.

    Notes in parentheses are for data that are much larger than those of these tests.
    """
    (spec,) = (spec for cls in (ModelOptions, TrainingOptions) for spec in fields(cls) if spec.name == option)
    text = re.sub(r" \(.*?\)", "", spec.metadata["default_text"] or str(spec.default))
    default, _, exceptions = text.partition("; for --task ")
    named = False
    for word in exceptions.replace(",", "").split():
        if word in TASK_NAMES:
            named = named or word == task
        elif named and word not in ("and", "without", "--target"):  # the value for the tasks before it
            return word
    return default


@tasks
def test_the_help_states_the_defaults_of_each_task(name, tmp_path):
    defaults = read_task(make_config(tmp_path, name)).defaults
    for option in set(TASK_DEFAULTED) - {"hidden_size"}:  # the hidden size is chosen for the data
        value = getattr(defaults, option)
        assert stated_default(option, name) == (value if isinstance(value, str) else f"{value:g}"), option
    scaled = "as for --dropout" if defaults.recurrent_dropout_scale else "0"
    assert stated_default("recurrent_dropout", name) == scaled


def test_a_series_with_targets_has_the_default_cell(tmp_path):
    config = make_config(tmp_path, "series")
    task = read_task(replace(config, data=replace(config.data, target=["a"])))
    assert (stated_default("cell", "lm"), task.defaults.cell) == ("lstm", "lstm")
