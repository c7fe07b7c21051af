"""charrnn train --resume: what it continues, and what it refuses."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint
from charrnn.runs.directory import Run

from .conftest import TEXT, error_cases, read_files


def test_a_larger_budget_continues_a_run_whose_corpus_has_moved(train, charrnn, corpus):
    train(corpus, "--run", "r", "--max-steps", "4")
    corpus.rename("moved.txt")
    result = charrnn("train", "--resume", "r", "moved.txt", "--max-steps", "9", "--json", "--quiet").json
    assert (result["run"], result["status"], result["steps"]) == ("r", "completed", 9)
    # The new place has been saved.
    assert charrnn("train", "--resume", "r", "--max-steps", "11", "--json", "--quiet").json["steps"] == 11


def test_a_budget_that_is_used_up_is_refused_and_nothing_changes(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "4")
    before = read_files(tmp_path / "r")
    charrnn("train", "--resume", "r", "--max-steps", "3").fails(2, "--max-steps 3", "4 steps", "larger budget")
    assert read_files(tmp_path / "r") == before
    outcome = charrnn("train", "--resume", "r")
    assert outcome.code == 0
    assert "used up" in outcome.err and "charrnn train --resume r --max-minutes N" in outcome.err


@error_cases(
    *((option, 2, option.split()[0], "--resume", "--init-from") for option in (
        *("--hidden-size 16", "--cell gru", "--num-layers 2", "--embedding-size 4", "--dropout 0.5", "--batch-size 4"),
        *("--seq-length 8", "--seed 2", "--bytes", "--lines", "--encoding latin-1", "--val-fraction 0.2"),
        *("--test-fraction 0.2", "--val-file v.txt", "--optimizer sgd", "--config o.toml"),
    ))
)  # fmt: skip
def test_options_of_another_model_or_other_data_are_refused(charrnn, trained, tmp_path, arguments, code, facts):
    (tmp_path / "o.toml").write_text("cell = 'gru'")
    option = "--cell" if facts[0] == "--config" else facts[0]
    before = read_files(trained)
    outcome = charrnn("train", "--resume", trained, "--max-steps", "1000", *arguments)
    outcome.fails(code, option, *facts[1:])
    assert read_files(trained) == before


@pytest.mark.parametrize("is_moved", [False, True], ids=["in place", "moved"])
@pytest.mark.parametrize("change", ["longer", "other character", "new character"])
def test_a_changed_corpus_is_refused(charrnn, train, corpus, tmp_path, change, is_moved):
    train(corpus, "--run", "r", "--max-steps", "2")
    before = read_files(tmp_path / "r")
    changed = {"longer": TEXT + "fox", "other character": "to" + TEXT[2:], "new character": TEXT + "%"}
    place = tmp_path / "moved.txt" if is_moved else corpus
    place.write_text(changed[change])
    words = ["moved.txt"] if is_moved else []
    outcome = charrnn("train", "--resume", "r", *words, "--max-steps", "4", "--quiet")
    outcome.fails(4, "r/last.safetensors", "the corpus has changed")
    assert read_files(tmp_path / "r") == before


def test_a_missing_corpus_is_named_with_the_remedy(charrnn, train, corpus, tmp_path):
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.unlink()
    outcome = charrnn("train", "--resume", "r", "--max-steps", "4")
    outcome.fails(3, f"{tmp_path}/corpus.txt", "charrnn train --resume r FILE")


def test_a_corpus_from_standard_input_must_be_given_as_a_file(charrnn, train, tmp_path):
    train("-", "--run", "r", "--max-steps", "2", stdin=TEXT)
    charrnn("train", "--resume", "r", "--max-steps", "4").fails(3, "r: ", "standard input", "--resume")
    (tmp_path / "text.txt").write_text(TEXT)
    assert charrnn("train", "--resume", "r", "text.txt", "--max-steps", "4", "--json", "--quiet").json["steps"] == 4


def test_files_of_two_runs_are_refused(charrnn, train, corpus):
    train(corpus, "--run", "one", "--max-steps", "2")
    train(corpus, "--run", "two", "--max-steps", "2", "--seed", "2")
    shutil.copy("one/last.safetensors", "two/last.safetensors")
    charrnn("train", "--resume", "two", "--max-steps", "4").fails(4, "two: ", "seed", "different runs")


def test_the_number_of_workers_is_limited_by_the_batch(charrnn, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "2")
    outcome = charrnn("train", "--resume", "r", "--max-steps", "4", "--workers", "9")
    outcome.fails(2, "--workers 9", "largest that fits is 8")


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "no tensors", "no training state", "wrong type"])
def test_a_damaged_checkpoint_is_refused_and_nothing_changes(charrnn, train, corpus, tmp_path, damage):
    train(corpus, "--run", "r", "--max-steps", "4")
    path = tmp_path / "r" / "last.safetensors"
    checkpoint = load_checkpoint(path)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "flipped bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
    elif damage == "no tensors":
        save_checkpoint(path, dataclasses.replace(checkpoint, tensors={}))
    else:
        state = {"steps": 1} if damage == "no training state" else checkpoint.training["state"] | {"step": "4"}
        save_checkpoint(path, dataclasses.replace(checkpoint, training=checkpoint.training | {"state": state}))
    before = read_files(tmp_path / "r")
    charrnn("train", "--resume", "r", "--max-steps", "8", "--quiet").fails(
        4, "r/last.safetensors: ", is_pinned=damage != "truncated"
    )
    assert read_files(tmp_path / "r") == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"corpus": []}', '{"corpus": 1, "model": 2, "data": 3, "train": 4}'])
def test_a_damaged_configuration_is_refused(charrnn, train, corpus, text):
    train(corpus, "--run", "r", "--max-steps", "1")
    Path("r/config.json").write_text(text)
    charrnn("train", "--resume", "r").fails(4, "r/config.json: damaged: ", is_pinned=False)


def test_a_run_that_another_process_trains_is_refused(charrnn, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "1")
    with Run(Path("r")).lock():
        outcome = charrnn("train", "--resume", "r", "--max-steps", "2", "--quiet")
    outcome.fails(4, "r: another process is training this run")


JOB = ("--run", "r", "--resume-or-start")


def test_a_job_starts_its_run_then_continues_it_and_then_has_nothing_to_do(train, corpus):
    words = (corpus, *JOB, "--val-fraction", "0.2", "--seed", "3")
    assert train(*words, "--max-steps", "4")["steps"] == 4
    assert train(*words, "--max-steps", "9")["steps"] == 9
    result = train(*words, "--max-steps", "9")
    assert (result["status"], result["steps"], result["config"]["train"]["seed"]) == ("completed", 9, 3)


def test_a_job_that_was_killed_before_its_first_checkpoint_starts_its_run(train, corpus):
    Path("r").mkdir()
    assert train(corpus, *JOB, "--max-steps", "4")["steps"] == 4


def test_a_job_with_other_options_than_its_run_is_refused(charrnn, train, corpus, tmp_path):
    train(corpus, *JOB, "--max-steps", "4")
    before = read_files(tmp_path / "r")
    for option, facts in (("--hidden-size 16", ("8", "16")), ("--val-file corpus.txt", ("not set", "corpus.txt"))):
        outcome = charrnn("train", corpus, *JOB, "--max-steps", "9", *option.split())
        outcome.fails(2, "r: ", option.split()[0], *facts)
    assert read_files(tmp_path / "r") == before


@error_cases(
    ("train corpus.txt --resume-or-start", 2, "--resume-or-start", "--run"),
    ("train corpus.txt --resume r --resume-or-start", 2, "--resume-or-start", "--resume"),
    ("train --run r --resume-or-start", 2, "no corpus"),
)
def test_a_job_needs_the_name_of_its_run_and_its_corpus(arguments, code, facts, charrnn, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "4")
    charrnn(*arguments).fails(code, *facts)
