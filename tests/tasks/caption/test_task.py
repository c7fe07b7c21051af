"""The task of captions: its data, and the previews and test scores of its models."""

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.models.transfer import initial_parameters
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.registry import read_task


def read(tmp_path, text, vectors, **options):
    (tmp_path / "lines.txt").write_text(text)
    np.save(tmp_path / "vectors.npy", vectors)
    options = {"features": str(tmp_path / "vectors.npy"), "hidden_size": 4} | options
    return read_task(RunConfig.from_options([str(tmp_path / "lines.txt")], options))


def checkpoint(task):
    config = RunConfig.from_options(["-"], {"hidden_size": 4})
    architecture = task.architecture(config.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))


TEXT = "".join(f"{'abc'[n % 3] * (n % 5 + 1)}\n" for n in range(40))
VECTORS = np.arange(80.0).reshape(40, 2)


def test_lines_stay_with_their_vectors_in_all_parts(tmp_path):
    task = read(tmp_path, TEXT, VECTORS, val_fraction=0.25, test_fraction=0.1)
    sizes = {part: len(captions) for part, captions in task.parts.items()}
    assert sizes == {"train": 26, "val": 10, "test": 4}
    lines = TEXT.splitlines()
    for captions in task.parts.values():
        assert all(lines[caption.source] == caption.text for caption in captions)
    train_rows = VECTORS[[caption.source for caption in task.parts["train"]]]
    np.testing.assert_allclose(task.coding.scale.mean, train_rows.mean(axis=0))
    assert task.coding.longest == 5
    assert "4 distinct characters, vectors of 2, 26 lines to train on, 10 to validate, 4 to test" in task.describe()


def test_a_sequence_of_one_step_is_supported(tmp_path):
    task = read(tmp_path, TEXT, VECTORS)
    batch = task.training_stream(4, 1, seed=1).batch(0)
    assert batch.x.shape == (1, 4) and batch.features.shape == (4, 2)


def test_previews_and_test_scores_are_those_of_the_model(tmp_path):
    task = read(tmp_path, TEXT, VECTORS, test_fraction=0.1)
    preview = task.preview(checkpoint(task), seed=1)
    assert [line.split(" -> ")[0] for line in preview.splitlines()] == [c.text for c in task.parts["val"]][:5]
    assert task.evaluate_test(checkpoint(task))["records"] == 4
    assert read(tmp_path, TEXT, VECTORS).evaluate_test(checkpoint(task)) is None


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
        ("", np.zeros((1, 2)), "the corpus is empty"),
        ("a\nb\n", np.zeros((3, 2)), r"vectors\.npy: 3 rows for 2 lines of"),
    ],
)
def test_lines_without_matching_vectors_are_refused(tmp_path, text, vectors, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text, vectors)
