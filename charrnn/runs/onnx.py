"""ONNX export: a trained network as a graph that any ONNX runtime can compute. README.md in this folder describes the
inputs, the outputs and the metadata. No other module uses the onnx library.

T steps, B streams, D input width, H hidden size, L layers, V symbols, K n-grams at one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import StorageError
from charrnn.models.architecture import Architecture
from charrnn.models.heads import make_heads
from charrnn.models.network import layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.files import dump_json, write_atomically

OPSET = 17  # of 2022, so that older runtimes can read the files
IR_VERSION = 8
MAX_SIZE = (1 << 31) - (1 << 24)  # bytes of weights: a protobuf message holds 2 GiB
NO_INPUT = ""  # in the place of an optional input
FEATURES_ID = -1  # the id that is replaced by the projected features
# The ONNX operator of each cell, our index of each of its gates (LSTM: i, o, f, c; GRU: z, r, h), and its attributes.
OPERATORS: dict[str, tuple[str, list[int], dict[str, int]]] = {
    "rnn": ("RNN", [0], {}),
    "lstm": ("LSTM", [0, 3, 1, 2], {}),
    "gru": ("GRU", [1, 0, 2], {"linear_before_reset": 1}),
}


def save_onnx(path: Path, checkpoint: Checkpoint) -> onnx.ModelProto:
    """Writes a network to an ONNX file, atomically, and returns what it wrote. Raises StorageError."""
    size = 4 * checkpoint.architecture.num_parameters
    if size > MAX_SIZE:
        raise StorageError(f"cannot write {path}: weights of {size:,} bytes", f"an ONNX file holds {MAX_SIZE:,}")
    model = to_onnx(checkpoint)
    write_atomically(path, model.SerializeToString())
    return model


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """A network as an ONNX model with metadata."""
    architecture = checkpoint.architecture
    task = checkpoint.task
    graph = _Graph(checkpoint.weights)
    x = _add_input(graph, architecture, task)
    y = _add_layers(graph, architecture, x)
    outputs = _add_heads(graph, architecture, y)
    _add_output(graph, architecture, task, outputs)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "charrnn", _inputs(architecture), _outputs(architecture), graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charrnn",
    )
    metadata: dict[str, Any] = {"task": task, "architecture": architecture.to_dict()}
    if task["name"] == "lm":
        metadata["start"] = Vocabulary.from_dict(task).start
    helper.set_model_props(model, {name: dump_json(value) for name, value in metadata.items()})
    return model


def ports(values: Iterable[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    """Name, type and shape of each input or output of a graph. Sizes that are not fixed have a name instead."""
    return [
        {
            "name": value.name,
            "type": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            "shape": [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim],
        }
        for value in values
    ]


def _state_names(architecture: Architecture) -> tuple[str, ...]:
    return ("h", "c")[: CELLS[architecture.cell].num_states]


def _inputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    port = helper.make_tensor_value_info
    if architecture.input == "numbers":
        inputs = [port("rows", TensorProto.DOUBLE, ("T", "B", architecture.input_size))]
    else:
        inputs = [port("ids", TensorProto.INT64, ("T", "B"))]
    if architecture.features:
        inputs.append(port("features", TensorProto.DOUBLE, ("B", architecture.features)))
    if architecture.ngram_size:
        inputs.append(port("ngrams", TensorProto.INT64, ("T", "B", architecture.ngrams_per_step)))
    return inputs + [_state_port(name, architecture) for name in _state_names(architecture)]


def _outputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    port = helper.make_tensor_value_info
    if architecture.loss == "softmax":
        output = port("logits", TensorProto.FLOAT, ("T", "B", architecture.output_size))
    else:
        output = port("predictions", TensorProto.DOUBLE, ("T", "B", architecture.output_size))
    return [output, *(_state_port(f"next_{name}", architecture) for name in _state_names(architecture))]


def _state_port(name: str, architecture: Architecture) -> onnx.ValueInfoProto:
    shape = (architecture.num_layers, "B", architecture.hidden_size)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """Nodes in the order in which they are computed, and their constants."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | Array, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Adds a node; an array among its inputs becomes a constant. Returns the name of its first output."""
        output_names = outputs or [f"{operator}_{len(self.nodes)}"]
        input_names = [value if isinstance(value, str) else self._add_constant(value) for value in inputs]
        self.nodes.append(helper.make_node(operator, input_names, output_names, **attributes))
        return output_names[0]

    def add_linear(self, x: str, layer: str) -> str:
        """x (..., N) -> (..., M), with the layer's weight (M, N) and bias (M,)."""
        product = self.add("MatMul", x, self.weights[f"{layer}.weight"].T)
        return self.add("Add", product, self.weights[f"{layer}.bias"])

    def add_standardize(self, values: str, scale: Standardizer) -> str:
        """Numbers in their own units, in double precision -> standardised numbers in single precision."""
        standardised = self.add("Div", self.add("Sub", values, scale.mean), scale.std)
        return self.add("Cast", standardised, to=TensorProto.FLOAT)

    def _add_constant(self, values: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _add_input(graph: _Graph, architecture: Architecture, task: dict[str, Any]) -> str:
    """Adds the nodes that compute the input (T, B, D) of the first layer."""
    if architecture.input == "numbers":
        return graph.add_standardize("rows", Standardizer.from_dict(task["scale"], architecture.input_size))
    if architecture.embedding_size:
        x = graph.add("Gather", graph.weights["embedding.weight"], "ids")
    else:
        off_and_on = np.array([0, 1], np.float32)
        x = graph.add("OneHot", "ids", np.array(architecture.input_size), off_and_on)
    if architecture.features:
        scale = Standardizer.from_dict(task["features"], architecture.features)
        projected = graph.add_linear(graph.add_standardize("features", scale), "features")  # (B, D)
        is_features = graph.add("Equal", "ids", np.array(FEATURES_ID))
        is_features = graph.add("Unsqueeze", is_features, np.array([2]))  # (T, B, 1)
        x = graph.add("Where", is_features, projected, x)
    return x


def _add_layers(graph: _Graph, architecture: Architecture, x: str) -> str:
    """Adds the recurrent layers, from the input (T, B, D) to the hidden states of the top layer (T, B, H)."""
    operator, gate_order, cell_attributes = OPERATORS[architecture.cell]
    state_names = _state_names(architecture)
    layers = range(architecture.num_layers)

    def reorder_gates(weights: Array) -> Array:
        """(gates x H, ...) -> (1, gates x H, ...); the first axis is the direction."""
        gates = weights.reshape(len(gate_order), architecture.hidden_size, -1)
        return gates[gate_order].reshape(1, *weights.shape)

    for name in state_names:
        states = [f"{name}_{layer}" for layer in layers]
        graph.add("Split", name, np.ones(architecture.num_layers, int), outputs=states, axis=0)
    for layer, weights in enumerate(layer_weights(graph.weights, architecture.num_layers)):
        w_ih, w_hh, b_ih, b_hh = map(reorder_gates, weights)
        bias = np.concatenate([b_ih, b_hh], axis=1)
        states = [f"{name}_{layer}" for name in state_names]
        next_states = [f"next_{state}" for state in states]
        attributes = {"hidden_size": architecture.hidden_size, **cell_attributes}
        sequence_lengths = NO_INPUT  # all sequences have T steps
        inputs: list[str | Array] = [x, w_ih, w_hh, bias, sequence_lengths, *states]
        y = graph.add(operator, *inputs, outputs=[f"y_{layer}", *next_states], **attributes)
        x = graph.add("Squeeze", y, np.array([1]))  # (T, 1 direction, B, H) -> (T, B, H)
    for name in state_names:
        graph.add("Concat", *(f"next_{name}_{layer}" for layer in layers), outputs=[f"next_{name}"], axis=0)
    return x


def _add_heads(graph: _Graph, architecture: Architecture, y: str) -> str:
    """Adds the heads: the weighted mean of their outputs (T, B, V)."""
    for head in make_heads(architecture):  # the outputs of a head are linear in its weights
        for name in head.names:
            graph.weights[name] *= head.share
    outputs = graph.add_linear(y, "head")
    if architecture.ngram_size:
        rows = graph.add("Gather", graph.weights["ngrams.weight"], "ngrams")  # (T, B, K, V)
        outputs = graph.add("Add", outputs, graph.add("ReduceSum", rows, np.array([2]), keepdims=0))
    return outputs


def _add_output(graph: _Graph, architecture: Architecture, task: dict[str, Any], outputs: str) -> None:
    """Names the outputs of a softmax; converts predicted numbers to their own units."""
    if architecture.loss == "softmax":
        graph.add("Identity", outputs, outputs=["logits"])
        return
    scale = Standardizer.from_dict(task["output_scale"], architecture.output_size)
    numbers = graph.add("Mul", graph.add("Cast", outputs, to=TensorProto.DOUBLE), scale.std)
    if task["targets"]:
        graph.add("Add", numbers, scale.mean, outputs=["predictions"])
    else:  # the network predicts the change to the next row
        graph.add("Add", "rows", graph.add("Add", numbers, scale.mean), outputs=["predictions"])
