"""charrnn train: corpora, options and disks that it refuses, and divergence."""

import errno
import gzip
import json
import os

import pytest

from charrnn.runs.checkpoint import load_checkpoint

from .conftest import SMALL, error_cases, read_files

# exit code 3: the corpus


@error_cases(
    ("none.txt", 3, "none.txt", "No such file"),
    ("empty.txt", 3, "empty.txt", "empty"),
    ("-", 3, "standard input", "empty"),
    ("/dev/null", 3, "/dev/null", "device"),
    ("/dev/zero --bytes", 3, "/dev/zero", "device"),
    ("one.txt", 3, "one.txt", "one character", "two"),
    ("folder", 3, "folder", "no files"),
    ("folder --glob *.md", 3, "folder", "*.md"),
    ("flat.txt --lines", 3, "--lines", "line feed"),
    ("bad.txt", 3, "bad.txt, line 1, column 2", "byte 0xc3", "not valid utf-8", "--bytes", "iconv"),
    ("flat.txt --val-file none.txt", 3, "none.txt", "No such file"),
    ("flat.txt --val-file empty.txt", 3, "empty.txt"),
)
def test_an_unusable_corpus_is_refused(charrnn, tmp_path, arguments, code, facts):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "one.txt").write_text("a")
    (tmp_path / "flat.txt").write_text("no line ends here")
    (tmp_path / "bad.txt").write_bytes("aé".encode()[:-1])
    (tmp_path / "folder").mkdir()
    charrnn("train", *arguments).fails(code, *facts)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_gzip_file_is_refused(charrnn, tmp_path):
    (tmp_path / "bad.txt.gz").write_bytes(gzip.compress(b"the quick brown fox " * 100)[:-12])
    charrnn("train", "bad.txt.gz").fails(3, f"{tmp_path}/bad.txt.gz: damaged gzip file: ", is_pinned=False)
    assert not (tmp_path / "runs").exists()


# exit code 2: options


@pytest.mark.parametrize(
    ("fixed", "wrong", "largest", "name"),
    [
        (["--seq-length", "10"], 99, 5, "--batch-size"),
        (["--seq-length", "10"], 6, 5, "--batch-size"),
        ([], 51, 50, "--batch-size"),
        ([], 51, 50, "--seq-length"),
        (["--batch-size", "4"], 100, 12, "--seq-length"),
        (["--batch-size", "4"], 5, 4, "--workers"),
    ],
)
def test_a_size_that_does_not_fit_names_the_largest_that_does(charrnn, tmp_path, fixed, wrong, largest, name):
    (tmp_path / "c.txt").write_text("abcdefghij" * 5)  # with the start symbol 50 pairs
    options = ["--hidden-size", "4", "--val-fraction", "0", "--max-steps", "2", "--quiet", *fixed]
    charrnn("train", "c.txt", *options, name, wrong).fails(2, f"{name} {wrong}", f"largest that fits is {largest}")
    assert not (tmp_path / "runs").exists()
    assert charrnn("train", "c.txt", *options, name, largest).code == 0


@error_cases(
    ("--hidden-size 0", 2, "at least 1"),
    ("--hidden-size 65537", 2, "at most 65536"),
    ("--num-layers 0", 2, "at least 1"),
    ("--num-layers 65", 2, "at most 64"),
    ("--embedding-size -1", 2, "at least 0"),
    ("--dropout 1", 2, "less than 1"),
    ("--dropout -0.1", 2, "at least 0"),
    ("--val-fraction 1", 2, "less than 1"),
    ("--test-fraction -1", 2, "at least 0"),
    ("--val-fraction 0.5 --test-fraction 0.5", 2, "--test-fraction", "below 1"),
    ("--batch-size 0", 2, "at least 1"),
    ("--seq-length 0", 2, "at least 1"),
    ("--learning-rate -1", 2, "at least 0"),
    ("--learning-rate nan", 2, "finite"),
    ("--warmup-steps -1", 2, "at least 0"),
    ("--weight-decay -1", 2, "at least 0"),
    ("--clip-norm inf", 2, "finite"),
    ("--clip-value -1", 2, "at least 0"),
    ("--max-epochs -1", 2, "at least 0"),
    ("--max-steps -1", 2, "at least 0"),
    ("--max-minutes nan", 2, "finite"),
    ("--patience -1", 2, "at least 0"),
    ("--seed -1", 2, "at least 0"),
    ("--seed 9223372036854775808", 2, "at most 9223372036854775807"),
    ("--workers 0", 2, "at least 1"),
    ("--workers 1025", 2, "at most 1024"),
    ("--eval-every 0", 2, "at least 1"),
    ("--save-every 0", 2, "at least 1"),
    ("--sample-every 0", 2, "at least 1"),
    ("--cell transformer", 2, "lstm, gru, rnn"),
    ("--optimizer lbfgs", 2, "adamw, adam, rmsprop, adagrad, sgd"),
    ("--schedule step", 2, "cosine, linear, constant"),
    ("--encoding klingon", 2, "klingon", "encoding"),
    ("--encoding rot13", 2, "rot13", "encoding"),
    ("--encoding ''", 2, "encoding"),
)
def test_an_option_out_of_range_is_refused(charrnn, corpus, tmp_path, arguments, code, facts):
    charrnn("train", corpus, *arguments).fails(code, arguments[0], *facts)
    assert not (tmp_path / "runs").exists()


def test_init_from_needs_the_same_kind_of_vocabulary(charrnn, corpus, trained):
    charrnn("train", corpus, "--bytes", "--init-from", trained).fails(2, "--init-from", "--bytes")


@pytest.mark.parametrize(
    ("toml", "facts"),
    [
        ("colour = 1", ["unknown option 'colour'"]),
        ("hidden-size = 8", ["unknown option 'hidden-size'", "did you mean hidden_size?"]),
        ("[model]\nhidden_size = 8", ["unknown option 'model'"]),
        ("hidden_size = 8.9", ["--hidden-size 8.9", "whole number"]),
        ("lr = 0.1\nlearning_rate = 0.2", ["learning_rate", "twice"]),
        ("hidden_size = 'big'", ["--hidden-size big", "whole number"]),
        ("hidden_size = [8]", ["hidden_size = [8]", "whole number"]),
        ("hidden_size = true", ["hidden_size = True", "whole number"]),
        ("bytes = 1", ["bytes = 1", "true or false"]),
        ("hidden_size = 0", ["--hidden-size 0", "at least 1"]),
        ("learning_rate = nan", ["--learning-rate nan", "finite"]),
        ("bytes = true\nencoding = 'latin-1'", ["--bytes", "--encoding", "cannot be used together"]),
    ],
)
def test_a_mistake_in_a_file_of_options_is_named(charrnn, corpus, tmp_path, toml, facts):
    (tmp_path / "o.toml").write_text(toml)
    charrnn("train", corpus, "--config", "o.toml").fails(2, *facts)
    assert not (tmp_path / "runs").exists()


def test_a_file_of_options_that_cannot_be_read_is_refused(charrnn, corpus, tmp_path):
    charrnn("train", corpus, "--config", "none.toml").fails(2, "--config none.toml", "No such file")
    charrnn("train", corpus, "--config", ".").fails(2, "--config .", "Is a directory")
    for content in (b"\xff\xfe", b"hidden_size = ", b"hidden_size 8", b"cell = 'gru'\ncell = 'rnn'"):
        (tmp_path / "bad.toml").write_bytes(content)
        charrnn("train", corpus, "--config", "bad.toml").fails(2, "--config bad.toml: ", is_pinned=False)


# exit code 4: the run directory


@pytest.mark.parametrize("is_run", [True, False])
def test_nothing_is_overwritten(charrnn, train, corpus, tmp_path, is_run):
    if is_run:
        train(corpus, "--run", "r", "--max-steps", "1")
    else:
        (tmp_path / "r").write_text("precious")
    before = read_files(tmp_path)
    outcome = charrnn("train", corpus, "--run", "r", "--max-steps", "2", *SMALL)
    outcome.fails(4, "r: already exists", "--run", "--resume")
    assert read_files(tmp_path) == before


# exit code 5: divergence

DIVERGING = ["--dropout", "0.5", "--recurrent-dropout", "0", "--optimizer", "sgd", "--clip-norm", "0"]
DIVERGING += ["--warmup-steps", "0", "--max-steps", "500"]


@pytest.mark.parametrize("rate", ["1e37", "1e39"], ids=["loss overflows", "weights overflow"])
def test_divergence_is_one_line_and_the_saved_state_is_valid(process, charrnn, corpus, tmp_path, rate):
    outcome = process("train", corpus, "--run", "r", *SMALL, *DIVERGING, "--lr", rate, "--json", "--quiet")
    assert (outcome.code, outcome.err.count("\n")) == (5, 1)
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert json.loads(outcome.out) == result
    assert result["status"] == "diverged"
    # A step that makes the weights useless is noticed in the step after it.
    steps = (result["steps"] + 1, result["steps"] + 2)
    assert any(f"diverged at step {step}: " in outcome.err for step in steps)
    assert "saved" in outcome.err and "--learning-rate" in outcome.err
    saved = load_checkpoint(tmp_path / "r" / "last.safetensors")
    assert saved.training["state"]["step"] == result["steps"]
    assert [row["status"] for row in charrnn("runs", ".", "--json").json["runs"]] == ["diverged"]
    assert charrnn("info", "r", "--json").json["training"]["status"] == "diverged"
    assert charrnn("sample", "--run", "r", "--checkpoint", "last", "-n", "1").code == 0


def test_a_finite_but_absurd_loss_is_divergence(charrnn, corpus):
    options = ["--max-steps", "200", "--lr", "300", "--warmup-steps", "0"]
    assert charrnn("train", corpus, "--run", "r", *SMALL, *options).code == 5
    assert charrnn("eval", corpus, "--run", "r", "--json").json["loss"] < 10  # the saved weights are older


# exit code 6: storage


@pytest.mark.parametrize("place", ["file/run", "file/deeper/run", "/proc/none/run", "/dev/null/run"])
def test_a_run_directory_that_cannot_be_created_is_named(charrnn, corpus, tmp_path, place):
    (tmp_path / "file").touch()
    charrnn("train", corpus, "--run", place, "--max-steps", "1", *SMALL).fails(6, f"cannot write {place}")


@pytest.mark.parametrize("root", ["file", "file/runs", "/proc/none"])
def test_a_root_of_runs_that_cannot_be_created_is_named(charrnn, corpus, tmp_path, monkeypatch, root):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHARRNN_RUNS", root)
    charrnn("train", corpus, "--max-steps", "1", *SMALL).fails(6, f"cannot write {root}")


@pytest.mark.parametrize("name", ["config.json", "best.safetensors", "last.safetensors", "result.json"])
def test_a_full_disk_leaves_the_saved_state_intact(charrnn, train, corpus, tmp_path, monkeypatch, name):
    replace = os.replace

    def replace_on_full_disk(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    train(corpus, "--run", "r", "--max-steps", "2")
    before = read_files(tmp_path / "r")
    monkeypatch.setattr(os, "replace", replace_on_full_disk)
    words = ["--run", "s", corpus] if name == "config.json" else ["--resume", "r", "--max-steps", "4"]
    outcome = charrnn("train", *words, "--quiet")
    outcome.fails(6, f"cannot write {words[1]}/{name}", "No space left on device", "intact")
    after = read_files(tmp_path / "r")
    assert before.keys() - after.keys() <= {f"{tmp_path}/r/result.json"}  # a resumed run has no result
    assert after.keys() <= before.keys()
    if name != "result.json":
        assert after[f"{tmp_path}/r/{name}"] == before[f"{tmp_path}/r/{name}"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = charrnn("train", "--resume", "r", "--max-steps", "5", "--json", "--quiet").json
    assert (result["status"], result["steps"]) == ("completed", 5)
