"""Every wrong use that CLI.md's table of exit codes names: its code, and one line on stderr that says what is wrong."""

import dataclasses
import errno
import fcntl
import gzip
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint

TINY = ("--hidden-size", "8", "--batch-size", "8", "--seq-length", "16", "--workers", "1")


def content(folder):
    """Every file below a folder with its bytes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# 3: corpus and text


def test_missing_corpus(charrnn, tmp_path):
    charrnn("train", "none.txt").fails(3, f"{tmp_path}/none.txt: No such file or directory")
    assert not (tmp_path / "runs").exists()


def test_empty_corpus(charrnn, tmp_path):
    (tmp_path / "empty.txt").touch()
    charrnn("train", "empty.txt").fails(3, f"{tmp_path}/empty.txt: the corpus is empty")
    assert not (tmp_path / "runs").exists()


def test_empty_standard_input_is_called_by_its_name(charrnn):
    charrnn("train", "-", stdin="").fails(3, "standard input: the corpus is empty")


def test_dev_null_as_corpus(charrnn):
    what = "/dev/null: a device, not a file (files, pipes and standard input are read)"
    charrnn("train", "/dev/null").fails(3, what)
    charrnn("train", "/dev/zero", "--bytes").fails(3, what.replace("null", "zero"))


def test_one_character_corpus(charrnn, tmp_path):
    (tmp_path / "one.txt").write_text("a")
    message = f"{tmp_path}/one.txt: one character is too few (there must be a next one to learn)"
    charrnn("train", "one.txt").fails(3, message)


def test_directory_as_corpus(charrnn, tmp_path):
    (tmp_path / "folder").mkdir()
    charrnn("train", "folder").fails(3, f"{tmp_path}/folder: Is a directory")


@pytest.mark.parametrize("size", [0, 3, (1 << 20) - 1])
def test_corpus_that_is_not_utf_8_is_refused_with_the_place(charrnn, tmp_path, size):
    (tmp_path / "bad.txt").write_bytes(b"a" * size + b"\xe4nd so on")
    way_out = "(training takes --encoding latin-1, or --bytes for any file; iconv -f latin1 -t utf-8 converts one)"
    charrnn("train", "bad.txt").fails(3, f"{tmp_path}/bad.txt: not utf-8 at byte {size} (0xe4) {way_out}")


def test_corpus_that_ends_inside_a_character(charrnn, tmp_path):
    (tmp_path / "bad.txt").write_bytes("aé".encode()[:-1])
    way_out = "(training takes --encoding latin-1, or --bytes for any file; iconv -f latin1 -t utf-8 converts one)"
    charrnn("train", "bad.txt").fails(3, f"{tmp_path}/bad.txt: not utf-8 at byte 1 (0xc3) {way_out}")


def damaged_gzips():
    whole = gzip.compress(b"the quick brown fox " * 100, mtime=0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    wrong_sum = bytearray(whole)
    wrong_sum[-6] ^= 1
    return {
        "truncated": whole[:-12],
        "flipped bit": bytes(flipped),
        "wrong checksum": bytes(wrong_sum),
        "plain text": b"hello",
        "rubbish after the end": whole + b"rubbish",
    }


@pytest.mark.parametrize("damage", damaged_gzips())
def test_damaged_gzip_corpus(charrnn, tmp_path, damage):
    (tmp_path / "bad.txt.gz").write_bytes(damaged_gzips()[damage])
    outcome = charrnn("train", "bad.txt.gz")
    assert outcome.code == 3
    assert outcome.err.startswith(f"charrnn: error: {tmp_path}/bad.txt.gz: damaged gzip file: ")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_gzip_bomb_is_not_unpacked(charrnn, tmp_path):
    with gzip.open(tmp_path / "bomb.gz", "wb", compresslevel=1) as file:
        for _ in range(72):
            file.write(bytes(1 << 20))
    message = f"{tmp_path}/bomb.gz: unpacks to over 200 times its size (unpack it yourself if you trust it)"
    charrnn("train", "bomb.gz", "--max-steps", "1").fails(3, message)


def test_lines_without_a_line_feed(charrnn, tmp_path):
    (tmp_path / "flat.txt").write_text("no line ends here")
    charrnn("train", "flat.txt", "--lines").fails(3, "--lines: the corpus has no line feed")


@pytest.mark.parametrize("text", [None, ""])
def test_validation_file_that_cannot_validate_is_refused(charrnn, corpus, tmp_path, text):
    """Missing or empty: either way the validation that was asked for is impossible."""
    if text is not None:
        (tmp_path / "val.txt").write_text(text)
    outcome = charrnn("train", corpus, "--val-file", "val.txt", "--max-steps", "1", *TINY)
    assert outcome.code == 3
    assert outcome.err.startswith(f"charrnn: error: {tmp_path}/val.txt: ")
    assert outcome.err.count("\n") == 1


def test_unknown_character_in_a_prime(charrnn, trained):
    outcome = charrnn("sample", "--run", trained, "--prime", "fox\u00c9", "-n", "5")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (3, "", 1)
    assert outcome.err.startswith("charrnn: error: character '\xc9' (U+00C9) at position 3 is not in the vocabulary")


def test_unknown_character_in_a_scored_text(charrnn, trained, tmp_path):
    (tmp_path / "text.txt").write_text("lazy\tdog")
    outcome = charrnn("eval", "text.txt", "--run", trained)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (3, "", 1)
    assert outcome.err.startswith(r"charrnn: error: character '\t' (U+0009) at position 4 is not in the vocabulary")


@pytest.mark.parametrize("arguments", [["sample", "--prime", "\u00c9"], ["eval", "text.txt"]])
def test_unknown_character_error_names_the_way_out(charrnn, trained, tmp_path, arguments):
    (tmp_path / "text.txt").write_text("\u00c9")
    outcome = charrnn(*arguments, "--run", trained)
    assert outcome.code == 3
    assert "--on-unknown skip" in outcome.err


def test_unknown_byte_is_named_as_a_byte(charrnn, train, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"abab" * 100)
    train("data.bin", "--bytes", "--run", "r", "--max-steps", "1")
    outcome = charrnn("sample", "--run", "r", "--prime", "a\u00e9", "-n", "3")
    assert outcome.code == 3
    assert outcome.err.startswith("charrnn: error: byte 0xc3 at position 1 is not in the vocabulary")


def test_unknown_characters_are_skipped_on_request(charrnn, trained, tmp_path):
    skip = ("--run", trained, "--on-unknown", "skip")
    known = charrnn("sample", "--run", trained, "--prime", "fox", "--seed", "1", "-n", "20", "--hide-prime")
    mixed = charrnn("sample", *skip, "--prime", "f\u00c9ox\t", "--seed", "1", "-n", "20", "--hide-prime")
    assert (mixed.code, mixed.out, mixed.err) == (0, known.out, "")
    assert charrnn("eval", "-", *skip, "--json", stdin="qu\tick\u00c9").json == (
        charrnn("eval", "-", "--run", trained, "--json", stdin="quick").json
    )


def test_no_text_to_score(charrnn, trained):
    charrnn("eval", "-", "--run", trained, stdin="").fails(3, "standard input: the text is empty")


def test_missing_text_and_prime_files(charrnn, trained):
    charrnn("eval", "none.txt", "--run", trained).fails(3, "none.txt: No such file or directory")
    outcome = charrnn("sample", "--run", trained, "--prime-file", "none.txt")
    outcome.fails(3, "none.txt: No such file or directory")


# 4: runs and checkpoints


def test_existing_run_is_never_overwritten(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "1")
    before = content(tmp_path / "r")
    outcome = charrnn("train", corpus, "--run", "r", "--max-steps", "2", *TINY)
    outcome.fails(4, "r: already exists (choose another --run, or go on with --resume)")
    assert content(tmp_path / "r") == before


def test_existing_file_is_never_overwritten_by_a_run(charrnn, corpus, tmp_path):
    (tmp_path / "r").write_text("precious")
    outcome = charrnn("train", corpus, "--run", "r", "--max-steps", "1", *TINY)
    outcome.fails(4, "r: already exists (choose another --run, or go on with --resume)")
    assert (tmp_path / "r").read_text() == "precious"


@pytest.mark.parametrize("command", [["sample"], ["eval", "corpus.txt"]])
def test_missing_run(charrnn, corpus, command):
    charrnn(*command, "--run", "none").fails(4, "none: no such run (charrnn runs lists them)")
    charrnn(*command, "--model", "none.safetensors").fails(4, "none.safetensors: no such checkpoint")
    charrnn(*command).fails(4, "no runs under runs (train one first, or name one with --run or --model)")


def test_a_run_s_name_mistyped(charrnn, corpus, tmp_path):
    charrnn("train", corpus, "--max-steps", "1", "--hidden-size", "4", "--workers", "1", "--quiet")
    charrnn("sample", "corpus-01").fails(4, "corpus-01: no such run (did you mean corpus-001?)")
    charrnn("train", "--resume", "runs/corpsu-001").fails(4, "runs/corpsu-001: no such run (did you mean corpus-001?)")
    charrnn("sample", "other").fails(4, "other: no such run (charrnn runs lists them)")
    file = "runs/corpus-001/last.safetensors"
    way_out = "(its run is runs/corpus-001; --model takes a checkpoint)"
    charrnn("train", "--resume", file).fails(4, f"{file}: a file, and no run {way_out}")
    (tmp_path / "runs/corpus-001/config.json").write_text("{")
    charrnn("sample").fails(4, "no run that is whole under runs (train one first, or name one with --run or --model)")


def test_missing_run_for_train_info_and_runs(charrnn, corpus):
    charrnn("train", "--resume", "none").fails(4, "none: no such run (charrnn runs lists them)")
    charrnn("train", corpus, "--init-from", "none").fails(4, "none: no such checkpoint")
    charrnn("info", "none").fails(4, "none: no such checkpoint")
    charrnn("runs", "none").fails(4, "none: no such directory")


def test_directory_that_is_no_run(charrnn, tmp_path):
    (tmp_path / "folder").mkdir()
    for arguments in (["train", "--resume", "folder"], ["info", "folder"]):
        charrnn(*arguments).fails(4, "folder/config.json: No such file or directory")
    charrnn("sample", "--model", "folder").fails(4, "folder: is a directory (name a run with --run)")


def test_checkpoint_that_the_run_does_not_have(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "1")
    (tmp_path / "r" / "last.safetensors").unlink()
    outcome = charrnn("sample", "--run", "r", "--checkpoint", "last")
    outcome.fails(4, "r: this run has no last.safetensors yet (train it further with --resume)")


def damaged(outcome, path):
    """The outcome is exit 4 with one line that begins with the file's name."""
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (4, "", 1), outcome.err
    assert outcome.err.startswith(f"charrnn: error: {path}: ")
    return outcome.err


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 1000, -1000, -1])
def test_truncated_checkpoint(charrnn, trained, tmp_path, size):
    (tmp_path / "model.safetensors").write_bytes((trained / "best.safetensors").read_bytes()[:size])
    for command in (["sample", "--model"], ["info"]):
        error = damaged(charrnn(*command, "model.safetensors"), "model.safetensors")
        assert "not a charrnn checkpoint, or damaged: " in error


def test_every_flipped_bit_of_a_checkpoint_is_found(charrnn, trained, tmp_path):
    whole = (trained / "best.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    places = [*range(8), 8, 9, *rng.integers(10, header, 60), header - 1, header]
    places += [*rng.integers(header, len(whole), 25), len(whole) - 1]
    path = tmp_path / "model.safetensors"
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        damaged(charrnn("sample", "--model", path.name, "-n", "1"), path.name)
    path.write_bytes(whole)
    assert charrnn("sample", "--model", path.name, "-n", "1").code == 0


def test_pickle_under_a_checkpoints_name_is_refused_unopened(charrnn, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    error = damaged(charrnn("sample", "--model", "model.safetensors"), "model.safetensors")
    assert "not a charrnn checkpoint, or damaged: " in error
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_file_of_another_program(charrnn, tmp_path, metadata):
    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors", metadata)
    outcome = charrnn("sample", "--model", "model.safetensors")
    outcome.fails(4, "model.safetensors: a safetensors file of another program")


def test_checkpoint_of_another_version(charrnn, tmp_path):
    metadata = {"charrnn": json.dumps({"version": 99}), "sha256": "0" * 64}
    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors", metadata)
    outcome = charrnn("info", "model.safetensors")
    outcome.fails(4, "model.safetensors: a checkpoint of another version of charrnn")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_though_the_checksum_is_right(charrnn, trained, tmp_path, value):
    checkpoint = load_checkpoint(trained / "best.safetensors")
    checkpoint.weights["head.bias"][3] = value
    save_checkpoint(tmp_path / "model.safetensors", checkpoint)
    error = damaged(charrnn("sample", "--model", "model.safetensors"), "model.safetensors")
    assert "head.bias holds values that are not finite" in error


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda c: {"weights": c.weights | {"rnn.weight_hh_l0": c.weights["rnn.weight_hh_l0"].T}},
            "rnn.weight_hh_l0 has another shape or type than its configuration says",
        ),
        (
            lambda c: {"architecture": dataclasses.replace(c.architecture, hidden_size=17)},
            "has another shape or type than its configuration says",
        ),
        (
            lambda c: {"architecture": dataclasses.replace(c.architecture, num_layers=64, hidden_size=65536)},
            "has another shape or type than its configuration says",
        ),
        (lambda c: {"weights": without(c.weights, "head.bias")}, "head.bias is missing"),
        (lambda c: {"weights": c.weights | {"spare": np.zeros(1)}}, "spare does not belong to this model"),
        (
            lambda c: {"weights": {n: (w > 0 if n == "head.bias" else w) for n, w in c.weights.items()}},
            "head.bias has another shape or type than its configuration says",
        ),
    ],
    ids=["transposed", "hidden size", "giant", "missing", "spare", "booleans"],
)
def test_weights_that_do_not_match_their_configuration(charrnn, trained, tmp_path, change, reason):
    checkpoint = load_checkpoint(trained / "best.safetensors")
    save_checkpoint(tmp_path / "model.safetensors", dataclasses.replace(checkpoint, **change(checkpoint)))
    for command in (["sample", "--model"], ["info"]):
        error = damaged(charrnn(*command, "model.safetensors"), "model.safetensors")
        assert reason in error


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing state", "wrong standing", "wrong types"])
def test_resume_from_a_damaged_checkpoint(charrnn, train, corpus, tmp_path, damage):
    train(corpus, "--run", "r", "--max-steps", "4")
    path = tmp_path / "r" / "last.safetensors"
    checkpoint, whole = load_checkpoint(path), path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[:-100])
    elif damage == "flipped":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
    elif damage == "missing state":
        save_checkpoint(path, dataclasses.replace(checkpoint, tensors={}))
    elif damage == "wrong standing":
        training = checkpoint.training | {"standing": {"steps": 1}}
        save_checkpoint(path, dataclasses.replace(checkpoint, training=training))
    else:
        training = checkpoint.training | {"standing": checkpoint.training["standing"] | {"step": "4"}}
        save_checkpoint(path, dataclasses.replace(checkpoint, training=training))
    before = content(tmp_path / "r")
    damaged(charrnn("train", "--resume", "r", "--max-steps", "8", "--quiet"), "r/last.safetensors")
    assert content(tmp_path / "r") == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"corpus": []}', '{"corpus": 1, "model": 2, "text": 3, "train": 4}'])
def test_damaged_configuration_of_a_run(charrnn, train, corpus, tmp_path, text):
    train(corpus, "--run", "r", "--max-steps", "1")
    (tmp_path / "r" / "config.json").write_text(text)
    error = damaged(charrnn("train", "--resume", "r"), "r/config.json")
    assert ": damaged: " in error


def test_run_that_another_process_trains(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "1")
    fd = os.open(tmp_path / "r", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        outcome = charrnn("train", "--resume", "r", "--max-steps", "2", "--quiet")
    finally:
        os.close(fd)
    outcome.fails(4, "r: another process is training this run")


# 2: usage


@pytest.mark.parametrize(
    ("given", "wrong", "largest", "name"),
    [
        (["--seq-length", "10"], "99", 5, "--batch-size"),
        (["--seq-length", "10"], "6", 5, "--batch-size"),
        ([], "51", 50, "--batch-size"),
        ([], "51", 50, "--seq-length"),
        (["--batch-size", "4"], "100", 12, "--seq-length"),
        (["--batch-size", "4"], "5", 4, "--workers"),
    ],
)
def test_size_that_does_not_fit_names_the_largest_that_does(charrnn, tmp_path, given, wrong, largest, name):
    (tmp_path / "c.txt").write_text("abcdefghij" * 5)  # and the start symbol before it: 50 pairs
    fixed = ["--hidden-size", "4", "--val-fraction", "0", "--max-steps", "2", "--quiet", *given]
    outcome = charrnn("train", "c.txt", *fixed, name, wrong)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith(f"charrnn: error: {name} {wrong}: ")
    assert outcome.err.endswith(f"(the largest that fits is {largest})\n")
    assert not (tmp_path / "runs").exists()
    assert charrnn("train", "c.txt", *fixed, name, largest).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "c.txt", "--val-file", "v", "--val-fraction", "0.2"], "--val-file and --val-fraction"),
        (["train", "c.txt", "--bytes", "--encoding", "latin-1"], "--bytes and --encoding"),
        (["train", "--resume", "r", "--run", "s"], "--resume and --run"),
        (["train", "--resume", "r", "--init-from", "s"], "--resume and --init-from"),
        (["eval", "c.txt", "--per-line", "--per-char"], "--per-line and --per-char"),
        (["eval", "c.txt", "--run", "r", "--model", "m"], "--run and --model"),
        (["sample", "--run", "r", "--model", "m"], "--run and --model"),
        (["sample", "--prime", "a", "--prime-file", "b"], "--prime and --prime-file"),
        (["runs", "--json", "--csv"], "--json and --csv"),
    ],
)
def test_options_that_exclude_each_other(charrnn, arguments, message):
    charrnn(*arguments).fails(2, f"{message} exclude each other")


@pytest.mark.parametrize(
    "option", [("--cell", "gru"), ("--hidden-size", "4"), ("--num-layers", "2"), ("--embedding-size", "3")]
)
def test_init_from_excludes_the_shape_of_the_model(charrnn, corpus, option):
    outcome = charrnn("train", corpus, "--init-from", "m", *option)
    outcome.fails(2, f"{option[0]} and --init-from exclude each other (the model is given)")


def test_init_from_with_the_other_kind_of_vocabulary(charrnn, corpus, trained):
    outcome = charrnn("train", corpus, "--bytes", "--init-from", trained)
    message = "--init-from: one of the two has bytes for a vocabulary, the other characters (see --bytes)"
    outcome.fails(2, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "no corpus to train on (charrnn train FILE)"),
        (["sample", "-n", "0", "--num-samples", "2"], "--length 0 goes with one sample, as text, without --copies"),
        (["sample", "-n", "0", "--json"], "--length 0 goes with one sample, as text, without --copies"),
        (["sample", "--stop", ""], "--stop: an empty text would end every sample at once"),
        (
            ["sample", "--model", "m", "--checkpoint", "last"],
            "--checkpoint goes with --run: a --model is one checkpoint",
        ),
        (["runs", "--where", "cell"], "--where cell: not of the form FIELD=VALUE (or with !=, <, <=, >, >=)"),
    ],
)
def test_options_that_make_no_sense(charrnn, arguments, message):
    charrnn(*arguments).fails(2, message)


@pytest.mark.parametrize("option", ["--where", "--sort", "--columns", "--group-by"])
def test_a_field_that_no_run_has_is_named_with_those_there_are(charrnn, trained, option):
    words = "colour=red" if option == "--where" else "colour"
    outcome = charrnn("runs", trained.parent, option, words)
    assert outcome.code == 2
    assert outcome.err.startswith(f"charrnn: error: {option} colour: no such field; there are modified, corpus, cell, ")


def test_lines_for_a_model_without_a_line_feed(charrnn, train, tmp_path):
    (tmp_path / "flat.txt").write_text("abcd" * 100)
    train("flat.txt", "--run", "r", "--max-steps", "1")
    outcome = charrnn("eval", "flat.txt", "--run", "r", "--lines")
    outcome.fails(2, "--lines: the model does not know the line feed")


def test_split_that_leaves_nothing_to_train_on(charrnn, corpus):
    outcome = charrnn("train", corpus, "--val-fraction", "0.5", "--test-fraction", "0.5")
    message = "--val-fraction and --test-fraction leave nothing to train on (their sum must be below 1)"
    outcome.fails(2, message)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--hidden-size", "0", "0: must be at least 1"),
        ("--hidden-size", "65537", "65537: must be at most 65536"),
        ("--num-layers", "0", "0: must be at least 1"),
        ("--num-layers", "65", "65: must be at most 64"),
        ("--embedding-size", "-1", "-1: must be at least 0"),
        ("--dropout", "1", "1.0: must be less than 1"),
        ("--dropout", "-0.1", "-0.1: must be at least 0"),
        ("--val-fraction", "1", "1.0: must be less than 1"),
        ("--test-fraction", "-1", "-1.0: must be at least 0"),
        ("--batch-size", "0", "0: must be at least 1"),
        ("--seq-length", "0", "0: must be at least 1"),
        ("--learning-rate", "-1", "-1.0: must be at least 0"),
        ("--learning-rate", "nan", "nan: must be a finite number"),
        ("--warmup-steps", "-1", "-1: must be at least 0"),
        ("--weight-decay", "-1", "-1.0: must be at least 0"),
        ("--clip-norm", "inf", "inf: must be a finite number"),
        ("--clip-value", "-1", "-1.0: must be at least 0"),
        ("--max-epochs", "-1", "-1.0: must be at least 0"),
        ("--max-steps", "-1", "-1: must be at least 0"),
        ("--max-minutes", "nan", "nan: must be a finite number"),
        ("--patience", "-1", "-1: must be at least 0"),
        ("--seed", "-1", "-1: must be at least 0"),
        ("--seed", "9223372036854775808", "9223372036854775808: must be at most 9223372036854775807"),
        ("--workers", "0", "0: must be at least 1"),
        ("--workers", "1025", "1025: must be at most 1024"),
        ("--eval-every", "0", "0: must be at least 1"),
        ("--save-every", "0", "0: must be at least 1"),
        ("--sample-every", "0", "0: must be at least 1"),
        ("--cell", "transformer", "transformer: not one of lstm, gru, rnn"),
        ("--optimizer", "lbfgs", "lbfgs: not one of adamw, adam, rmsprop, adagrad, sgd"),
        ("--schedule", "step", "step: not one of cosine, linear, constant"),
        ("--encoding", "klingon", "'klingon': no such text encoding"),
        ("--encoding", "rot13", "'rot13': no such text encoding"),
        ("--encoding", "", "'': no such text encoding"),
    ],
)
def test_training_option_out_of_range(charrnn, corpus, tmp_path, option, value, message):
    charrnn("train", corpus, option, value).fails(2, f"{option} {message}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "-1", "-1.0: must be at least 0"),
        ("--temperature", "nan", "nan: must be a finite number"),
        ("--top-k", "-1", "-1: must be at least 0"),
        ("--top-p", "1.5", "1.5: must be at most 1"),
        ("--min-p", "2", "2.0: must be at most 1"),
        ("--checkpoint", "middle", "middle: not one of best, last"),
        ("--on-unknown", "ignore", "ignore: not one of error, skip"),
    ],
)
def test_sampling_option_out_of_range(charrnn, trained, option, value, message):
    charrnn("sample", "--run", trained, option, value).fails(2, f"{option} {message}")


@pytest.mark.parametrize(
    ("arguments", "option", "value", "limit"),
    [
        (["sample", "--length", "-7"], "--length", "-7", "0"),
        (["sample", "--num-samples", "-7"], "--num-samples", "-7", "1"),
        (["sample", "--seed", "-7"], "--seed", "-7", "0"),
        (["train", "c.txt", "--hidden-size", "big"], "--hidden-size", "big", "int"),
        (["train", "c.txt", "--dropout", "half"], "--dropout", "half", "float"),
    ],
)
def test_errors_of_the_parser_name_option_value_and_limit(charrnn, arguments, option, value, limit):
    outcome = charrnn(*arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert option in outcome.err
    assert limit in outcome.err
    assert value in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "c.txt", "--colour", "red"], "No such option: --colour"),
        (["train", "c.txt", "--hidden-size"], "Option '--hidden-size' requires an argument."),
        (["paint"], "No such command 'paint'."),
        (["info", "a", "b"], "Got unexpected extra argument"),
    ],
)
def test_unknown_and_missing_arguments(charrnn, arguments, message):
    """The line may end in a suggestion."""
    outcome = charrnn(*arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"charrnn: error: {message}")


def test_no_command_shows_the_help_and_no_empty_error(charrnn):
    outcome = charrnn()
    assert outcome.code == 2
    assert "Usage: " in outcome.out + outcome.err
    assert "charrnn: error:" not in outcome.err


BIG = "Invalid value for '--hidden-size': 'big' is not a valid int."


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("colour = 1", "--config sweep.toml: unknown setting 'colour'"),
        ("hidden-size = 8", "--config sweep.toml: unknown setting 'hidden-size'"),
        ("[model]\nhidden_size = 8", "--config sweep.toml: unknown setting 'model'"),
        ("hidden_size = 'big'", BIG),
        ("hidden_size = 8.9", "--config sweep.toml: hidden_size = 8.9: must be a whole number"),
        ("lr = 0.1\nlearning_rate = 0.2", "--config sweep.toml: learning_rate stands there twice, under two names"),
        ("hidden_size = true", "--config sweep.toml: hidden_size = True: takes a value, not true or false"),
        ("bytes = 1", "--config sweep.toml: bytes = 1: must be true or false"),
        ("hidden_size = 0", "--hidden-size 0: must be at least 1"),
        ("learning_rate = nan", "--learning-rate nan: must be a finite number"),
        ("bytes = true\nencoding = 'latin-1'", "--bytes and --encoding exclude each other"),
    ],
)
def test_configuration_file_with_a_mistake(charrnn, corpus, tmp_path, toml, message):
    (tmp_path / "sweep.toml").write_text(toml)
    charrnn("train", corpus, "--config", "sweep.toml").fails(2, message)
    assert not (tmp_path / "runs").exists()


def test_configuration_file_that_cannot_be_read(charrnn, corpus, tmp_path):
    charrnn("train", corpus, "--config", "none.toml").fails(2, "--config none.toml: No such file or directory")
    charrnn("train", corpus, "--config", ".").fails(2, "--config .: Is a directory")
    for toml in (b"\xff\xfe", b"hidden_size = ", b"hidden_size 8", b"cell = 'gru'\ncell = 'rnn'"):
        (tmp_path / "bad.toml").write_bytes(toml)
        outcome = charrnn("train", corpus, "--config", "bad.toml")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert outcome.err.startswith("charrnn: error: --config bad.toml: ")


# --resume refuses


@pytest.mark.parametrize(
    "option",
    [
        ("--hidden-size", "16"),
        ("--cell", "gru"),
        ("--num-layers", "2"),
        ("--embedding-size", "4"),
        ("--dropout", "0.5"),
        ("--batch-size", "4"),
        ("--seq-length", "8"),
        ("--seed", "2"),
        ("--bytes",),
        ("--lines",),
        ("--encoding", "latin-1"),
        ("--val-fraction", "0.2"),
        ("--test-fraction", "0.2"),
        ("--val-file", "v.txt"),
        ("--optimizer", "sgd"),
    ],
)
def test_resume_refuses_options_of_another_model_or_data(charrnn, trained, option):
    before = content(trained)
    outcome = charrnn("train", "--resume", trained, "--max-steps", "1000", *option)
    message = f"{option[0]} cannot be changed with --resume (it would be another run; see --init-from)"
    outcome.fails(2, message)
    assert content(trained) == before


def test_resume_refuses_other_settings_of_a_configuration_file(charrnn, trained, tmp_path):
    (tmp_path / "sweep.toml").write_text("cell = 'gru'")
    outcome = charrnn("train", "--resume", trained, "--config", "sweep.toml")
    outcome.fails(2, "--cell cannot be changed with --resume (it would be another run; see --init-from)")


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("change", ["longer", "other character", "new character"])
def test_resume_refuses_a_changed_corpus(charrnn, train, corpus, tmp_path, change, moved):
    train(corpus, "--run", "r", "--max-steps", "2")
    before, text = content(tmp_path / "r"), corpus.read_text()
    changed = {"longer": text + "fox", "other character": "T".lower() + "o" + text[2:], "new character": text + "%"}
    place = tmp_path / "moved.txt" if moved else corpus
    place.write_text(changed[change])
    outcome = charrnn("train", "--resume", "r", *(["moved.txt"] if moved else []), "--max-steps", "4", "--quiet")
    message = "the corpus has changed since this run was started (start a new run, or restore the text)"
    outcome.fails(4, f"r/last.safetensors: {message}")
    assert content(tmp_path / "r") == before


def test_resume_without_the_corpus(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.unlink()
    outcome = charrnn("train", "--resume", "r", "--max-steps", "4")
    hint = "where it has moved, name it: charrnn train --resume r FILE"
    outcome.fails(3, f"{tmp_path}/corpus.txt: the corpus is not there any more ({hint})")


def test_a_budget_that_is_spent_is_refused_and_nothing_changes(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "4")
    before = content(tmp_path / "r")
    outcome = charrnn("train", "--resume", "r", "--max-steps", "3")
    outcome.fails(2, "--max-steps 3: 4 steps and 0.0 minutes are done already (a larger budget goes on from there)")
    assert content(tmp_path / "r") == before
    outcome = charrnn("train", "--resume", "r")
    assert outcome.code == 0
    assert "all of its budget; to go on: charrnn train --resume r --max-minutes N" in outcome.err


def test_a_loss_that_has_run_away_is_divergence_though_it_is_finite(charrnn, corpus, tmp_path):
    outcome = charrnn("train", corpus, "--run", "r", *TINY, "--max-steps", "200", "--lr", "300", "--warmup-steps", "0")
    assert outcome.code == 5
    assert charrnn("eval", corpus, "--run", "r", "--json").json["loss"] < 10  # what was saved is not what ran away


def test_files_of_two_runs_are_not_taken_for_one(charrnn, train, corpus):
    train(corpus, "--run", "one", "--max-steps", "2")
    train(corpus, "--run", "two", "--max-steps", "2", "--seed", "2")
    shutil.copy("one/last.safetensors", "two/last.safetensors")
    what = "two: config.json says seed 2, last.safetensors 1 (they are not of one run)"
    charrnn("train", "--resume", "two", "--max-steps", "4").fails(4, what)
    charrnn("train", "--resume", "one", "--max-steps", "4", "--workers", "9").fails(
        2, "--workers 9: more than the batch has streams (the largest that fits is 8)"
    )


def test_resume_of_a_run_whose_corpus_came_from_standard_input(charrnn, train, tmp_path):
    text = "abcdefgh" * 50
    train("-", "--run", "r", "--max-steps", "2", stdin=text)
    outcome = charrnn("train", "--resume", "r", "--max-steps", "4", stdin="")
    outcome.fails(3, "r: its corpus came from standard input (name the file that holds it, after --resume)")
    (tmp_path / "text.txt").write_text(text)
    assert charrnn("train", "--resume", "r", "text.txt", "--max-steps", "4", "--json", "--quiet").json["steps"] == 4


# 5: divergence


DIVERGE = (
    "--dropout",
    "0.5",
    "--recurrent-dropout",
    "0",
    "--optimizer",
    "sgd",
    "--clip-norm",
    "0",
    "--warmup-steps",
    "0",
    "--max-steps",
    "500",
    "--lr",
)
OVERFLOW = "1e37", "1e39"  # the loss overflows after some steps; the weights do in the first


@pytest.mark.parametrize("rate", OVERFLOW)
def test_divergence_says_so_in_one_line_without_warnings(process, corpus, tmp_path, rate):
    outcome = process("train", corpus, "--run", "r", *TINY, *DIVERGE, rate, "--json", "--quiet")
    assert outcome.code == 5
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert json.loads(outcome.out) == result
    assert result["status"] == "diverged"
    # What made the weights worthless shows in the step after.
    steps = {result["steps"] + 1, result["steps"] + 2}
    assert any(outcome.err.startswith(f"charrnn: error: diverged at step {step}: the loss is ") for step in steps)
    assert outcome.err.endswith("(the last good state is saved; try a lower --learning-rate)\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rate", OVERFLOW)
def test_state_saved_at_divergence_is_whole(charrnn, corpus, tmp_path, rate):
    assert charrnn("train", corpus, "--run", "r", *TINY, *DIVERGE, rate, "--quiet").code == 5
    saved = load_checkpoint(tmp_path / "r" / "last.safetensors")
    assert saved.training["standing"]["step"] == json.loads((tmp_path / "r" / "result.json").read_text())["steps"]
    assert [row["status"] for row in json.loads(charrnn("runs", ".", "--json").out)["runs"]] == ["diverged"]
    assert charrnn("info", "r", "--json").json["training"]["status"] == "diverged"
    assert charrnn("sample", "--run", "r", "--checkpoint", "last", "-n", "1").code == 0


# 6: storage


@pytest.mark.parametrize("place", ["file/run", "file/deeper/run", "/proc/none/run", "/dev/null/run"])
def test_run_directory_that_cannot_be_made(charrnn, corpus, tmp_path, place):
    (tmp_path / "file").touch()
    outcome = charrnn("train", corpus, "--run", place, "--max-steps", "1", *TINY)
    assert (outcome.code, outcome.err.count("\n")) == (6, 1)
    assert outcome.err.startswith(f"charrnn: error: cannot write {place}: ")


@pytest.mark.parametrize("root", ["file", "file/runs", "/proc/none"])
def test_runs_root_that_cannot_be_made(charrnn, corpus, tmp_path, monkeypatch, root):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHARRNN_RUNS", root)
    outcome = charrnn("train", corpus, "--max-steps", "1", *TINY)
    assert (outcome.code, outcome.err.count("\n")) == (6, 1)
    assert outcome.err.startswith(f"charrnn: error: cannot write {root}")


@pytest.mark.parametrize("name", ["config.json", "best.safetensors", "last.safetensors", "result.json"])
def test_disk_that_is_full_loses_nothing_that_was_saved(charrnn, train, corpus, tmp_path, monkeypatch, name):
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    train(corpus, "--run", "r", "--max-steps", "2")
    before = content(tmp_path / "r")
    monkeypatch.setattr(os, "replace", full)
    arguments = ["--run", "s", corpus] if name == "config.json" else ["--resume", "r", "--max-steps", "4"]
    outcome = charrnn("train", *arguments, "--quiet")
    folder = arguments[1]
    message = "No space left on device (what was saved before is intact)"
    outcome.fails(6, f"cannot write {folder}/{name}: {message}")
    after = content(tmp_path / "r")
    assert after.keys() == before.keys()
    assert after[f"{tmp_path}/r/{name}"] == before[f"{tmp_path}/r/{name}"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = charrnn("train", "--resume", "r", "--max-steps", "5", "--json", "--quiet").json
    assert (result["status"], result["steps"]) == ("completed", 5)


@pytest.mark.parametrize(
    "command",
    [["sample", "--run", "RUN"], ["info", "RUN"], ["runs", "ROOT", "--csv"], ["eval", "corpus.txt", "--run", "RUN"]],
)
def test_standard_output_that_is_full(process, corpus, trained, command):
    names = {"RUN": trained, "ROOT": trained.parent}
    with open("/dev/full", "wb") as full:
        outcome = process(*(names.get(word, word) for word in command), stdout=full)
    outcome.fails(6, "cannot write the output: No space left on device")


# 130, 143, 129: signals

ENDLESS = (*TINY, "--max-steps", "100000000", "--eval-every", "20")


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2), (signal.SIGHUP, 129, 1)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_interrupted_run_is_saved_and_the_command_it_names_goes_on(started, corpus, tmp_path, number, code, workers):
    arguments = ["train", corpus, "--run", "r", "--json", *ENDLESS, "--workers", workers]
    child = started(*arguments)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == code
    last = err.decode().splitlines()[-1]
    before, _, command = last.partition("go on with: charrnn ")
    assert before == "interrupted and saved; "
    result = json.loads(out)
    assert (result["status"], result["workers"]) == ("interrupted", workers)
    assert json.loads((tmp_path / "r" / "result.json").read_text()) == result
    assert load_checkpoint(tmp_path / "r" / "last.safetensors").training["standing"]["step"] == result["steps"]
    child = started(*shlex.split(command), "--json")
    child.send_signal(number)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == code
    assert json.loads(out)["steps"] > result["steps"] > 0


def test_resume_command_of_a_run_with_a_space_in_its_name_can_be_pasted(started, corpus):
    child = started("train", corpus, "--run", "my run", *ENDLESS)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    command = err.decode().splitlines()[-1].partition("go on with: charrnn ")[2]
    assert shlex.split(command) == ["train", "--resume", "my run"]


def test_resume_command_of_an_interrupted_resume_keeps_the_larger_budget(charrnn, started, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "10")
    child = started("train", "--resume", "r", "--max-steps", "100000000", "--eval-every", "20")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    command = err.decode().splitlines()[-1].partition("go on with: charrnn ")[2]
    child = started(*shlex.split(command), "--json")  # it must go on, not end at once with what it has
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, json.loads(out)["status"]) == (130, "interrupted")


def test_run_started_with_nohup_outlives_its_terminal(started, corpus):
    child = started(
        *["train", corpus, *TINY, "--max-steps", "300", "--eval-every", "20", "--json"],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    child.send_signal(signal.SIGHUP)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, json.loads(out)["status"]) == (0, "completed")


def test_interrupted_sample_ends_without_a_word(trained):
    command = [sys.executable, "-m", "charrnn", "sample", "--run", str(trained), "-n", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.read(200)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, b"")


# 0: a reader that has seen enough


@pytest.mark.parametrize("length", ["0", "100000"])
def test_sample_into_head_is_a_success(trained, length):
    script = 'set -o pipefail; "$0" -m charrnn sample --run "$1" -n "$2" | head -c 10; exit ${PIPESTATUS[0]}'
    ended = subprocess.run(
        ["bash", "-c", script, sys.executable, str(trained), length], capture_output=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stderr, len(ended.stdout)) == (0, b"", 10)
