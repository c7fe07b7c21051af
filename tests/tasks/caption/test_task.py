"""The task of captions: its data, its batches, and the previews and test scores of its models."""

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.registry import read_task


def read(tmp_path, text, vectors, source=None, **options):
    (tmp_path / "lines.txt").write_text(text)
    np.save(tmp_path / "vectors.npy", vectors)
    options = {"features": str(tmp_path / "vectors.npy"), "hidden_size": 4} | options
    return read_task(RunConfig.from_options([str(tmp_path / "lines.txt")], options), source)


def checkpoint(task):
    config = RunConfig.from_options(["-"], {"hidden_size": 4})
    architecture = task.architecture(config.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))


TEXT = "".join(f"{'abc'[n % 3] * (n % 5 + 1)}\n" for n in range(40))
VECTORS = np.arange(80.0).reshape(40, 2)


def test_lines_stay_with_their_vectors_in_all_parts(tmp_path):
    task = read(tmp_path, TEXT, VECTORS, val_fraction=0.25, test_fraction=0.1)
    sizes = {part: len(records) for part, records in task.parts.items()}
    assert sizes == {"train": 26, "val": 10, "test": 4}
    lines = TEXT.splitlines()
    for records in task.parts.values():
        for record in records:
            (row,) = record.source.values.tolist()
            assert record.target == lines[VECTORS.tolist().index(row)]
    train_rows = np.concatenate([record.source.values for record in task.parts["train"]])
    np.testing.assert_allclose(task.coding.scale.mean, train_rows.mean(axis=0))
    assert task.coding.longest == 5
    assert "rows of 2 numbers, 3 target symbols, 26 records to train on, 10 to validate, 4 to test" in task.describe()


def test_the_encoder_reads_one_step(tmp_path):
    task = read(tmp_path, TEXT, VECTORS)
    batch = task.training_stream(4, 100, seed=1).batch(0)
    assert batch.source.x.shape == (1, 4, 2)
    assert batch.source.lengths.tolist() == [1, 1, 1, 1]


def test_lines_of_equal_vectors_are_in_the_same_part(tmp_path):
    task = read(tmp_path, TEXT, np.repeat(VECTORS[:20], 2, axis=0), val_fraction=0.25, test_fraction=0.1)
    rows = [{record.source.values.tobytes() for record in records} for records in task.parts.values()]
    assert all(rows)
    assert sum(map(len, rows)) == len(set.union(*rows)) == 20


def test_previews_and_test_scores_are_those_of_the_model(tmp_path):
    task = read(tmp_path, TEXT, VECTORS, test_fraction=0.1)
    preview = task.preview(checkpoint(task), seed=1)
    assert "vectors.npy, row " in preview.splitlines()[0]
    assert preview.splitlines()[0].endswith(f"({task.parts['val'][0].target})")
    assert task.evaluate_test(checkpoint(task))["records"] == 4
    assert read(tmp_path, TEXT, VECTORS).evaluate_test(checkpoint(task)) is None


def test_a_run_that_starts_from_a_model_keeps_its_scale_and_symbols(tmp_path):
    source = checkpoint(read(tmp_path, TEXT.replace("b", "q"), VECTORS))
    task = read(tmp_path, TEXT, VECTORS + 100, source)
    assert task.metadata()["scale"] == source.task["scale"]
    assert task.coding.target.symbols == ("a", "b", "c", "q")
    with pytest.raises(CorpusError, match="3 columns"):
        _ = read(tmp_path, TEXT, np.zeros((40, 3)), source).training_size
    (tmp_path / "text").write_text(TEXT)
    text_task = read_task(RunConfig.from_options([str(tmp_path / "text")], {}))
    with pytest.raises(UsageError, match="--init-from: a model of --task lm"):
        read(tmp_path, TEXT, VECTORS, checkpoint(text_task))


def test_the_fingerprint_depends_on_lines_and_vectors(tmp_path):
    tasks = [
        read(tmp_path, TEXT, VECTORS),
        read(tmp_path, TEXT, VECTORS, seed=9),
        read(tmp_path, TEXT, VECTORS + 1),
        read(tmp_path, TEXT.replace("a", "d"), VECTORS),
    ]
    fingerprints = [task.fingerprint for task in tasks]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3


@pytest.mark.parametrize(
    ("text", "vectors", "message"),
    [
        ("", np.zeros((1, 2)), "no records"),
        ("a\nb\n", np.zeros((3, 2)), r"vectors\.npy: 3 rows for 2 lines of"),
    ],
)
def test_lines_without_matching_vectors_are_refused(tmp_path, text, vectors, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text, vectors)
