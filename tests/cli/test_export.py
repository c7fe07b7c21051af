"""charrnn export at the command line: what it says, and the mistakes that people make."""

import os

import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")


def test_it_writes_a_whole_file_and_says_what_goes_in_and_out(charrnn, trained):
    outcome = charrnn("export", "--run", trained, "model.onnx")
    assert (outcome.code, outcome.err) == (0, "wrote model.onnx\n")
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


def test_json_is_the_file_with_its_inputs_and_outputs(charrnn, trained):
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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.pt",), 2, "model.pt: must end in .onnx"),
        (("--run", "nowhere", "model.onnx"), 4, "nowhere: no such run (charrnn runs lists them)"),
        (("--model", "no.safetensors", "model.onnx"), 4, "no.safetensors: no such checkpoint"),
        (("--run", "a", "--model", "b", "model.onnx"), 2, "--run and --model exclude each other"),
        (
            ("--run", "{trained}", "nowhere/model.onnx"),
            6,
            "cannot write nowhere/model.onnx: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(arguments, code, message, charrnn, trained):
    charrnn("export", *(word.format(trained=trained) for word in arguments)).fails(code, message)
    assert not os.listdir()


def test_a_directory_under_the_file_s_name_is_not_overwritten(charrnn, trained):
    os.mkdir("model.onnx")
    outcome = charrnn("export", "--run", trained, "model.onnx")
    assert outcome.code == 6 and outcome.err.count("\n") == 1
    assert os.listdir() == ["model.onnx"]
