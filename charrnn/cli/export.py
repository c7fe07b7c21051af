"""charrnn export: a trained network for any runtime of ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.arguments import CheckpointOption, Json, ModelOption, RunOption, extra, load_model
from charrnn.cli.terminal import say
from charrnn.errors import UsageError

File = Annotated[Path, typer.Argument(metavar="FILE.onnx", help="File to write.", show_default=False)]


def export(
    file: File,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    json_output: Json = False,
) -> None:
    """Write a trained network as an ONNX file, for programs in any language.

    [bold]Examples[/bold]

      charrnn export model.onnx
      charrnn export --run runs/corpus-001 model.onnx --json

    It reads ids (T steps, B streams) and a state, zeros at first, and gives the logits of what follows and the state
    behind the last step. Its metadata, as JSON, are task (with the vocabulary), architecture and, for text, start: the
    id to begin with. Numbers go in and come out in their own units; a vector of features is read where an id is -1.
    """
    if file.suffix.lower() != ".onnx":
        raise UsageError(f"{file}: must end in .onnx")
    with extra("onnx", "onnx"):
        from charrnn.runs.onnx import ports, save_onnx
    graph = save_onnx(file, load_model(run, model, checkpoint).checkpoint).graph
    sides = {"inputs": ports(graph.input), "outputs": ports(graph.output)}
    if json_output:
        print(json.dumps({"file": str(file), **sides}))
        return
    for side, its_ports in sides.items():
        for port in its_ports:
            shape = " x ".join(map(str, port["shape"]))
            print(f"{side[:-1]:6}  {port['name']:11}  {port['type']:7}  {shape}")
    say(f"wrote {file}")
