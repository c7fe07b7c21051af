"""The task `transcribe`: its files, scale, joined rows, batches, training, and the models that it starts from."""

import signal

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.nn.parameters import named_views
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint
from charrnn.runs.directory import Run
from charrnn.tasks.encoder_decoder.symbols import END
from charrnn.tasks.registry import load_model, make_model, read_task
from charrnn.training.events import Step
from charrnn.training.start import new_run, resumed_run

VECTORS = {"a": [1.0, 0.0, 0.5], "b": [0.0, 2.0, 0.5], "c": [-1.0, -1.0, 0.5]}  # the last column is constant


def write_clips(folder, texts, offset=0.0, rows_per_character=2):
    """A file of clips. Each character of a text becomes `rows_per_character` rows."""
    rng = np.random.default_rng(7)
    lines = []
    for n, text in enumerate(texts):
        rows = np.repeat([VECTORS[character] for character in text], rows_per_character, axis=0)
        rows[:, :2] += 0.1 * rng.standard_normal((len(rows), 2)) + offset
        np.save(folder / f"{n:03d}.npy", rows)
        lines.append(f"{n:03d}.npy\t{text}\n")
    (folder / "clips.tsv").write_text("".join(lines))
    return str(folder / "clips.tsv")


TEXTS = ["".join("abc"[(n // 3**k) % 3] for k in range(n % 3 + 1)) for n in range(60)]


def make_config(corpus, **options):
    return RunConfig.from_options([corpus], {"task": "transcribe", "hidden_size": 4} | options)


def read(corpus, source=None, **options):
    return read_task(make_config(corpus, **options), source)


def make_checkpoint(corpus, **options):
    """A model with its initial parameters."""
    config = make_config(corpus, **options)
    task = read_task(config)
    architecture = task.architecture(config.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 7))


def test_records_are_split_and_the_scale_is_that_of_the_training_part(tmp_path):
    task = read(write_clips(tmp_path, TEXTS), val_fraction=0.2, test_fraction=0.1)
    assert {part: len(records) for part, records in task.parts.items()} == {"train": 42, "val": 12, "test": 6}
    rows = np.concatenate([record.source.values for record in task.parts["train"]])
    np.testing.assert_allclose(task.coding.scale.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(task.coding.scale.std[:2], rows[:, :2].std(axis=0), rtol=1e-5)
    assert task.coding.scale.std[2] == 1
    encoded = np.concatenate(task.encoded("train").sources)
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(encoded.std(axis=0), [1, 1, 0], atol=1e-5)
    assert task.coding.target.symbols == ("a", "b", "c") and task.coding.longest == 3
    assert "rows of 3 numbers, 3 target symbols, 42 records to train on" in task.describe()


@pytest.mark.parametrize(("rows_per_character", "joined"), [(1, 1), (3, 1), (4, 2), (9, 2)])
def test_two_rows_are_joined_if_there_are_many_for_each_character(rows_per_character, joined, tmp_path):
    corpus = write_clips(tmp_path, TEXTS, rows_per_character=rows_per_character)
    assert read(corpus).coding.subsample == joined
    assert ("2 rows per step" in read(corpus).describe()) == (joined == 2)
    assert read(corpus, subsample=1).coding.subsample == 1


def test_subsample_joins_rows(tmp_path):
    corpus = write_clips(tmp_path, TEXTS)
    whole, joined = read(corpus), read(corpus, subsample=4)
    assert (whole.coding.subsample, joined.coding.subsample) == (1, 4)
    lengths = whole.encoded("train").source_lengths
    assert joined.encoded("train").source_lengths.tolist() == [-(-n // 4) for n in lengths.tolist()]
    architecture = joined.architecture(make_config(corpus).model)
    assert (architecture.source, architecture.source_size) == ("numbers", 12)
    assert joined.fit_batch(None, None) == (8, 4)  # at most three characters and the end


def test_a_separator_divides_targets_into_symbols(tmp_path):
    corpus = write_clips(tmp_path, ["ab", "ba"])
    (tmp_path / "clips.tsv").write_text("000.npy\tone two\n001.npy\ttwo one two\n")
    task = read(corpus, target_separator=" ")
    assert (task.coding.target.symbols, task.coding.longest) == (("one", "two"), 3)


def test_the_matrices_and_the_texts_are_in_the_batches(tmp_path):
    task = read(write_clips(tmp_path, TEXTS), val_fraction=0.0)
    batch = task.training_stream(5, 100, seed=1).batch(0)
    assert batch.source.x.dtype == np.float32
    scale = task.coding.scale
    clips = [(scale.apply(record.source.values.astype(np.float64)), record.target) for record in task.parts["train"]]
    for b in range(5):
        source = batch.source.x[-batch.source.lengths[b] :, b]
        target = task.coding.target.decode([i for i in batch.targets[:, b].tolist() if i != END])
        assert [text for values, text in clips if np.array_equal(values, source)] == [target]


def test_longer_matrices_are_shortened_and_a_notice_says_so(tmp_path):
    task = read(write_clips(tmp_path, TEXTS), val_fraction=0.0)
    records = task.training_stream(5, 5, seed=1).records
    assert (records.source_lengths.max(), records.target_lengths.max()) == (5, 4)
    (notice,) = task.window_notices(5)
    number = sum(len(text) == 3 for text in TEXTS)
    assert notice.startswith(f"{number} sources are longer than 5 steps")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"clips\.tsv: no records"),
        ("000.npy\ta\nwide.npy\tb\n", r"clips\.tsv, line 2: wide\.npy: 4 columns, but the first matrix has 3"),
        ("000.npy\ta\nnone.npy\tb\n", r"clips\.tsv, line 2: .*none\.npy: No such file"),
    ],
)
def test_the_error_for_an_invalid_record_names_file_and_line(text, message, tmp_path):
    corpus = write_clips(tmp_path, ["a"])
    np.save(tmp_path / "wide.npy", np.zeros((2, 4)))
    (tmp_path / "clips.tsv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read(corpus)


def test_a_validation_file_is_validated_on(tmp_path):
    corpus = write_clips(tmp_path, TEXTS)
    (tmp_path / "val.tsv").write_text("001.npy\tzzzz\n")
    task = read(corpus, val_file=str(tmp_path / "val.tsv"))
    assert [record.target for record in task.parts["val"]] == ["zzzz"] and len(task.parts["train"]) == 60
    assert task.coding.target.symbols == ("a", "b", "c", "z") and task.coding.longest == 4
    (tmp_path / "val.tsv").write_text("")
    with pytest.raises(CorpusError, match=r"val\.tsv: no records to validate on"):
        read(corpus, val_file=str(tmp_path / "val.tsv"))


def test_records_of_the_same_matrix_are_in_the_same_part(tmp_path):
    corpus = write_clips(tmp_path, TEXTS)
    (tmp_path / "clips.tsv").write_text("".join(f"{n // 2:03d}.npy\t{TEXTS[n]}\n" for n in range(60)))
    task = read(corpus, val_fraction=0.3, test_fraction=0.2)
    paths = [{record.source.name for record in records} for records in task.parts.values()]
    assert sum(map(len, paths)) == len(set.union(*paths)) == 30
    assert all(paths)


def test_the_fingerprint_depends_on_numbers_names_and_texts_but_not_on_the_folder(tmp_path):
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    other_text = write_clips(folders[2], TEXTS)
    (folders[2] / "clips.tsv").write_text((folders[2] / "clips.tsv").read_text().replace("\ta", "\tc", 1))
    fingerprints = [
        read(write_clips(folders[0], TEXTS)).fingerprint,
        read(write_clips(folders[1], TEXTS)).fingerprint,
        read(other_text).fingerprint,
        read(write_clips(folders[3], TEXTS, offset=1.0)).fingerprint,
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3


def test_previews_and_test_scores_are_those_of_the_model(tmp_path):
    corpus = write_clips(tmp_path, TEXTS)
    options = {"val_fraction": 0.2, "test_fraction": 0.1}
    task = read(corpus, **options)
    checkpoint = make_checkpoint(corpus, **options)
    model = make_model(checkpoint)
    preview = task.preview(checkpoint, seed=1)
    assert preview == model.preview(task.parts["val"])
    assert preview.startswith(task.parts["val"][0].source.name)
    assert task.evaluate_test(checkpoint) == model.evaluate_records(task.parts["test"])


def test_a_run_that_starts_from_a_model_keeps_its_scale_and_the_weights_of_every_symbol(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    options = {"embedding_size": 3}
    source = make_checkpoint(write_clips(tmp_path / "old", ["ac", "cca", "a"]), subsample=2, **options)
    corpus = write_clips(tmp_path / "new", ["ab", "b"], offset=9.0)
    config = make_config(corpus, **options)
    task = read_task(config, source)
    assert task.metadata()["scale"] == source.task["scale"]
    assert (task.coding.subsample, task.coding.longest) == (2, 3)
    assert task.coding.target.symbols == ("a", "b", "c")
    architecture = task.architecture(config.model)
    new = named_views(architecture.specs(), task.initial_parameters(source, architecture, 1))
    for name, old in source.weights.items():
        values = new[name][[END, 1, 3]] if name in ("head.weight", "head.bias", "embedding.weight") else new[name]
        np.testing.assert_array_equal(values, old, err_msg=name)


def test_a_model_of_another_task_or_of_another_width_is_refused(tmp_path):
    (tmp_path / "pairs.tsv").write_text("ab\tx\nba\ty\n")
    pairs = RunConfig.from_options([str(tmp_path / "pairs.tsv")], {"task": "translate", "hidden_size": 4})
    task = read_task(pairs)
    architecture = task.architecture(pairs.model)
    translator = Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))
    corpus = write_clips(tmp_path, TEXTS)
    with pytest.raises(UsageError, match="--init-from: a model of --task translate"):
        read(corpus, translator)
    source = make_checkpoint(corpus)
    np.save(tmp_path / "wide.npy", np.zeros((2, 4)))
    (tmp_path / "clips.tsv").write_text("wide.npy\ta\n")
    with pytest.raises(CorpusError, match=r"wide\.npy: 4 columns"):
        _ = read(corpus, source).training_size


def train(path, config=None, *, stop_after=None):
    """Trains a new run, or continues the run. Returns the result."""
    trainer = resumed_run(Run(path), Run(path).read_config()) if config is None else new_run(path, config)
    for event in trainer.run():
        if isinstance(event, Step) and event.step == stop_after:
            trainer.interrupt(signal.SIGINT)
    return event.result


def test_training_reads_the_clips_and_a_resumed_run_writes_the_same_bytes_as_an_uninterrupted_one(tmp_path):
    """The model learns to spell clips that it was not trained on."""
    corpus = write_clips(tmp_path, TEXTS)
    options = {"hidden_size": 16, "embedding_size": 4, "workers": 1, "learning_rate": 0.02, "eval_every": 20}
    config = make_config(corpus, max_steps=120, dropout=0.1, test_fraction=0.1, **options)
    result = train(tmp_path / "whole", config)
    assert result["status"] == "completed"
    assert result["test_metrics"]["cer"] < 0.2
    assert train(tmp_path / "stopped", config, stop_after=50)["status"] == "interrupted"
    assert train(tmp_path / "stopped")["status"] == "completed"
    for name in ("best.safetensors", "last.safetensors"):
        whole, stopped = (load_checkpoint(tmp_path / run / name) for run in ("whole", "stopped"))
        assert whole.parameters.tobytes() == stopped.parameters.tobytes()
        assert {key: array.tobytes() for key, array in whole.tensors.items()} == {
            key: array.tobytes() for key, array in stopped.tensors.items()
        }
    test = read(corpus, test_fraction=0.1).parts["test"]
    assert load_model(tmp_path / "whole").evaluate_records(test) == result["test_metrics"]
