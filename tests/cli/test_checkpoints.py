"""Runs and checkpoint files that are missing or damaged: one line that names the file, in every command."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint

from .conftest import error_cases

MODEL = "model.safetensors"


@error_cases(
    ("sample --run none", 4, "none: no such run", "charrnn runs"),
    ("sample --model none.safetensors", 4, "none.safetensors: no such checkpoint"),
    ("sample", 4, "no runs under runs", "train one", "--run", "--model"),
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
    ("eval folder --run folder", 2, "folder: a run, not a file", "--run folder"),
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


@pytest.fixture
def is_refused(charrnn):
    """Asserts that `sample` and `info` refuse the file MODEL. Facts are in both messages."""

    def check(*facts, is_pinned=True):
        for words in (["sample", "--model", MODEL], ["info", MODEL]):
            charrnn(*words).fails(4, f"{MODEL}: ", *facts, is_pinned=is_pinned)

    return check


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 1000, -1000, -1])
def test_a_truncated_checkpoint_is_refused(is_refused, trained, size):
    Path(MODEL).write_bytes((trained / "best.safetensors").read_bytes()[:size])
    is_refused("not a charrnn checkpoint, or damaged", is_pinned=False)


def test_every_flipped_bit_of_a_checkpoint_is_detected(charrnn, trained):
    content = (trained / "best.safetensors").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    places = [*range(8), 8, 9, *rng.integers(10, header, 60), header - 1, header]
    places += [*rng.integers(header, len(content), 25), len(content) - 1]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        Path(MODEL).write_bytes(flipped)
        charrnn("sample", "--model", MODEL, "-n", "1").fails(4, f"{MODEL}: ", is_pinned=False)
    Path(MODEL).write_bytes(content)
    assert charrnn("sample", "--model", MODEL, "-n", "1").code == 0


def test_a_pickle_is_refused_and_not_executed(is_refused):
    class Trap:
        def __reduce__(self):
            return os.mkdir, ("executed",)

    Path(MODEL).write_bytes(pickle.dumps(Trap()))
    is_refused("not a charrnn checkpoint, or damaged", is_pinned=False)
    assert not Path("executed").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["no metadata", "other metadata"])
def test_a_safetensors_file_of_another_program_is_refused(is_refused, metadata):
    save_file({"weight": np.zeros((2, 2), np.float32)}, MODEL, metadata)
    is_refused("another program")


def test_a_checkpoint_of_another_format_is_refused(is_refused):
    metadata = {"charrnn": json.dumps({"format": 99}), "sha256": "0" * 64}
    save_file({"weight": np.zeros((2, 2), np.float32)}, MODEL, metadata)
    is_refused("format")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(is_refused, trained, value):
    checkpoint = load_checkpoint(trained / "best.safetensors")
    checkpoint.weights["head.bias"][3] = value
    save_checkpoint(Path(MODEL), checkpoint)
    is_refused("finite")


def transpose(tensors, architecture):
    tensors["rnn.weight_hh_l0"] = np.ascontiguousarray(tensors["rnn.weight_hh_l0"].T)


def remove(tensors, architecture):
    del tensors["head.bias"]


def add(tensors, architecture):
    tensors["spare"] = np.zeros(1, np.float32)


def change_type(tensors, architecture):
    tensors["head.bias"] = tensors["head.bias"] > 0


def enlarge(tensors, architecture):
    architecture["hidden_size"] += 1


def enlarge_very_much(tensors, architecture):
    architecture |= {"num_layers": 64, "hidden_size": 65536}


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (transpose, "rnn.weight_hh_l0 has a shape"),
        (enlarge, "has a shape"),
        (enlarge_very_much, "has a shape"),
        (remove, "head.bias is missing"),
        (add, "spare does not belong to this model"),
        (change_type, "head.bias has a shape or type"),
    ],
)
def test_weights_that_do_not_fit_the_architecture_are_refused(is_refused, trained, change, fact):
    with safe_open(trained / "best.safetensors", framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        metadata = json.loads(file.metadata()["charrnn"])
    change(tensors, metadata["architecture"])
    save_file(tensors, MODEL, {"charrnn": json.dumps(metadata)})
    is_refused(fact)
