"""charrnn export: the ONNX file and the description of its inputs and outputs."""

import os

import pytest

from .conftest import error_cases

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")


def test_inputs_and_outputs_are_printed(charrnn, trained):
    outcome = charrnn("export", "--run", trained, "model.onnx")
    assert (outcome.code, outcome.err) == (0, "saved model.onnx\n")
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["input", "ids", "int64", "T", "x", "B"],
        ["input", "h", "float32", "1", "x", "B", "x", "16"],
        ["input", "c", "float32", "1", "x", "B", "x", "16"],
        ["output", "logits", "float32", "T", "x", "B", "x", "29"],
        ["output", "next_h", "float32", "1", "x", "B", "x", "16"],
        ["output", "next_c", "float32", "1", "x", "B", "x", "16"],
    ]
    onnx.checker.check_model("model.onnx", full_check=True)
    assert os.listdir() == ["model.onnx"]


def test_json_has_the_file_its_inputs_and_its_outputs(charrnn, trained):
    outcome = charrnn("export", "--model", trained / "best.safetensors", "model.ONNX", "--json")
    state = {"type": "float32", "shape": [1, "B", 16]}
    assert outcome.json == {
        "file": "model.ONNX",
        "inputs": [{"name": "ids", "type": "int64", "shape": ["T", "B"]}, {"name": "h"} | state, {"name": "c"} | state],
        "outputs": [
            {"name": "logits", "type": "float32", "shape": ["T", "B", 29]},
            {"name": "next_h"} | state,
            {"name": "next_c"} | state,
        ],
    }
    assert outcome.err == ""


@error_cases(
    ("model.pt", 2, "model.pt", ".onnx"),
    ("--run nowhere model.onnx", 4, "nowhere: no such run"),
    ("--model no.safetensors model.onnx", 4, "no.safetensors: no such checkpoint"),
    ("--run a --model b model.onnx", 2, "--run", "--model", "exclude"),
    ("--run TRAINED nowhere/model.onnx", 6, "cannot write nowhere/model.onnx", "No such file"),
)
def test_a_mistake_is_named_and_no_file_is_written(charrnn, trained, arguments, code, facts):
    charrnn("export", *(trained if word == "TRAINED" else word for word in arguments)).fails(code, *facts)
    assert not os.listdir()


def test_a_directory_is_not_overwritten(charrnn, trained):
    os.mkdir("model.onnx")
    charrnn("export", "--run", trained, "model.onnx").fails(6, "model.onnx")
    assert os.listdir() == ["model.onnx"]
