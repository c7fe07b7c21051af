"""charrnn export: a trained network as an ONNX file, or as two files if it has an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Json,
    ModelOption,
    RunOption,
    load_model,
    needs_extra,
    refuse_to_overwrite,
)
from charrnn.cli.terminal import print_json, print_stderr
from charrnn.errors import UsageError

File = Annotated[Path, typer.Argument(metavar="FILE.onnx", help="File to write.", show_default=False)]


def export(
    file: File,
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    json_output: Json = False,
) -> None:
    """Save a trained network as an ONNX file.

    [bold]Examples[/bold]

      charrnn export model.onnx
      charrnn export --run runs/corpus-001 model.onnx --json

    The network reads ids (T time steps, B streams) and a state, which is zero at the start of a text. It returns the
    logits after each step and the state after the last step. A model of numbers reads and returns numbers in their
    original units. A tagger also reads the ids of n-grams, and answers after a delay; charrnn/runs/README.md specifies
    its inputs.

    A model of --task translate, transcribe or caption is saved as two files: model.encoder.onnx and model.decoder.onnx.
    The encoder reads sources (S time steps) and their lengths. It returns the memory and the initial state, which the
    decoder reads.

    The metadata is JSON: task (with the vocabulary), architecture and, for language models, start (the id of the start
    symbol).
    """
    if file.suffix.lower() != ".onnx":
        raise UsageError(f"{file}: must end in .onnx")
    with needs_extra("onnx", "onnx"):
        from charrnn.runs.onnx import ports, save_onnx
    loaded = load_model([] if run is None else [run], model, checkpoint)
    refuse_to_overwrite(file, [loaded.checkpoint.path.parent])
    models = save_onnx(file, loaded.checkpoint)
    for path, written in models.items():
        sides = {"inputs": ports(written.graph.input), "outputs": ports(written.graph.output)}
        if json_output:
            print_json({"file": str(path), **sides})
            continue
        if len(models) > 1:
            print(path)
        for side, side_ports in sides.items():
            for port in side_ports:
                shape = " x ".join(map(str, port["shape"]))
                print(f"{side.removesuffix('s'):6}  {port['name']:11}  {port['type']:7}  {shape}")
        print_stderr(f"saved {path}")
