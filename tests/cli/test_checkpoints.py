"""Runs and checkpoint files that are missing or damaged: one line that names the file, in every command."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint

from .conftest import error_cases


@error_cases(
    ("sample --run none", 4, "none: no such run", "charrnn runs"),
    ("sample --model none.safetensors", 4, "none.safetensors: no such checkpoint"),
    ("sample", 4, "no runs under runs", "train a model", "--run", "--model"),
    ("eval corpus.txt --run none", 4, "none: no such run"),
    ("eval corpus.txt --model none.safetensors", 4, "none.safetensors: no such checkpoint"),
    ("eval corpus.txt", 4, "no runs under runs"),
    ("train --resume none", 4, "none: no such run"),
    ("train corpus.txt --init-from none", 4, "none: no such checkpoint"),
    ("info none", 4, "none: no such checkpoint"),
    ("runs none", 4, "none: no such directory"),
    ("train --resume folder", 4, "folder/config.json", "No such file"),
    ("info folder", 4, "folder/config.json", "No such file"),
    ("sample --model folder", 4, "folder: is a directory", "--run"),
    ("eval folder --run folder", 2, "folder: is a run, not a file", "--run folder"),
    ("sample --model m --checkpoint last", 2, "--checkpoint", "--run", "--model"),
)
def test_what_does_not_exist_is_named(charrnn, corpus, arguments, code, facts):
    if "folder" in arguments:
        Path("folder" if arguments[0] != "eval" else "runs/folder").mkdir(parents=True)
    charrnn(*arguments).fails(code, *facts)


def test_a_misspelled_run_is_suggested(charrnn, train, corpus):
    train(corpus, "--max-steps", "1")
    charrnn("sample", "corpus-01").fails(4, "corpus-01: no such run", "did you mean corpus-001?")
    charrnn("train", "--resume", "runs/corpsu-001").fails(4, "runs/corpsu-001", "did you mean corpus-001?")
    charrnn("sample", "other").fails(4, "other: no such run", "charrnn runs")


def test_a_checkpoint_is_no_run(charrnn, train, corpus):
    train(corpus, "--max-steps", "1")
    file = "runs/corpus-001/last.safetensors"
    charrnn("train", "--resume", file).fails(4, file, "runs/corpus-001", "--model")


def test_a_damaged_run_is_not_the_newest(charrnn, train, corpus):
    train(corpus, "--max-steps", "1")
    Path("runs/corpus-001/config.json").write_text("{")
    charrnn("sample").fails(4, "under runs", "--run", "--model")


def test_a_checkpoint_that_the_run_does_not_have_is_named(charrnn, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "1")
    Path("r/last.safetensors").unlink()
    charrnn("sample", "--run", "r", "--checkpoint", "last").fails(4, "r: ", "last checkpoint", "--resume")


def flip_bit(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGES = {  # tests/runs/test_checkpoint.py has more
    "empty": lambda content: b"",
    "header cut off": lambda content: content[:100],
    "weights cut off": lambda content: content[:-1],
    "flipped bit in the size of the header": lambda content: flip_bit(content, 0),
    "flipped bit in the header": lambda content: flip_bit(content, 200),
    "flipped bit in the weights": lambda content: flip_bit(content, len(content) - 1),
    "pickle": lambda content: pickle.dumps(Trap()),
}


class Trap:
    """Makes a directory when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(charrnn, trained, damage):
    Path("model.safetensors").write_bytes(DAMAGES[damage]((trained / "best.safetensors").read_bytes()))
    for words in (["sample", "--model", "model.safetensors"], ["info", "model.safetensors"]):
        charrnn(*words).fails(4, "model.safetensors: ", "not a charrnn checkpoint, or damaged", is_pinned=False)
    assert not Path("executed").exists()


def test_a_safetensors_file_of_another_program_is_refused(charrnn):
    save_file({"weight": np.zeros((2, 2), np.float32)}, "model.safetensors", {"format": "pt"})
    charrnn("sample", "--model", "model.safetensors").fails(4, "model.safetensors: ", "another program")


def test_a_checkpoint_of_another_format_is_refused(charrnn):
    metadata = {"charrnn": json.dumps({"format": 99})}
    save_file({"weight": np.zeros((2, 2), np.float32)}, "model.safetensors", metadata)
    charrnn("info", "model.safetensors").fails(4, "model.safetensors: ", "format")


def test_weights_that_are_not_finite_are_refused(charrnn, trained):
    checkpoint = load_checkpoint(trained / "best.safetensors")
    checkpoint.weights["head.bias"][3] = np.nan
    save_checkpoint(Path("model.safetensors"), checkpoint)
    charrnn("sample", "--model", "model.safetensors").fails(4, "model.safetensors: ", "finite")
