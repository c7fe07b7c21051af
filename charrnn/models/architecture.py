"""What decides the names and sizes of a network's parameters: the shape that a user chose, and the widths of a task.

D is the width of the first layer's input, H the hidden size, G = gates x H, V the number of symbols.
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

INPUT_STD = {"lstm": 1.5, "gru": 0.2, "rnn": 1.0}  # of what a symbol adds to a pre-activation, at the start
SYMBOLS = 0x110000  # all of Unicode


@dataclass(frozen=True)
class Architecture(ModelOptions):
    """A network: input -> recurrent stack -> linear head. Strict when it is read from a file, as all settings are."""

    input: str = checked_field("ids", "What a step reads: a symbol, or numbers.", choices=("ids", "numbers"))
    input_size: int = checked_field(1, "Distinct symbols that are read, or numbers a step (D).", low=1, high=SYMBOLS)
    features: int = checked_field(
        0, "Width of the vector that a record begins with (F); 0 = none.", low=0, high=SYMBOLS
    )
    loss: str = checked_field("softmax", "What the outputs are: logits, or numbers.", choices=tuple(LOSSES))
    output_size: int = checked_field(1, "Symbols to choose from (V), or numbers predicted (M).", low=1, high=SYMBOLS)
    direct_size: int = checked_field(
        0, "Features that add to the outputs directly, and one for none (R).", low=0, high=1 << 31
    )
    direct_at_once: int = checked_field(0, "How many of them a step can have (K).", low=0, high=1 << 16)

    @classmethod
    def of(cls, model: ModelOptions, **task: Any) -> Architecture:
        """The shape that a user chose, with what a task adds to it."""
        return cls(**select_options(ModelOptions, model.to_dict()).to_dict(), **task)

    @property
    def input_width(self) -> int:
        """D, of the first layer's input."""
        return self.embedding_size or self.input_size

    def specs(self) -> list[ParamSpec]:
        """Names, shapes and initialisers of all parameters. Names and shapes are those of a PyTorch module with the
        attributes embedding = nn.Embedding, rnn = nn.LSTM/GRU/RNN, head = nn.Linear, features = nn.Linear and direct =
        nn.EmbeddingBag."""
        hidden, embedding = self.hidden_size, self.embedding_size
        gates = CELLS[self.cell].gates
        specs = []
        if embedding:
            bound = math.sqrt(3 / embedding)
            specs.append(ParamSpec("embedding.weight", (self.input_size, embedding), uniform(bound)))
        # A one-hot input adds one weight to a pre-activation, not V: Glorot's rule would leave it next to nothing. The
        # vectors of an embedding have a length of about 1 too, so the same size fits.
        first = glorot if self.input == "numbers" else uniform(INPUT_STD[self.cell] * math.sqrt(3))
        for layer in range(self.num_layers):
            width = hidden if layer else self.input_width
            w_ih: Initialiser = glorot if layer else first
            b_ih = forget_bias if self.cell == "lstm" else zeros
            specs += [
                ParamSpec(f"rnn.weight_ih_l{layer}", (gates * hidden, width), stacked(w_ih, gates)),
                ParamSpec(f"rnn.weight_hh_l{layer}", (gates * hidden, hidden), stacked(orthogonal, gates)),
                ParamSpec(f"rnn.bias_ih_l{layer}", (gates * hidden,), b_ih),
                ParamSpec(f"rnn.bias_hh_l{layer}", (gates * hidden,), zeros),
            ]
        specs += [
            ParamSpec("head.weight", (self.output_size, hidden), glorot),
            ParamSpec("head.bias", (self.output_size,), zeros),
        ]
        if self.features:  # standardised, so that they become a vector of about the length of an embedding's
            bound = math.sqrt(3 / (self.features * self.input_width))
            specs += [
                ParamSpec("features.weight", (self.input_width, self.features), uniform(bound)),
                ParamSpec("features.bias", (self.input_width,), zeros),
            ]
        if self.direct_size:
            specs.append(ParamSpec("direct.weight", (self.direct_size, self.output_size), zeros))
        return specs

    @property
    def parameters(self) -> int:
        """The number of scalars in all parameters."""
        return parameters.count(self.specs())

    @property
    def recurrent_weights(self) -> int:
        """The weights of the layers that are multiplied with: not those of a one-hot input, which are gathered."""
        gathered = "rnn.weight_ih_l0" if self.input == "ids" and not self.embedding_size else ""
        specs = [spec for spec in self.specs() if spec.name.startswith("rnn.weight") and spec.name != gathered]
        return sum(math.prod(spec.shape) for spec in specs)

    @property
    def weights_in_products(self) -> int:
        """Those and the head's."""
        return self.recurrent_weights + self.output_size * self.hidden_size

    @property
    def sums(self) -> int:
        """How many sums are kept of what is scored: the loss, and hits, or each number's squared error."""
        return 1 + (1 if self.loss == "softmax" else self.output_size)

    def state_shape(self, batch_size: int) -> tuple[int, int, int, int]:
        """(L, num_states, B, H); zeros are the initial state."""
        return state_shape(self.cell, self.num_layers, batch_size, self.hidden_size)


def forget_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """1 for the forget gate (Gers et al. 2000; Jozefowicz et al. 2015), else 0; gates i, f, g, o."""
    return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)


def chrono_initialise(
    named: dict[str, Array], architecture: Architecture, steps: int, rng: np.random.Generator
) -> None:
    """Opens the gates that keep a state so far that units remember for 1 to `steps` steps from the start, each for
    another time (chrono initialisation: Tallec & Ollivier 2018). A vanilla RNN has no such gate."""
    hidden = architecture.hidden_size
    for layer in range(architecture.num_layers):
        bias = named[f"rnn.bias_ih_l{layer}"].reshape(-1, hidden)
        spans = np.log(rng.uniform(1, max(2, steps - 1), hidden))
        if architecture.cell == "lstm":
            bias[0], bias[1] = -spans, spans  # what is written at a step fits what is kept
        elif architecture.cell == "gru":
            bias[1] = spans
