"""The architecture, which alone determines the names, shapes and initial values of a network's parameters.

B streams, D input width, H hidden size, G = gates x H, L layers, V symbols.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.fields import checked_field
from charrnn.nn import parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import LOSSES
from charrnn.nn.parameters import Initialiser, ParamSpec, glorot, orthogonal, stacked, uniform, zeros
from charrnn.nn.stack import CELLS, state_shape
from charrnn.options import ModelOptions, select_options

INPUT_STD = {"lstm": 1.5, "gru": 0.2, "rnn": 1.0}  # initial standard deviation of the weights of a one-hot input
MAX_SYMBOLS = 0x110000  # all of Unicode


@dataclass(frozen=True)
class Architecture(ModelOptions):
    """A network: input -> recurrent stack -> output heads. Every checkpoint stores all fields.

    Each constant that affects the outputs is a field, so that a new default does not change trained models.
    """

    input: str = checked_field("ids", choices=("ids", "numbers"))  # each step reads the id of a symbol, or numbers
    input_size: int = checked_field(1, low=1, high=MAX_SYMBOLS)  # number of symbols, or of numbers in a step
    loss: str = checked_field("softmax", choices=tuple(LOSSES))  # softmax: the outputs are logits; squared: numbers
    output_size: int = checked_field(1, low=1, high=MAX_SYMBOLS)  # number of classes (V), or of predicted numbers (M)
    ngram_size: int = checked_field(0, low=0, high=1 << 31)  # number of n-gram features, including that for "none"
    ngrams_per_step: int = checked_field(0, low=0, high=1 << 16)  # number of n-gram features of a step (K)
    ngram_share: float = checked_field(0.0, low=0, high=1)  # share of the n-gram head in the outputs
    source: str = checked_field("none", choices=("none", "ids", "numbers"))  # input of the encoder; none: no encoder
    source_size: int = checked_field(1, low=1, high=MAX_SYMBOLS)  # number of source symbols, or of numbers in a step

    @classmethod
    def from_options(cls, model: ModelOptions, **sizes: Any) -> Architecture:
        """Makes an architecture from the user's options and `sizes`, the fields that depend on the task."""
        return cls(**select_options(ModelOptions, model.to_dict()).to_dict(), **sizes)

    @property
    def input_width(self) -> int:
        """D, the width of the first layer's input."""
        return self.embedding_size or self.input_size

    @property
    def encoder_size(self) -> int:
        """The hidden size of one direction of the encoder: half of that of the decoder, rounded up."""
        return -(-self.hidden_size // 2)

    @property
    def memory_width(self) -> int:
        """E, the width of the encoder's outputs; 0 without an encoder."""
        return 0 if self.source == "none" else 2 * self.encoder_size

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the encoder's outputs."""
        return self.attention and self.memory_width > 0

    @property
    def num_dropout_masks(self) -> int:
        """The number of dropout masks: one per layer of the decoder and of the encoder, and one for the attention."""
        return self.num_layers * (2 if self.memory_width else 1) + self.attends

    @property
    def reads_one_hot(self) -> bool:
        """Whether the first layer reads one-hot vectors. Their product with W_ih only selects columns."""
        return self.input == "ids" and not self.embedding_size

    @property
    def source_is_one_hot(self) -> bool:
        """Whether the encoder reads one-hot vectors."""
        return self.source == "ids" and not self.embedding_size

    def specs(self) -> list[ParamSpec]:
        """Names, shapes and initial values of all parameters, in the order in which they are stored.

        Names and shapes are those of a PyTorch module with the attributes `rnn` (nn.LSTM, nn.GRU or nn.RNN), `head`
        (nn.Linear) and, if the architecture has them, `embedding` (nn.Embedding) and `ngrams` (nn.EmbeddingBag with
        mode="sum" and padding_idx=0). A network with an encoder also has `encoder` (of the class
        of `rnn`, bidirectional), `bridge` (nn.Linear) and, if the architecture has them, `source_embedding`
        (nn.Embedding), `attention` (nn.Linear without bias) and `combine` (nn.Linear).
        """
        specs = []
        if self.embedding_size:
            bound = math.sqrt(3 / self.embedding_size)
            specs.append(ParamSpec("embedding.weight", (self.input_size, self.embedding_size), uniform(bound)))
        for layer in range(self.num_layers):
            specs += self._layer_specs(
                "rnn", layer, "", self.hidden_size, self.input, self.input_width, self.hidden_size
            )
        if self.memory_width:
            specs += self._encoder_specs()
        specs += [
            ParamSpec("head.weight", (self.output_size, self.hidden_size), glorot),
            ParamSpec("head.bias", (self.output_size,), zeros),
        ]
        if self.ngram_size:
            specs.append(ParamSpec("ngrams.weight", (self.ngram_size, self.output_size), zeros))
        return specs

    def _encoder_specs(self) -> list[ParamSpec]:
        """The encoder, the bridge from its final states to the decoder's initial state, and the attention."""
        specs = []
        width = self.source_size
        if self.source == "ids" and self.embedding_size:
            width = self.embedding_size
            specs.append(ParamSpec("source_embedding.weight", (self.source_size, width), uniform(math.sqrt(3 / width))))
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse"):
                specs += self._layer_specs(
                    "encoder", layer, suffix, self.encoder_size, self.source, width, self.memory_width
                )
        num_states = CELLS[self.cell].num_states
        state_width = self.num_layers * num_states * self.hidden_size
        specs += [
            ParamSpec("bridge.weight", (state_width, num_states * self.memory_width), glorot),
            ParamSpec("bridge.bias", (state_width,), zeros),
        ]
        if self.attends:
            specs += [
                ParamSpec("attention.weight", (self.memory_width, self.hidden_size), glorot),
                ParamSpec("combine.weight", (self.hidden_size, self.memory_width + self.hidden_size), glorot),
                ParamSpec("combine.bias", (self.hidden_size,), zeros),
            ]
        return specs

    def _layer_specs(
        self, module: str, layer: int, suffix: str, hidden: int, input: str, input_width: int, lower_width: int
    ) -> list[ParamSpec]:
        """The parameters of one layer, or of one direction of a layer, of the module `rnn` or `encoder`.

        lower_width: the width of the outputs of the layer below.
        """
        gates = CELLS[self.cell].num_gates
        width = lower_width if layer else input_width
        w_ih: Initialiser = glorot
        if layer == 0 and input == "ids":
            # With a one-hot input, a pre-activation is the sum of one input weight and H products with the state.
            # Glorot's rule assumes a sum of D products, so its weights would be too small for the input to matter. The
            # same holds for an embedding vector, which is about as long as a one-hot vector.
            w_ih = uniform(INPUT_STD[self.cell] * math.sqrt(3))
        b_ih = open_forget_gate if self.cell == "lstm" else zeros
        return [
            ParamSpec(f"{module}.weight_ih_l{layer}{suffix}", (gates * hidden, width), stacked(w_ih, gates)),
            ParamSpec(f"{module}.weight_hh_l{layer}{suffix}", (gates * hidden, hidden), stacked(orthogonal, gates)),
            ParamSpec(f"{module}.bias_ih_l{layer}{suffix}", (gates * hidden,), b_ih),
            ParamSpec(f"{module}.bias_hh_l{layer}{suffix}", (gates * hidden,), zeros),
        ]

    @property
    def num_parameters(self) -> int:
        """The number of scalars in all parameters."""
        return parameters.count_parameters(self.specs())

    @property
    def recurrent_weights(self) -> int:
        """The number of weights of the layers and of the attention that are used in matrix products.

        The input weights of a layer with a one-hot input are not counted, because the layer only selects columns.
        """
        selected = set()
        if self.reads_one_hot:
            selected.add("rnn.weight_ih_l0")
        if self.source_is_one_hot:
            selected |= {"encoder.weight_ih_l0", "encoder.weight_ih_l0_reverse"}
        modules = ("rnn.weight", "encoder.weight", "attention.weight", "combine.weight")
        specs = [spec for spec in self.specs() if spec.name.startswith(modules) and spec.name not in selected]
        return sum(math.prod(spec.shape) for spec in specs)

    @property
    def weights_in_products(self) -> int:
        """The number of weights of the layers, the attention and the linear head that are used in matrix products."""
        return self.recurrent_weights + self.output_size * self.hidden_size

    @property
    def num_sums(self) -> int:
        """The number of sums that `ScoringNetwork.sums` returns."""
        return 1 + (1 if self.loss == "softmax" else self.output_size)

    def state_shape(self, batch_size: int) -> tuple[int, int, int, int]:
        """The shape of the state of the layers: (L, num_states, B, H)."""
        return state_shape(self.cell, self.num_layers, batch_size, self.hidden_size)


def open_forget_gate(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A bias of 1 for the forget gate (Gers et al. 2000; Jozefowicz et al. 2015), else 0. Gate order: i, f, g, o."""
    return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)


def chrono_initialise(
    named: dict[str, Array], architecture: Architecture, max_steps: int, rng: np.random.Generator
) -> None:
    """Sets gate biases so that each unit initially remembers for a random number of steps (Tallec & Ollivier 2018).

    The numbers are uniform between 1 and `max_steps` - 1. A vanilla RNN has no gates and is not changed.
    """
    hidden = architecture.hidden_size
    for layer in range(architecture.num_layers):
        bias = named[f"rnn.bias_ih_l{layer}"].reshape(-1, hidden)  # (gates, H), a view
        log_spans = np.log(rng.uniform(1, max(2, max_steps - 1), hidden))
        if architecture.cell == "lstm":
            input_gate, forget_gate = bias[:2]
            input_gate[...] = -log_spans
            forget_gate[...] = log_spans
        elif architecture.cell == "gru":
            update_gate = bias[1]
            update_gate[...] = log_spans
