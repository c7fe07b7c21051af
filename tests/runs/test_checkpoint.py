"""Checkpoints: a saved checkpoint is loaded unchanged, and any other file is refused with a one-line error."""

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
from safetensors import safe_open
from safetensors.numpy import load_file, save

import charrnn
import charrnn.tasks.language.model  # so that no memory of imports is counted below
from charrnn.errors import RunError, StorageError
from charrnn.models.architecture import Architecture
from charrnn.nn.parameters import count_parameters
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

in_tmp_path = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
ARCHITECTURE = Architecture(cell="gru", hidden_size=3, num_layers=2, embedding_size=2, input_size=4, output_size=4)
CODES = (10, 97, 0x2014, 0x1F600)
MEMORY_LIMIT = 100e6  # bytes that refusing a file may use


def make_checkpoint(dtype=np.float32, training=False, **task):
    rng = np.random.default_rng(0)
    parameters = rng.standard_normal(count_parameters(ARCHITECTURE.specs())).astype(dtype)
    tensors = {}
    state = {}
    if training:
        tensors = {"parameters": parameters + 1, "moments": rng.random((2, 5)), "state": rng.random((1, 2, 3))}
        state = {"state": {"step": 7, "loss": 0.1, "best": None}}
    task = {"name": "lm", "vocabulary": list(CODES), "bytes": False, "lines": False} | task
    return Checkpoint(ARCHITECTURE, task, parameters, tensors, state)


def assert_equal(actual, expected):
    assert actual.architecture == expected.architecture
    assert actual.task == expected.task
    assert actual.training == expected.training
    actual_arrays = {"all": actual.parameters, **actual.tensors}
    expected_arrays = {"all": expected.parameters, **expected.tensors}
    assert set(actual_arrays) == set(expected_arrays)
    for name, array in actual_arrays.items():
        assert array.dtype == expected_arrays[name].dtype
        np.testing.assert_array_equal(array, expected_arrays[name])


def assert_refused(path, load=load_checkpoint):
    with pytest.raises(RunError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable(), "the message is one line without control characters"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("task", [{}, {"lines": True}, {"bytes": True, "vocabulary": [0, 10, 98, 255]}])
def test_a_saved_checkpoint_is_loaded_unchanged(tmp_path, dtype, training, task):
    saved = make_checkpoint(dtype=dtype, training=training, **task)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    assert_equal(load_checkpoint(tmp_path / "a.safetensors"), saved)
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_the_file_contains_weights_by_name_and_training_tensors_with_a_prefix(tmp_path):
    saved = make_checkpoint(training=True)
    save_checkpoint(tmp_path / "a", saved)
    tensors = load_file(tmp_path / "a")
    names = [spec.name for spec in ARCHITECTURE.specs()]
    assert set(tensors) == {*names, "training.parameters", "training.moments", "training.state"}
    np.testing.assert_array_equal(np.concatenate([tensors[name].ravel() for name in names]), saved.parameters)


def test_weights_are_views_into_the_parameters():
    checkpoint = make_checkpoint()
    weights = checkpoint.weights
    assert {name: weight.shape for name, weight in weights.items()} == {s.name: s.shape for s in ARCHITECTURE.specs()}
    assert all(np.shares_memory(weight, checkpoint.parameters) for weight in weights.values())


def test_a_training_tensor_that_is_not_contiguous_is_saved_with_the_right_values(tmp_path):
    saved = make_checkpoint(training=True)
    moments = np.asfortranarray(saved.tensors["moments"])
    state = np.repeat(saved.tensors["state"], 2, axis=2)[:, :, ::2]
    views = saved.tensors | {"moments": moments, "state": state}
    save_checkpoint(tmp_path / "a", replace(saved, tensors=views))
    assert_equal(load_checkpoint(tmp_path / "a"), saved)


def test_numbers_that_are_not_finite_are_saved_as_null(tmp_path):
    saved = replace(make_checkpoint(), training={"loss": float("nan"), "rates": [float("inf"), 1.0]})
    save_checkpoint(tmp_path / "a", saved)
    assert load_checkpoint(tmp_path / "a").training == {"loss": None, "rates": [None, 1.0]}


def test_saving_is_deterministic(tmp_path):
    """Ten times, because an order that depends on chance is right by chance half of the time."""
    contents = set()
    for _ in range(10):
        save_checkpoint(tmp_path / "a", make_checkpoint(training=True))
        contents.add((tmp_path / "a").read_bytes())
    assert len(contents) == 1


def test_a_save_needs_no_memory_for_copies_of_the_tensors(tmp_path):
    checkpoint = make_checkpoint(training=True)
    checkpoint = replace(checkpoint, tensors=checkpoint.tensors | {"moments": np.zeros((2, 1 << 20), np.float32)})
    tracemalloc.start()
    save_checkpoint(tmp_path / "a", checkpoint)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert load_file(tmp_path / "a")["training.moments"].shape == (2, 1 << 20)


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failed_save_leaves_the_old_file_and_no_temporary_file(tmp_path, monkeypatch, function, code):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, make_checkpoint())
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StorageError, match="cannot write"):
            save_checkpoint(path, make_checkpoint(training=True))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_saving_into_a_missing_directory_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        save_checkpoint(tmp_path / "none" / "a", make_checkpoint())


mutations = st.lists(
    st.tuples(st.sampled_from(["flip", "set", "truncate", "insert", "delete"]), st.floats(0, 1), st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


def mutate(data, kind, place, value):
    data = bytearray(data)
    i = int(place * (len(data) - 1))
    if kind == "flip":
        data[i] ^= value
    elif kind == "set":
        symbols = b'0123456789"{}[],:\\ -etfF\x00\xff'
        data[i] = symbols[value % len(symbols)]
    elif kind == "truncate":
        del data[i:]
    elif kind == "insert":
        data[i:i] = bytes([value]) * (value % 9)
    else:
        del data[i : i + value]
    return bytes(data) or b"\0"


@in_tmp_path
@given(mutations, st.sampled_from([0.05, 1.0]))
def test_a_mutated_file_is_refused_or_means_the_same(tmp_path, changes, fraction):
    """`fraction`: the part of the file, from its beginning, that is mutated. The file begins with the header."""
    path = tmp_path / "a.safetensors"
    saved = make_checkpoint(training=True)
    save_checkpoint(path, saved)
    data = path.read_bytes()
    for kind, place, value in changes:
        data = mutate(data, kind, place * fraction, value)
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


def digest(metadata, tensors):
    """The checksum as README.md specifies it. The author of a forged file can compute it, too."""
    sha256 = hashlib.sha256(json.dumps(metadata).encode())
    for name in sorted(tensors):
        sha256.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode() + tensors[name].tobytes())
    return sha256.hexdigest()


def forge(path, change_tensors=None, **changes):
    """Writes a checkpoint with changed metadata or tensors, and a checksum that matches."""
    save_checkpoint(path, make_checkpoint())
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["charrnn"])
    del metadata["sha256"]
    metadata |= changes
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    text = json.dumps(metadata | {"sha256": digest(metadata, tensors)})
    path.write_bytes(save(tensors, {"charrnn": text}))


def test_a_forged_file_without_changes_is_loaded(tmp_path):
    """So the forged files below are refused because of their changes."""
    forge(tmp_path / "a")
    assert_equal(load_checkpoint(tmp_path / "a"), make_checkpoint())


def test_a_wrong_checksum_is_refused(tmp_path):
    forge(tmp_path / "a")
    tensors = load_file(tmp_path / "a")
    with safe_open(tmp_path / "a", framework="numpy") as file:
        metadata = file.metadata()
    tensors["head.bias"][0] += 1
    (tmp_path / "a").write_bytes(save(tensors, metadata))
    with pytest.raises(RunError, match="the checksum does not match"):
        load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("number", [1, 2, 4, 99, "3", [3], None, True])
def test_a_checkpoint_of_another_format_is_refused_in_one_line(tmp_path, number):
    forge(tmp_path / "a", format=number)
    with pytest.raises(RunError) as caught:
        load_checkpoint(tmp_path / "a")
    problem = "not a checkpoint of format 3, the only format that this version reads"
    assert str(caught.value) == f"{tmp_path / 'a'}: {problem}"


MODEL = ARCHITECTURE.to_dict()
HOSTILE_METADATA = {
    "large network": {"architecture": MODEL | {"hidden_size": 65536, "num_layers": 64}},
    "hidden size above the limit": {"architecture": MODEL | {"hidden_size": 10**18}},
    "number of layers above the limit": {"architecture": MODEL | {"num_layers": 10**9}},
    "negative hidden size": {"architecture": MODEL | {"hidden_size": -3}},
    "text instead of a number": {"architecture": MODEL | {"hidden_size": "3"}},
    "boolean instead of a number": {"architecture": MODEL | {"num_layers": True}},
    "fractional number": {"architecture": MODEL | {"hidden_size": 3.0}},
    "NaN": {"architecture": MODEL | {"hidden_size": float("nan")}},
    "unknown cell": {"architecture": MODEL | {"cell": "transformer"}},
    "control characters in the cell": {"architecture": MODEL | {"cell": "x\ny\x1b[2J"}},
    "unknown name": {"architecture": MODEL | {"exec\n\x1b[2J": 1}},
    "architecture is a list": {"architecture": [1, 2]},
    "architecture is null": {"architecture": None},
    "architecture is empty": {"architecture": {}},
    "training is a list": {"training": []},
    "task is null": {"task": None},
    "task is a list": {"task": []},
    "task without a name": {"task": {}},
}


@pytest.mark.parametrize("changes", HOSTILE_METADATA.values(), ids=HOSTILE_METADATA)
def test_hostile_metadata_are_refused_before_memory_is_allocated(tmp_path, changes):
    forge(tmp_path / "a", **changes)
    tracemalloc.start()
    try:
        assert_refused(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    finally:
        tracemalloc.stop()


HOSTILE_TASKS = {
    "empty vocabulary": {"vocabulary": []},
    "vocabulary not ascending": {"vocabulary": [97, 10, 8212, 128512]},
    "repeated code": {"vocabulary": [10, 10, 97, 98]},
    "code above Unicode": {"vocabulary": [10, 97, 98, 0x110000]},
    "negative code": {"vocabulary": [-1, 10, 97, 98]},
    "huge code": {"vocabulary": [10, 97, 98, 10**400]},
    "fractional code": {"vocabulary": [10, 97, 98, 99.0]},
    "boolean code": {"vocabulary": [True, 10, 97, 98]},
    "vocabulary is text": {"vocabulary": "abcd"},
    "vocabulary is an object": {"vocabulary": {"a": 1}},
    "long vocabulary": {"vocabulary": list(range(100_000))},
    "vocabulary is null": {"vocabulary": None},
    "characters declared as bytes": {"bytes": True},
    "bytes is a number": {"bytes": 1},
    "lines is text": {"lines": "yes"},
    "another vocabulary size": {"vocabulary": [10, 97, 98]},
    "unknown task": {"name": "chess"},
    "name is a list": {"name": ["lm"]},
}


@pytest.mark.parametrize("changes", HOSTILE_TASKS.values(), ids=HOSTILE_TASKS)
def test_hostile_metadata_of_a_task_are_refused_when_the_model_is_loaded(tmp_path, changes):
    forge(tmp_path / "a", task=make_checkpoint().task | changes)
    tracemalloc.start()
    try:
        assert_refused(tmp_path / "a", charrnn.load)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    finally:
        tracemalloc.stop()


NOT_METADATA = {
    "deep list": "[" * 200_000,
    "deep object": '{"a":' * 100_000,
    "deep training state": '{"format": 3, "training": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "long number": '{"format": ' + "1" * 100_000 + "}",
    "empty": "",
    "not JSON": "format: 3",
    "a list": "[1]",
    "null": "null",
    "only a format": '{"format": 3}',
}


@pytest.mark.parametrize("text", NOT_METADATA.values(), ids=NOT_METADATA)
def test_text_that_is_not_metadata_is_refused(tmp_path, text):
    save_checkpoint(tmp_path / "a", make_checkpoint())
    tensors = load_file(tmp_path / "a")
    (tmp_path / "a").write_bytes(save(tensors, {"charrnn": text}))
    assert_refused(tmp_path / "a")


WRONG_TENSORS = {
    "missing": lambda tensors: tensors.pop("rnn.bias_hh_l1"),
    "unknown": lambda tensors: tensors.update({"evil\x1b[2J": np.zeros(3)}),
    "wrong shape": lambda tensors: tensors.update({"head.bias": np.zeros((4, 1), np.float32)}),
    "transposed": lambda tensors: tensors.update({"head.weight": np.zeros((3, 4), np.float32)}),
    "integers": lambda tensors: tensors.update({"head.bias": np.zeros(4, np.int32)}),
    "half precision": lambda tensors: tensors.update({"head.bias": np.zeros(4, np.float16)}),
    "mixed precision": lambda tensors: tensors.update({"head.bias": np.zeros(4, np.float64)}),
    "NaN": lambda tensors: tensors["head.bias"].fill(np.nan),
    "infinite": lambda tensors: tensors["embedding.weight"].fill(np.inf),
}


@pytest.mark.parametrize("change", WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_tensors_that_do_not_fit_the_architecture_are_refused(tmp_path, change):
    forge(tmp_path / "a", change_tensors=change)
    assert_refused(tmp_path / "a")


def test_a_header_that_claims_to_be_huge_is_refused(tmp_path):
    for size in (2**63, 2**40, 10**8):
        (tmp_path / "a").write_bytes(size.to_bytes(8, "little") + b'{"a":{}}' * 9)
        assert_refused(tmp_path / "a")


def test_a_safetensors_file_of_another_program_is_named_as_such(tmp_path):
    (tmp_path / "a").write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(RunError, match="another program"):
        load_checkpoint(tmp_path / "a")


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RunError, match="no such checkpoint"):
            load_checkpoint(path)
