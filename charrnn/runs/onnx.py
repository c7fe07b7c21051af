"""ONNX files: a trained network as a graph that any runtime of ONNX computes. The only user of the onnx library.

In: `ids` (T, B), or `rows` (T, B, D) of numbers; the state `h`, of an LSTM `c` too, (L, B, H) each, zeros at first; for
records that begin with a vector `features` (B, F), read where an id is -1; of a tagger `direct` (T, B, K), the features
that add to its outputs directly (corpus/strings.py). Out: `logits` (T, B, V), or `predictions`
(T, B, M), and the state behind the last step, `next_h` and `next_c`. T and B are free. Numbers are in their own units,
and in double precision, since a column may lie far from zero and vary little.

Metadata, each entry JSON: `task`, in a checkpoint's words, the vocabulary among them; `architecture`; and where text is
written `start`, the id that is read before a text's first character.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from charrnn.corpus.numbers import Standard
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import StorageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import DIRECT_SHARE, layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.files import write_atomically

OPSET, IR_VERSION = 17, 8  # of 2022: what all runtimes in use can read
LIMIT = (1 << 31) - (1 << 24)  # bytes of weights in a file: protobuf holds 2 GiB
NOTHING = ""  # in the place of an input that is left out
VECTOR = -1  # the id in whose place a record's vector is read
# A cell's operator, which of our gates stands in each of its places (i, o, f, c; z, r, h), and what it must be told.
OPERATORS: dict[str, tuple[str, list[int], dict[str, int]]] = {
    "rnn": ("RNN", [0], {}),
    "lstm": ("LSTM", [0, 3, 1, 2], {}),
    "gru": ("GRU", [1, 0, 2], {"linear_before_reset": 1}),
}


def save_onnx(path: Path, checkpoint: Checkpoint) -> onnx.ModelProto:
    """Writes atomically, and returns what was written. Raises StorageError."""
    size = 4 * checkpoint.architecture.parameters
    if size > LIMIT:
        raise StorageError(f"cannot write {path}: weights of {size:,} bytes", f"an ONNX file holds {LIMIT:,}")
    model = to_onnx(checkpoint)
    write_atomically(path, model.SerializeToString())
    return model


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """A network as a graph, with what one must know to use it."""
    shape, task = checkpoint.architecture, checkpoint.task
    graph = _Graph(checkpoint.weights)
    _head(graph, shape, task, _layers(graph, shape, _input(graph, shape, task)))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "charrnn", *_signature(shape), graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charrnn",
    )
    about: dict[str, Any] = {"task": task, "architecture": shape.to_dict()}
    if task["name"] == "lm":
        about["start"] = Vocabulary.from_dict(task).start
    helper.set_model_props(model, {name: json.dumps(value) for name, value in about.items()})
    return model


def ports(values: Iterable[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    """Name, type and shape of a graph's inputs or outputs; what is free in a shape is named."""
    return [
        {
            "name": value.name,
            "type": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            "shape": [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim],
        }
        for value in values
    ]


def _states(shape: Architecture) -> tuple[str, ...]:
    return ("h", "c")[: CELLS[shape.cell].num_states]


def _signature(shape: Architecture) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """The graph's inputs and outputs."""
    port = helper.make_tensor_value_info
    state = (shape.num_layers, "B", shape.hidden_size)
    if shape.input == "numbers":
        inputs = [port("rows", TensorProto.DOUBLE, ("T", "B", shape.input_size))]
    else:
        inputs = [port("ids", TensorProto.INT64, ("T", "B"))]
    if shape.features:
        inputs.append(port("features", TensorProto.DOUBLE, ("B", shape.features)))
    if shape.direct_size:
        inputs.append(port("direct", TensorProto.INT64, ("T", "B", shape.direct_at_once)))
    if shape.loss == "softmax":
        outputs = [port("logits", TensorProto.FLOAT, ("T", "B", shape.output_size))]
    else:
        outputs = [port("predictions", TensorProto.DOUBLE, ("T", "B", shape.output_size))]
    inputs += [port(name, TensorProto.FLOAT, state) for name in _states(shape)]
    outputs += [port(f"next_{name}", TensorProto.FLOAT, state) for name in _states(shape)]
    return inputs, outputs


class _Graph:
    """Nodes in the order in which they are computed, and the constants that they take."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = {name: array.astype(np.float32) for name, array in weights.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | Array, gives: Sequence[str] = (), **attributes: Any) -> str:
        """A node; an array among its inputs becomes a constant. Returns the name of its first output."""
        outputs = gives or [f"{operator}_{len(self.nodes)}"]
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self.nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return outputs[0]

    def linear(self, x: str, layer: str, gives: Sequence[str] = ()) -> str:
        """x (..., N) -> (..., M), by the layer's weight (M, N) and bias (M,)."""
        product = self.add("MatMul", x, self.weights[f"{layer}.weight"].T)
        return self.add("Add", product, self.weights[f"{layer}.bias"], gives=gives)

    def standardised(self, numbers: str, scale: Standard) -> str:
        """Numbers in their own units -> as the network reads them."""
        quotients = self.add("Div", self.add("Sub", numbers, scale.mean), scale.std)
        return self.add("Cast", quotients, to=TensorProto.FLOAT)

    def _constant(self, values: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _input(graph: _Graph, shape: Architecture, task: dict[str, Any]) -> str:
    """What the first layer reads (T, B, D)."""
    if shape.input == "numbers":
        return graph.standardised("rows", Standard.from_dict(task["scale"], shape.input_size))
    if shape.embedding_size:
        x = graph.add("Gather", graph.weights["embedding.weight"], "ids")
    else:
        x = graph.add("OneHot", "ids", np.array(shape.input_size), np.array([0, 1], np.float32))
    if shape.features:
        numbers = graph.standardised("features", Standard.from_dict(task["features"], shape.features))
        here = graph.add("Unsqueeze", graph.add("Equal", "ids", np.array(VECTOR)), np.array([2]))  # (T, B, 1)
        x = graph.add("Where", here, graph.linear(numbers, "features"), x)
    return x


def _layers(graph: _Graph, shape: Architecture, x: str) -> str:
    """From what the first layer reads to what the last one gives (T, B, H), and from a state to the next."""
    operator, gates, attributes = OPERATORS[shape.cell]
    states, numbers = _states(shape), range(shape.num_layers)

    def in_order(weights: Array) -> Array:
        return weights.reshape(len(gates), shape.hidden_size, -1)[gates].reshape(1, *weights.shape)

    for state in states:
        graph.add("Split", state, np.ones(shape.num_layers, int), gives=[f"{state}_{n}" for n in numbers], axis=0)
    for n, layer in enumerate(layer_weights(graph.weights, shape.num_layers)):
        w_ih, w_hh, b_ih, b_hh = map(in_order, layer)
        bias, before = np.concatenate([b_ih, b_hh], axis=1), [f"{state}_{n}" for state in states]
        gives = [f"y_{n}", *(f"next_{name}" for name in before)]
        y = graph.add(
            operator, x, w_ih, w_hh, bias, NOTHING, *before, gives=gives, hidden_size=shape.hidden_size, **attributes
        )
        x = graph.add("Squeeze", y, np.array([1]))  # of the directions, which are one
    for state in states:
        graph.add("Concat", *(f"next_{state}_{n}" for n in numbers), gives=[f"next_{state}"], axis=0)
    return x


def _head(graph: _Graph, shape: Architecture, task: dict[str, Any], y: str) -> None:
    """From what the last layer gives to the outputs."""
    if shape.direct_size:
        for name in ("head.weight", "head.bias"):
            graph.weights[name] *= 1 - DIRECT_SHARE
        chosen = graph.add("Gather", DIRECT_SHARE * graph.weights["direct.weight"], "direct")  # (T, B, K, V)
        direct = graph.add("ReduceSum", chosen, np.array([2]), keepdims=0)
        graph.add("Add", graph.linear(y, "head"), direct, gives=["logits"])
        return
    if shape.loss == "softmax":
        graph.linear(y, "head", gives=["logits"])
        return
    scale = Standard.from_dict(task["output_scale"], shape.output_size)
    numbers = graph.add("Mul", graph.add("Cast", graph.linear(y, "head"), to=TensorProto.DOUBLE), scale.std)
    if task["targets"]:
        graph.add("Add", numbers, scale.mean, gives=["predictions"])
    else:  # the change to the next row
        graph.add("Add", "rows", graph.add("Add", numbers, scale.mean), gives=["predictions"])
