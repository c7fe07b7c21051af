"""ONNX export: a trained network as a graph that any ONNX runtime can compute. README.md in this folder describes the
inputs, the outputs and the metadata. No other module uses the onnx library.

A network with an encoder becomes two graphs, because the encoder runs once and the decoder once for each symbol.

T steps, B streams, D input width, H hidden size, L layers, V symbols, K n-grams at one step; S source steps, E width of
the memory.
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
from charrnn.models.encoder import encoder_weights
from charrnn.models.heads import make_heads
from charrnn.models.network import layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.attention import MASKED
from charrnn.nn.recurrent import LayerWeights
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.files import dump_json, write_atomically

OPSET = 17  # of 2022, so that older runtimes can read the files
IR_VERSION = 8
MAX_SIZE = (1 << 31) - (1 << 24)  # bytes of weights; a protobuf message can have at most 2 GiB
NO_INPUT = ""  # the name of an optional input that is left out
# For each cell: the ONNX operator, our indices of its gates in ONNX's order (LSTM: i, o, f, c; GRU: z, r, h), and the
# attributes of the operator.
OPERATORS: dict[str, tuple[str, list[int], dict[str, int]]] = {
    "rnn": ("RNN", [0], {}),
    "lstm": ("LSTM", [0, 3, 1, 2], {}),
    "gru": ("GRU", [1, 0, 2], {"linear_before_reset": 1}),
}


def save_onnx(path: Path, checkpoint: Checkpoint) -> dict[Path, onnx.ModelProto]:
    """Writes a network to ONNX files, each atomically, and returns the models by file. Raises StorageError.

    A network without an encoder is written to `path`. For a network with an encoder and the path model.onnx, the files
    are model.encoder.onnx and model.decoder.onnx.
    """
    size = 4 * checkpoint.architecture.num_parameters
    if size > MAX_SIZE:
        raise StorageError(
            f"cannot write {path}: the weights have {size:,} bytes", f"an ONNX file can have {MAX_SIZE:,}"
        )
    models = {}
    for part, model in to_onnx(checkpoint).items():
        file = path.with_name(f"{path.stem}.{part}{path.suffix}") if part else path
        write_atomically(file, model.SerializeToString())
        models[file] = model
    return models


def to_onnx(checkpoint: Checkpoint) -> dict[str, onnx.ModelProto]:
    """A network as ONNX models with metadata. The keys are "encoder" and "decoder", or "" if there is no encoder."""
    architecture = checkpoint.architecture
    task = checkpoint.task
    metadata: dict[str, Any] = {"task": task, "architecture": architecture.to_dict()}
    if task["name"] == "lm":
        metadata["start"] = Vocabulary.from_dict(task).start
    network = _make_model(_network_graph(checkpoint), metadata)
    if not architecture.memory_width:
        return {"": network}
    return {"encoder": _make_model(_encoder_graph(checkpoint), metadata), "decoder": network}


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


def _network_graph(checkpoint: Checkpoint) -> onnx.GraphProto:
    """The network, without the encoder if it has one."""
    architecture = checkpoint.architecture
    graph = _Graph(checkpoint.weights)
    x = _add_input(graph, architecture, checkpoint.task)
    y = _add_layers(graph, architecture, x)
    if architecture.attends:
        y = _add_attention(graph, y)
    outputs = _add_heads(graph, architecture, y)
    _add_output(graph, architecture, checkpoint.task, outputs)
    return helper.make_graph(
        graph.nodes, "charrnn", _network_inputs(architecture), _network_outputs(architecture), graph.constants
    )


def _encoder_graph(checkpoint: Checkpoint) -> onnx.GraphProto:
    architecture = checkpoint.architecture
    graph = _Graph(checkpoint.weights)
    x = _add_source(graph, architecture, checkpoint.task)
    _add_encoder(graph, architecture, x)
    return helper.make_graph(
        graph.nodes, "charrnn", _encoder_inputs(architecture), _encoder_outputs(architecture), graph.constants
    )


def _make_model(graph: onnx.GraphProto, metadata: dict[str, Any]) -> onnx.ModelProto:
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="charrnn"
    )
    helper.set_model_props(model, {name: dump_json(value) for name, value in metadata.items()})
    return model


def _network_inputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    port = helper.make_tensor_value_info
    inputs = [_input_port(architecture.input, architecture.input_size, "T")]
    if architecture.ngram_size:
        inputs.append(port("ngrams", TensorProto.INT64, ("T", "B", architecture.ngrams_per_step)))
    if architecture.attends:
        inputs += [_memory_port(architecture), port("lengths", TensorProto.INT64, ("B",))]
    return inputs + [_state_port(name, architecture) for name in _state_names(architecture)]


def _network_outputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    port = helper.make_tensor_value_info
    if architecture.loss == "softmax":
        outputs = [port("logits", TensorProto.FLOAT, ("T", "B", architecture.output_size))]
    else:
        outputs = [port("predictions", TensorProto.DOUBLE, ("T", "B", architecture.output_size))]
    outputs += [_state_port(f"next_{name}", architecture) for name in _state_names(architecture)]
    if architecture.attends:
        outputs.append(port("alignment", TensorProto.FLOAT, ("B", "T", "S")))
    return outputs


def _encoder_inputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT64, ("B",))
    return [_input_port(architecture.source, architecture.source_size, "S"), lengths]


def _encoder_outputs(architecture: Architecture) -> list[onnx.ValueInfoProto]:
    memory = [_memory_port(architecture)] if architecture.attends else []
    return memory + [_state_port(name, architecture) for name in _state_names(architecture)]


def _input_port(kind: str, size: int, steps: str) -> onnx.ValueInfoProto:
    """The input that the first layer reads. kind and size: as `input` and `input_size` of Architecture."""
    if kind == "numbers":
        return helper.make_tensor_value_info("rows", TensorProto.DOUBLE, (steps, "B", size))
    return helper.make_tensor_value_info("ids", TensorProto.INT64, (steps, "B"))


def _memory_port(architecture: Architecture) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("memory", TensorProto.FLOAT, ("B", "S", architecture.memory_width))


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

    def add_symbols(self, embedding: str, size: int) -> str:
        """The input `ids` (T, B) -> vectors (T, B, D).

        They are embeddings if the network has the weight `embedding`, and one-hot vectors of the given size otherwise.
        """
        if embedding in self.weights:
            return self.add("Gather", self.weights[embedding], "ids")
        off_and_on = np.array([0, 1], np.float32)
        return self.add("OneHot", "ids", np.array(size), off_and_on)

    def add_layer(
        self,
        cell: str,
        x: str,
        directions: Sequence[LayerWeights],
        outputs: Sequence[str],
        *,
        lengths: str = NO_INPUT,
        states: Sequence[str] = (),
    ) -> str:
        """A recurrent layer: x (T, B, D) -> hidden states (T, directions, B, H).

        directions: the weights of the forward and, if there is one, of the backward direction. outputs: names of the
        hidden states and of the final states. lengths: of the streams, if they differ. states: the initial states, if
        they are not zero.
        """
        operator, gate_order, attributes = OPERATORS[cell]
        hidden_size = directions[0].w_hh.shape[1]

        def stack_directions(weights: Sequence[Array]) -> Array:
            """(gates x H, ...) of each direction -> (directions, gates x H, ...), with the gates in ONNX's order."""
            by_gate = [w.reshape(len(gate_order), hidden_size, -1)[gate_order] for w in weights]
            return np.stack(by_gate).reshape(len(weights), *weights[0].shape)

        w_ih, w_hh, b_ih, b_hh = map(stack_directions, zip(*directions, strict=True))
        bias = np.concatenate([b_ih, b_hh], axis=1)
        inputs: list[str | Array] = [x, w_ih, w_hh, bias, lengths, *states]
        direction = {"direction": "bidirectional"} if len(directions) == 2 else {}
        return self.add(operator, *inputs, outputs=outputs, hidden_size=hidden_size, **attributes, **direction)

    def add_standardize(self, values: str, scale: Standardizer) -> str:
        """Numbers in their own units, in double precision -> standardised numbers in single precision."""
        standardised = self.add("Div", self.add("Sub", values, scale.mean), scale.std)
        return self.add("Cast", standardised, to=TensorProto.FLOAT)

    def _add_constant(self, values: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name


def _add_input(graph: _Graph, architecture: Architecture, task: dict[str, Any]) -> str:
    """Adds the nodes that compute the input (T, B, D) of the first layer."""
    if architecture.input == "numbers":
        return graph.add_standardize("rows", Standardizer.from_dict(task["scale"], architecture.input_size))
    return graph.add_symbols("embedding.weight", architecture.input_size)


def _add_layers(graph: _Graph, architecture: Architecture, x: str) -> str:
    """Adds the recurrent layers, from the input (T, B, D) to the hidden states of the top layer (T, B, H)."""
    state_names = _state_names(architecture)
    layers = range(architecture.num_layers)
    for name in state_names:
        states = [f"{name}_{layer}" for layer in layers]
        graph.add("Split", name, np.ones(architecture.num_layers, int), outputs=states, axis=0)
    for layer, weights in enumerate(layer_weights(graph.weights, architecture.num_layers)):
        states = [f"{name}_{layer}" for name in state_names]
        outputs = [f"y_{layer}", *(f"next_{state}" for state in states)]
        y = graph.add_layer(architecture.cell, x, [weights], outputs, states=states)
        x = graph.add("Squeeze", y, np.array([1]))  # (T, 1 direction, B, H) -> (T, B, H)
    for name in state_names:
        graph.add("Concat", *(f"next_{name}_{layer}" for layer in layers), outputs=[f"next_{name}"], axis=0)
    return x


def _add_source(graph: _Graph, architecture: Architecture, task: dict[str, Any]) -> str:
    """Adds the nodes that compute the input (S, B, D) of the encoder's first layer."""
    if architecture.source == "ids":
        return graph.add_symbols("source_embedding.weight", architecture.source_size)
    joined = task["subsample"]  # rows of a matrix in one step
    scale = Standardizer.from_dict(task["scale"], architecture.source_size // joined)
    return graph.add_standardize("rows", Standardizer(np.tile(scale.mean, joined), np.tile(scale.std, joined)))


def _add_encoder(graph: _Graph, architecture: Architecture, x: str) -> None:
    """Adds the encoder, from its input (S, B, D) to the memory and to the decoder's initial state."""
    state_names = _state_names(architecture)
    lengths = graph.add("Cast", "lengths", to=TensorProto.INT32)
    for layer, directions in enumerate(encoder_weights(graph.weights, architecture.num_layers)):
        final_states = [f"final_{name}_{layer}" for name in state_names]  # (2, B, E / 2) each
        y = graph.add_layer(architecture.cell, x, directions, [f"y_{layer}", *final_states], lengths=lengths)
        y = graph.add("Transpose", y, perm=[0, 2, 1, 3])  # (S, 2 directions, B, E / 2) -> (S, B, 2, E / 2)
        x = graph.add("Reshape", y, np.array([0, 0, -1]))  # (S, B, E)
    if architecture.attends:
        graph.add("Transpose", x, outputs=["memory"], perm=[1, 0, 2])
    final = graph.add("Concat", *final_states, axis=2)  # of the top layer
    final = graph.add("Transpose", final, perm=[1, 0, 2])
    final = graph.add("Reshape", final, np.array([0, -1]))  # (B, 2 directions x states x E / 2)
    initial = graph.add_linear(final, "bridge")
    shape = (0, architecture.num_layers, len(state_names), architecture.hidden_size)
    initial = graph.add("Reshape", initial, np.array(shape))
    initial = graph.add("Transpose", initial, perm=[2, 1, 0, 3])  # (states, L, B, H)
    for n, name in enumerate(state_names):
        graph.add("Gather", initial, np.array(n), outputs=[name])


def _add_attention(graph: _Graph, h: str) -> str:
    """Adds the attention, from the hidden states (T, B, H) to its outputs (T, B, H).

    The numbers in the comments are those of the equations in nn/attention.py.
    """
    h = graph.add("Transpose", h, perm=[1, 0, 2])  # (B, T, H)
    query = graph.add("MatMul", h, graph.weights["attention.weight"].T)  # (1), (B, T, E)
    scores = graph.add("MatMul", query, graph.add("Transpose", "memory", perm=[0, 2, 1]))  # (2), (B, T, S)
    num_steps = graph.add("Gather", graph.add("Shape", "memory"), np.array(1))
    steps = graph.add("Range", np.array(0), num_steps, np.array(1))  # (S,)
    is_step = graph.add("Less", steps, graph.add("Unsqueeze", "lengths", np.array([1, 2])))  # (B, 1, S)
    scores = graph.add("Where", is_step, scores, np.array(MASKED, np.float32))
    graph.add("Softmax", scores, outputs=["alignment"], axis=2)  # (3)
    context = graph.add("MatMul", "alignment", "memory")  # (4), (B, T, E)
    y = graph.add("Tanh", graph.add_linear(graph.add("Concat", context, h, axis=2), "combine"))  # (5)
    return graph.add("Transpose", y, perm=[1, 0, 2])


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
    """Adds the output of the graph: logits, or predicted numbers in their original units."""
    if architecture.loss == "softmax":
        graph.add("Identity", outputs, outputs=["logits"])
        return
    scale = Standardizer.from_dict(task["output_scale"], architecture.output_size)
    numbers = graph.add("Mul", graph.add("Cast", outputs, to=TensorProto.DOUBLE), scale.std)
    if task["columns"][-1] in task["targets"]:  # the network predicts the changes of the last columns of its input
        last = np.arange(architecture.input_size)[-architecture.output_size :]
        changes = graph.add("Add", numbers, scale.mean)
        graph.add("Add", graph.add("Gather", "rows", last, axis=2), changes, outputs=["predictions"])
    else:
        graph.add("Add", numbers, scale.mean, outputs=["predictions"])
