"""charrnn export: the ONNX files and the description of their inputs and outputs."""

import os
from pathlib import Path

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


@pytest.fixture
def translator(train):
    """A run of --task translate with the symbols a and b, and x, y and z."""
    Path("pairs.tsv").write_text("ab\txyz\nba\tzyx\n" * 10)
    return train("pairs.tsv", "--task", "translate", "--embedding-size", "0", "--cell", "lstm", "--max-steps", "1")[
        "run"
    ]


def test_an_encoder_and_a_decoder_are_saved_as_two_files(translator, charrnn):
    outcome = charrnn("export", "--run", translator, "model.onnx")
    assert (outcome.code, outcome.err) == (0, "saved model.encoder.onnx\nsaved model.decoder.onnx\n")
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["model.encoder.onnx"],
        ["input", "ids", "int64", "S", "x", "B"],
        ["input", "lengths", "int64", "B"],
        ["output", "memory", "float32", "B", "x", "S", "x", "8"],
        ["output", "h", "float32", "1", "x", "B", "x", "8"],
        ["output", "c", "float32", "1", "x", "B", "x", "8"],
        ["model.decoder.onnx"],
        ["input", "ids", "int64", "T", "x", "B"],
        ["input", "memory", "float32", "B", "x", "S", "x", "8"],
        ["input", "lengths", "int64", "B"],
        ["input", "h", "float32", "1", "x", "B", "x", "8"],
        ["input", "c", "float32", "1", "x", "B", "x", "8"],
        ["output", "logits", "float32", "T", "x", "B", "x", "4"],
        ["output", "next_h", "float32", "1", "x", "B", "x", "8"],
        ["output", "next_c", "float32", "1", "x", "B", "x", "8"],
        ["output", "alignment", "float32", "B", "x", "T", "x", "S"],
    ]
    for file in ("model.encoder.onnx", "model.decoder.onnx"):
        onnx.checker.check_model(file, full_check=True)


def test_json_has_a_line_for_each_file(translator, charrnn):
    os.mkdir("exported")
    outcome = charrnn("export", "--run", translator, "exported/model.v2.onnx", "--json")
    encoder, decoder = outcome.rows
    assert encoder["file"] == "exported/model.v2.encoder.onnx"
    assert decoder["file"] == "exported/model.v2.decoder.onnx"
    assert sorted(os.listdir("exported")) == ["model.v2.decoder.onnx", "model.v2.encoder.onnx"]
    assert [port["name"] for port in encoder["inputs"]] == ["ids", "lengths"]
    assert encoder["outputs"] == [port for port in decoder["inputs"] if port["name"] not in ("ids", "lengths")]
    assert outcome.err == ""


@error_cases(
    ("model.pt", 2, "model.pt", ".onnx"),
    ("--run nowhere model.onnx", 4, "nowhere: no such run"),
    ("--model no.safetensors model.onnx", 4, "no.safetensors: no such checkpoint"),
    ("--run a --model b model.onnx", 2, "--run", "--model", "cannot be used together"),
    ("--run TRAINED nowhere/model.onnx", 6, "cannot write nowhere/model.onnx", "No such file"),
)
def test_a_mistake_is_named_and_no_file_is_written(charrnn, trained, arguments, code, facts):
    charrnn("export", *(trained if word == "TRAINED" else word for word in arguments)).fails(code, *facts)
    assert not os.listdir()


def test_a_directory_is_not_overwritten(charrnn, trained):
    os.mkdir("model.onnx")
    charrnn("export", "--run", trained, "model.onnx").fails(6, "model.onnx")
    assert os.listdir() == ["model.onnx"]
