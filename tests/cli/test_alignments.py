"""charrnn view with a model that attends to its source: alignments in the terminal, as JSON and as a figure."""

import numpy as np
import pytest

from charrnn.cli.alignments import alignment_lines
from charrnn.tasks.base import Alignment

from .conftest import task_inputs


def make_alignment(steps, labels=None):
    """Two target symbols; the first attends to the first step, the second to all steps alike."""
    weights = np.full((2, steps), 1 / steps)
    weights[0] = 0
    weights[0, 0] = 1
    return Alignment(labels or ["x"] * steps, ["at", "■"], weights)


def test_each_target_symbol_has_a_row_of_shades_above_the_labels():
    lines = list(alignment_lines(make_alignment(2, ["p", "q"]), 80))
    assert lines == ["at ██", " ■ ▒▒▒▒", "   p q"]


def test_labels_of_frames_stand_where_there_is_space():
    *_, labels = alignment_lines(make_alignment(8, [str(n) for n in range(96, 104)]), 80)
    assert labels == "   96  98  100 102"


def test_a_long_source_is_joined_to_the_width_and_keeps_its_weights():
    lines = list(alignment_lines(make_alignment(100), 23))
    assert all(len(line) <= 23 for line in lines)
    assert lines[0] == "at ██"
    assert lines[1] == " ■"  # a weight of 0.1 in each column is too light for a shade


def test_alignments_of_a_translator_are_shown(charrnn, task_runs, tmp_path):
    (tmp_path / "inputs.txt").write_text(task_inputs("translate"))
    arguments = ["view", tmp_path / "inputs.txt", "--run", "runs/translate"]
    rows = charrnn(*arguments, "--json").rows
    assert len(rows) == 7
    answers = charrnn("predict", *arguments[1:]).out.splitlines()
    for row, text, answer in zip(rows, task_inputs("translate").splitlines(), answers, strict=True):
        assert row["source"] == [*text, "■"]
        assert row["target"] == [*answer, "■"]
        weights = np.array(row["weights"])
        assert weights.shape == (len(answer) + 1, len(text) + 1)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    out = charrnn(*arguments).out
    assert out.count("\n\n") == 6
    assert charrnn(*arguments, "-o", tmp_path / "alignments.png").code == 0
    assert (tmp_path / "alignments.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [([], ["TEXT"]), (["dates.tsv", "--unit", "0.1"], ["--unit"]), (["dates.tsv", "--find"], ["--find"])],
    ids=["no input", "unit", "find"],
)
def test_a_mistake_is_named(charrnn, task_runs, arguments, facts):
    charrnn("view", *arguments, "--run", "runs/translate").fails(2, *facts)


def test_a_model_without_attention_has_no_alignment(charrnn, train, tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\t{n * n}\n" for n in range(40)))
    train("pairs.tsv", "--task", "translate", "--no-attention", "--max-steps", "1", "--run", "r")
    charrnn("view", "pairs.tsv", "--run", "r").fails(2, "--no-attention")


def test_without_a_text_the_newest_run_is_that_of_a_language_model(charrnn, train, corpus, tmp_path):
    train(corpus, "--max-steps", "1", "--run", "runs/text")
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\t{n * n}\n" for n in range(40)))
    train("pairs.tsv", "--task", "translate", "--max-steps", "1", "--run", "runs/pairs")
    assert charrnn("view", "--json").rows[0].keys() == {"char", "nats"}
    assert charrnn("view", "pairs.tsv", "--json").rows[0].keys() == {"source", "target", "weights"}
