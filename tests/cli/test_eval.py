"""charrnn eval: the scores of each task, of lines and of characters."""

import gzip
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import TASK_FILES, error_cases

COUNTS = ("records", "skipped", "unanswered", "unscored")
CLASSES = ("accuracy", "macro_f1", "classes", "confusion", "labels")
FIELDS = {
    "classify": {*COUNTS, "loss", *CLASSES},
    "tag": {*COUNTS, "chars", "loss", "record_accuracy", *CLASSES},
    "translate": {*COUNTS, "chars", "loss", "exact", "cer", "wer"},
    "series": {"rows", "loss", "rmse", "mae", "rmse_of_last"},
    "caption": {*COUNTS, "chars", "loss", "exact", "cer", "wer"},
}


def test_json_has_loss_bits_and_perplexity(charrnn, trained):
    row = charrnn("eval", "-", "--run", trained, "--json", stdin="the lazy dog.\n").json
    assert row.keys() == {"chars", "loss", "bpc", "perplexity", "skipped"}
    assert row["chars"] == 14
    assert row["bpc"] == pytest.approx(row["loss"] / math.log(2))
    assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))


def test_the_training_text_has_a_lower_loss_than_noise(charrnn, trained):
    text = "the quick brown fox jumps over the lazy dog.\n" * 3
    noise = "".join(np.random.default_rng(0).permutation(list(text)))
    losses = [charrnn("eval", "-", "--run", trained, "--json", stdin=t).json["loss"] for t in (text, noise)]
    assert losses[0] < 0.5 * losses[1]
    outcome = charrnn("eval", "-", "--run", trained, stdin=text)
    assert (outcome.err, outcome.out.count("\n")) == ("", 1)
    assert f"{losses[0]:.4f} nats" in outcome.out


def test_the_losses_of_characters_and_lines_add_up_to_that_of_the_text(charrnn, trained):
    Path("t.txt").write_text("the fox\nthe dog\n\nover")
    words = ["eval", "t.txt", "--run", trained]
    whole = charrnn(*words, "--json").json
    chars = charrnn(*words, "--json", "--per-char").rows
    lines = charrnn(*words, "--json", "--per-line").rows
    assert "".join(row["char"] for row in chars) == "the fox\nthe dog\n\nover"
    assert np.mean([row["loss"] for row in chars]) == pytest.approx(whole["loss"], rel=1e-5)
    assert [row["chars"] for row in lines] == [8, 8, 1, 4]
    total = sum(row["loss"] * row["chars"] for row in lines)
    assert total / whole["chars"] == pytest.approx(whole["loss"], rel=1e-5)
    *shown, last = charrnn(*words, "--per-line").out.splitlines()
    assert last == charrnn(*words).out.strip()
    assert [float(line.split()[0]) for line in shown] == pytest.approx([row["loss"] for row in lines], abs=1e-4)


def test_the_most_likely_characters_have_probabilities(charrnn, trained):
    words = ["eval", "-", "--run", trained, "--per-char", "--top", "3"]
    rows = charrnn(*words, "--json", stdin="the fox").rows
    losses = charrnn(*words[:-2], "--json", stdin="the fox").rows
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in losses], abs=1e-4)
    for row in rows:
        probabilities = [p for _, p in row["top"]]
        assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)
        if row["char"] in dict(row["top"]):
            assert dict(row["top"])[row["char"]] == pytest.approx(math.exp(-row["loss"]), abs=1e-4)
    assert charrnn(*words, stdin="the fox").out.count("\n") == 7


def test_lines_resets_the_state_at_each_line(charrnn, trained):
    words = ["eval", "-", "--run", trained, "--json", "--per-line"]
    reset = charrnn(*words, "--lines", stdin="the fox\nthe fox\n").rows
    assert reset[0]["loss"] == pytest.approx(reset[1]["loss"], rel=1e-5)
    carried = charrnn(*words, stdin="the fox\nthe fox\n").rows
    assert carried[1]["loss"] != pytest.approx(reset[1]["loss"], rel=1e-3)


def test_a_window_resets_the_state_after_every_n_characters(charrnn, trained):
    words = ["eval", "-", "--run", trained, "--json", "--per-char", "--window"]
    losses = [row["loss"] for row in charrnn(*words, "4", stdin="the fox the fox ").rows]
    assert losses[4:8] == pytest.approx(losses[12:], rel=1e-5)
    carried = [row["loss"] for row in charrnn(*words, "100", stdin="the fox the fox ").rows]
    assert carried[:4] == pytest.approx(losses[:4], rel=1e-5)
    assert carried[4:] != pytest.approx(losses[4:], rel=1e-3)


@pytest.mark.parametrize("end", ["", "the"])
def test_a_text_of_several_sections_has_the_scores_of_its_lines(end, charrnn, trained, monkeypatch):
    monkeypatch.setattr("charrnn.tasks.language.scoring.MAX_READER_LENGTH", 64)
    text = "the quick brown fox\njumps over the lazy dog.\n" * 300 + end
    words = ["eval", "-", "--run", trained, "--json"]
    whole = charrnn(*words, stdin=text).json
    lines = charrnn(*words, "--per-line", stdin=text).rows
    assert whole["chars"] == len(text)
    assert [row["text"] for row in lines] == text.splitlines()
    assert sum(row["loss"] * row["chars"] for row in lines) / len(text) == pytest.approx(whole["loss"], rel=1e-5)


def test_a_gzip_file_is_decompressed(charrnn, trained):
    Path("t.txt.gz").write_bytes(gzip.compress(b"the lazy dog"))
    expected = charrnn("eval", "-", "--run", trained, "--json", stdin="the lazy dog").json
    assert charrnn("eval", "t.txt.gz", "--run", trained, "--json").json == expected


def test_unknown_characters_can_be_skipped(charrnn, trained):
    words = ["eval", "-", "--run", trained, "--json"]
    known = charrnn(*words, stdin="quick").json
    assert known["skipped"] == 0
    assert charrnn(*words, "--on-unknown", "skip", stdin="qu\tickÉ").json == known | {"skipped": 2}


def test_the_number_of_skipped_characters_is_printed(charrnn, trained):
    words = ("eval", "-", "--run", trained, "--on-unknown", "skip")
    assert "skipped: 2 (" in charrnn(*words, stdin="qu\tickÉ").out
    assert "skipped" not in charrnn(*words, stdin="quick").out
    for options in (["--per-char"], ["--per-char", "--top", "2", "--json"], ["--per-line", "--json"]):
        assert charrnn(*words, *options, stdin="quickÉ").err == "skipped 1 character outside the vocabulary\n"


def test_the_best_and_the_last_checkpoint_have_different_losses(train, charrnn):
    Path("c.txt").write_text("ab" * 300)
    Path("val.txt").write_text("ba" * 20 + "bb" * 20)
    options = ["--max-steps", "60", "--eval-every", "1", "--lr", "0.02"]
    result = train("c.txt", "--val-file", "val.txt", "--run", "r", *options)
    assert result["best_step"] < result["steps"]
    losses = {
        name: charrnn("eval", "val.txt", "--run", "r", "--checkpoint", name, "--json").json["loss"]
        for name in ("best", "last")
    }
    assert losses == pytest.approx({"best": result["best_val_loss"], "last": result["val_loss"]}, rel=1e-5)
    assert losses["best"] < losses["last"]


@pytest.mark.parametrize("task", TASK_FILES)
def test_each_task_has_its_scores(task, task_runs, charrnn):
    words = ["eval", TASK_FILES[task][0], "--run", f"runs/{task}"]
    words += ["--features", "shapes.csv"] if task == "caption" else []
    result = charrnn(*words, "--json").json
    assert set(result) == FIELDS[task]
    assert result["loss"] > 0
    assert charrnn(*words).out.count("\n") >= 4


def test_a_label_that_is_not_in_the_training_data_counts_as_wrong(task_runs, charrnn, tmp_path):
    (tmp_path / "new.tsv").write_text("is the clock here\tquestion\nsing\tsong\n")
    words = ["eval", tmp_path / "new.tsv", "--run", "runs/classify"]
    result = charrnn(*words, "--json").json
    assert "song" not in result["labels"] and result["classes"]["song"]["count"] == 1
    assert result["accuracy"] <= 0.5
    assert any("song" in line and "not in the training data" in line for line in charrnn(*words).out.splitlines())


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_wrong_records_are_listed(task, task_runs, charrnn):
    words = ["eval", TASK_FILES[task][0], "--run", f"runs/{task}"]
    rows = charrnn(*words, "--errors", "3", "--json").json["errors"]
    assert len(rows) == 3 and set(rows[0]) == {"input", "expected", "answered", "probability"}
    shown = [line.split("\t") for line in charrnn(*words, "--errors", "3").out.splitlines()[-3:]]
    assert [cells[:3] for cells in shown] == [[row["input"], row["expected"], row["answered"]] for row in rows]
    assert charrnn(*words).out.count("\t") == 0


def test_the_skipped_symbols_are_counted(task_runs, charrnn, tmp_path):
    (tmp_path / "new.tsv").write_text("is the clΩck here\tquestion\nΩ\tquestion\n")
    words = ["eval", tmp_path / "new.tsv", "--run", "runs/classify", "--on-unknown", "skip"]
    result = charrnn(*words, "--json").json
    assert (result["records"], result["skipped"], result["unanswered"]) == (2, 2, 1)
    lines = charrnn(*words).out.splitlines()
    assert lines[1].startswith("skipped: 2 (") and lines[2].startswith("unanswered: 1 (")


@error_cases(
    ("none.txt --run TRAINED", 3, "none.txt", "No such file"),
    ("- --run TRAINED", 3, "standard input", "empty"),
    ("tab.txt --run TRAINED", 3, "tab.txt, line 1, column 5", r"'\t' (U+0009)", "--on-unknown skip"),
    ("tab.txt --run TRAINED --top 3", 2, "--top", "--per-char"),
    ("tab.txt --run TRAINED --per-char --top 3 --window 8", 2, "--top", "--window"),
    ("shapes.txt --run runs/caption --features shapes.csv --window 8", 2, "--window", "--task lm"),
    ("tab.txt --run TRAINED --features f.npy", 2, "--features", "trained without features"),
    ("shapes.txt --run runs/caption", 2, "--features"),
    ("shapes.txt --run runs/caption --features few.csv", 3, "few.csv", "2 rows", "80 lines"),
    ("shapes.txt --run runs/caption --features shapes.csv --per-line", 2, "--per-line", "--task lm"),
    ("one.csv --run runs/series", 3, "one.csv", "only one row", "at least 2"),
    ("empty.tsv --run runs/tag", 3, "empty.tsv", "no records"),
    ("new.tsv --run runs/classify", 3, "new.tsv, line 2, column 3", "'Ω'", "--on-unknown skip"),
    ("season.csv --run runs/series --errors 3", 2, "--errors", "--task series"),
    ("season.csv --run runs/series --columns 1,2", 2, "--columns", "--task series"),
)
def test_a_mistake_is_named(task_runs, charrnn, trained, tmp_path, arguments, code, facts):
    (tmp_path / "tab.txt").write_text("lazy\tdog")
    (tmp_path / "few.csv").write_text("1,2\n3,4\n")
    (tmp_path / "one.csv").write_text("".join(Path("season.csv").read_text().splitlines(keepends=True)[:2]))
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "new.tsv").write_text("is\tquestion\nisΩ\tquestion\n")
    places = {"TRAINED": trained} | {
        name: tmp_path / name for name in ("tab.txt", "few.csv", "one.csv", "empty.tsv", "new.tsv")
    }
    charrnn("eval", *(places.get(word, word) for word in arguments)).fails(code, *facts)


def test_lines_need_a_line_feed_in_the_vocabulary(charrnn, train):
    Path("flat.txt").write_text("abcd" * 100)
    train("flat.txt", "--run", "r", "--max-steps", "1")
    charrnn("eval", "flat.txt", "--run", "r", "--lines").fails(2, "--lines", "line feed")


def test_evaluation_on_the_training_file_is_reported(charrnn, trained, tmp_path):
    shutil.copy(trained.parent / "corpus.txt", "copy.txt")
    Path("link.txt").symlink_to(trained.parent / "corpus.txt")
    assert "was trained on this file" in charrnn("eval", trained.parent / "corpus.txt", "--run", trained).err
    assert "was trained on this file" in charrnn("eval", "link.txt", "--run", trained).err
    assert charrnn("eval", "copy.txt", "--run", trained).err == ""
