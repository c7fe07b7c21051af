"""Checkpoints: what is saved is loaded, and whatever is not a whole checkpoint is refused in one line."""

import errno
import hashlib
import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import charrnn
from charrnn.errors import RunError, StorageError
from charrnn.models.architecture import Architecture
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

in_tmp_path = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
ARCHITECTURE = Architecture(cell="gru", hidden_size=3, num_layers=2, embedding_size=2, input_size=4, output_size=4)
CODES = (10, 97, 0x2014, 0x1F600)


def checkpoint(dtype=np.float32, training=False, **task):
    rng = np.random.default_rng(0)
    weights = {s.name: rng.standard_normal(s.shape).astype(dtype) for s in ARCHITECTURE.specs()}
    extra = {"moments": rng.random((2, 5)), "state": rng.random((1, 2, 3))} if training else {}
    state = {"standing": {"step": 7, "loss": 0.1, "best": None}} if training else {}
    task = {"name": "lm", "vocabulary": list(CODES), "bytes": False, "lines": False} | task
    return Checkpoint(ARCHITECTURE, task, weights, extra, state)


def assert_equal(actual, expected):
    assert (actual.architecture, actual.task) == (expected.architecture, expected.task)
    assert actual.training == expected.training
    for ours, theirs in ((actual.weights, expected.weights), (actual.tensors, expected.tensors)):
        assert set(ours) == set(theirs)
        for name, array in ours.items():
            assert array.dtype == theirs[name].dtype
            np.testing.assert_array_equal(array, theirs[name])


def assert_refused(path, load=load_checkpoint):
    with pytest.raises(RunError) as caught:
        load(path)
    line = str(caught.value)
    assert str(path) in line and line.isprintable(), "one line, and nothing that a terminal would obey"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("task", [{}, {"lines": True}, {"bytes": True, "vocabulary": [0, 10, 98, 255]}])
def test_what_is_saved_is_loaded(tmp_path, dtype, training, task):
    saved = checkpoint(dtype=dtype, training=training, **task)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    assert_equal(load_checkpoint(tmp_path / "a.safetensors"), saved)
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_views_that_are_not_contiguous_are_saved_as_they_look(tmp_path):
    saved = checkpoint()
    views = {name: np.asfortranarray(array) for name, array in saved.weights.items()}
    views["head.bias"] = np.repeat(views["head.bias"], 2)[::2]
    save_checkpoint(tmp_path / "a", replace(saved, weights=views))
    assert_equal(load_checkpoint(tmp_path / "a"), saved)


def test_the_same_checkpoint_is_the_same_bytes(tmp_path):
    """Ten times, for an order that is left to chance is right by chance half of the time."""
    saved = set()
    for _ in range(10):
        save_checkpoint(tmp_path / "a", checkpoint(training=True))
        saved.add((tmp_path / "a").read_bytes())
    assert len(saved) == 1


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_save_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, function, code):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint())
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StorageError, match="cannot write"):
            save_checkpoint(path, checkpoint(training=True))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_save_into_a_directory_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        save_checkpoint(tmp_path / "none" / "a", checkpoint())


mutations = st.lists(
    st.tuples(st.sampled_from(["flip", "set", "cut", "insert", "drop"]), st.floats(0, 1), st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


def mutate(data, kind, place, value):
    data, i = bytearray(data), int(place * (len(data) - 1))
    if kind == "flip":
        data[i] ^= value
    elif kind == "set":
        symbols = b'0123456789"{}[],:\\ -etfF\x00\xff'
        data[i] = symbols[value % len(symbols)]
    elif kind == "cut":
        del data[i:]
    elif kind == "insert":
        data[i:i] = bytes([value]) * (value % 9)
    else:
        del data[i : i + value]
    return bytes(data) or b"\0"


@in_tmp_path
@given(mutations, st.sampled_from([0.05, 1.0]))
def test_changed_bytes_are_refused_or_change_nothing(tmp_path, changes, where):
    """`where`: how far into the file the changes reach; its start is the header."""
    path, saved = tmp_path / "a.safetensors", checkpoint(training=True)
    save_checkpoint(path, saved)
    data = path.read_bytes()
    for kind, place, value in changes:
        data = mutate(data, kind, place * where, value)
    path.write_bytes(data)
    try:
        loaded = load_checkpoint(path)
    except RunError:
        assert_refused(path)
    else:
        assert_equal(loaded, saved)


@in_tmp_path
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert_refused(tmp_path / "a")


def digest(text, tensors):
    """As the checkpoint's own: a forger can compute it too."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode() + tensors[name].tobytes())
    return total.hexdigest()


def forge(path, change_text=None, change_tensors=None, **about):
    """A checkpoint with a valid checksum and whatever metadata; values in `about` replace the true ones."""
    save_checkpoint(path, checkpoint())
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + size])["__metadata__"]["charrnn"]
    text, tensors = json.dumps(json.loads(text) | about), load(data)
    text = text if change_text is None else change_text
    if change_tensors:
        change_tensors(tensors)
    path.write_bytes(save(tensors, {"charrnn": text, "sha256": digest(text, tensors)}))


def test_a_forgery_of_the_true_metadata_loads(tmp_path):
    """So that the forgeries below are refused for what is wrong in them."""
    forge(tmp_path / "a")
    assert_equal(load_checkpoint(tmp_path / "a"), checkpoint())


MODEL = ARCHITECTURE.to_dict()
TASK = checkpoint().task
HOSTILE = {
    "huge hidden size": {"architecture": MODEL | {"hidden_size": 65536, "num_layers": 64}},
    "hidden size beyond the limit": {"architecture": MODEL | {"hidden_size": 10**18}},
    "endless number of layers": {"architecture": MODEL | {"num_layers": 10**9}},
    "negative": {"architecture": MODEL | {"hidden_size": -3}},
    "text for a number": {"architecture": MODEL | {"hidden_size": "3"}},
    "true for a number": {"architecture": MODEL | {"num_layers": True}},
    "fraction": {"architecture": MODEL | {"hidden_size": 3.0}},
    "not a number": {"architecture": MODEL | {"hidden_size": float("nan")}},
    "unknown cell": {"architecture": MODEL | {"cell": "transformer"}},
    "line feed and escape in a cell": {"architecture": MODEL | {"cell": "x\ny\x1b[2J"}},
    "unknown setting": {"architecture": MODEL | {"exec\n\x1b[2J": 1}},
    "list for an object": {"architecture": [1, 2]},
    "model is null": {"architecture": None},
    "no settings": {"architecture": {}},
    "training is a list": {"training": []},
    "no task": {"task": None},
    "task is a list": {"task": []},
    "other version": {"version": 3},
    "version is true": {"version": True},
    "version is a list": {"version": [1]},
}


@pytest.mark.parametrize("about", HOSTILE.values(), ids=HOSTILE)
def test_hostile_metadata_is_refused_without_allocating_what_it_claims(tmp_path, about):
    forge(tmp_path / "a", **about)
    tracemalloc.start()
    try:
        assert_refused(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


WORDS = {
    "empty vocabulary": {"vocabulary": []},
    "vocabulary out of order": {"vocabulary": [97, 10, 8212, 128512]},
    "vocabulary twice": {"vocabulary": [10, 10, 97, 98]},
    "vocabulary beyond unicode": {"vocabulary": [10, 97, 98, 0x110000]},
    "negative code": {"vocabulary": [-1, 10, 97, 98]},
    "huge code": {"vocabulary": [10, 97, 98, 10**400]},
    "fractional code": {"vocabulary": [10, 97, 98, 99.0]},
    "true as a code": {"vocabulary": [True, 10, 97, 98]},
    "text vocabulary": {"vocabulary": "abcd"},
    "object vocabulary": {"vocabulary": {"a": 1}},
    "long vocabulary": {"vocabulary": list(range(500_000))},
    "characters as bytes": {"bytes": True},
    "bytes is a number": {"bytes": 1},
    "lines is text": {"lines": "yes"},
    "another vocabulary size": {"vocabulary": [10, 97, 98]},
    "another task": {"name": "chess"},
    "name is a list": {"name": ["lm"]},
    "no words": {"vocabulary": None},
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_task_s_hostile_words_are_refused_where_they_are_read(tmp_path, words):
    forge(tmp_path / "a", task=TASK | words)
    tracemalloc.start()
    try:
        assert_refused(tmp_path / "a", charrnn.load)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


TEXTS = {
    "deep list": "[" * 200_000,
    "deep object": '{"a":' * 100_000,
    "deep training": '{"version": 2, "training": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "long number": '{"version": ' + "1" * 100_000 + "}",
    "empty": "",
    "not JSON": "version: 1",
    "a list": "[1]",
    "null": "null",
    "only a version": '{"version": 2}',
    "only an old version": '{"version": 1}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_metadata_that_is_no_description_is_refused(tmp_path, text):
    forge(tmp_path / "a", change_text=text)
    assert_refused(tmp_path / "a")


TENSORS = {
    "missing": lambda t: t.pop("rnn.bias_hh_l1"),
    "stranger": lambda t: t.update({"evil\x1b[2J": np.zeros(3)}),
    "other shape": lambda t: t.update({"head.bias": np.zeros((4, 1), np.float32)}),
    "transposed": lambda t: t.update({"head.weight": np.zeros((3, 4), np.float32)}),
    "whole numbers": lambda t: t.update({"head.bias": np.zeros(4, np.int32)}),
    "half precision": lambda t: t.update({"head.bias": np.zeros(4, np.float16)}),
    "not a number": lambda t: t["head.bias"].fill(np.nan),
    "infinite": lambda t: t["embedding.weight"].fill(np.inf),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_tensors_that_do_not_fit_the_description_are_refused(tmp_path, change):
    forge(tmp_path / "a", change_tensors=change)
    assert_refused(tmp_path / "a")


def test_a_header_that_claims_to_be_huge_is_refused(tmp_path):
    for size in (2**63, 2**40, 10**8):
        (tmp_path / "a").write_bytes(size.to_bytes(8, "little") + b'{"a":{}}' * 9)
        assert_refused(tmp_path / "a")


def test_a_safetensors_file_of_another_program_is_refused_as_that(tmp_path):
    (tmp_path / "a").write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(RunError, match="another program"):
        load_checkpoint(tmp_path / "a")


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RunError, match="no such checkpoint"):
            load_checkpoint(path)
