"""The character-level language model: one-hot or embedding -> recurrent stack -> linear head -> softmax.

Shapes: T time steps, B streams, V vocabulary, H hidden size, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.nn import buffers, ops
from charrnn.nn.recurrent import Weights
from charrnn.nn.stack import CELLS, RecurrentStack, state_shape
from charrnn.params import Initialiser, ParamSpec, glorot, orthogonal, stacked, uniform, views, zeros

Array = NDArray[Any]

INPUT_STD = {"lstm": 1.5, "gru": 0.2, "rnn": 1.0}  # of what a character adds to a pre-activation, at the start
HEAD_ELEMENTS = 1 << 19  # logits held at once: keeps them in the cache, and a large vocabulary out of memory's way


def forget_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """1 for the forget gate (Gers et al. 2000; Jozefowicz et al. 2015), else 0; gates i, f, g, o."""
    return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)


def parameter_specs(config: ModelConfig, vocabulary_size: int) -> list[ParamSpec]:
    """Names, shapes and initialisers of all parameters. Names and shapes are those of a PyTorch module with the
    attributes embedding = nn.Embedding, rnn = nn.LSTM/GRU/RNN and head = nn.Linear."""
    hidden, embedding = config.hidden_size, config.embedding_size
    gates = CELLS[config.cell].gates
    specs = []
    if embedding:
        specs.append(ParamSpec("embedding.weight", (vocabulary_size, embedding), uniform(math.sqrt(3 / embedding))))
    # A one-hot input adds one weight to a pre-activation, not V: Glorot's rule would leave it next to nothing. The
    # vectors of an embedding have a length of about 1 too, so the same size fits.
    first = uniform(INPUT_STD[config.cell] * math.sqrt(3))
    for layer in range(config.num_layers):
        width = hidden if layer else embedding or vocabulary_size
        w_ih: Initialiser = glorot if layer else first
        b_ih = forget_bias if config.cell == "lstm" else zeros
        specs += [
            ParamSpec(f"rnn.weight_ih_l{layer}", (gates * hidden, width), stacked(w_ih, gates)),
            ParamSpec(f"rnn.weight_hh_l{layer}", (gates * hidden, hidden), stacked(orthogonal, gates)),
            ParamSpec(f"rnn.bias_ih_l{layer}", (gates * hidden,), b_ih),
            ParamSpec(f"rnn.bias_hh_l{layer}", (gates * hidden,), zeros),
        ]
    specs += [
        ParamSpec("head.weight", (vocabulary_size, hidden), glorot),
        ParamSpec("head.bias", (vocabulary_size,), zeros),
    ]
    return specs


def layer_weights(named: dict[str, Array], num_layers: int) -> list[Weights]:
    """Each layer's four arrays, out of named views."""
    return [
        Weights(*(named[f"rnn.{kind}_l{n}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
        for n in range(num_layers)
    ]


class LanguageModel:
    """A network over a flat vector of parameters, with the work space for B streams of up to T steps.

    `grads`, a flat vector of the same size, is written by `loss_and_gradient`; without it the model only scores.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        flat: Array,
        batch_size: int,
        seq_length: int,
        grads: Array | None = None,
    ) -> None:
        self.config = config
        specs = parameter_specs(config, vocabulary_size)
        self.named = views(specs, flat)
        weights = layer_weights(self.named, config.num_layers)
        self.w_hh = [w.w_hh for w in weights]
        if grads is not None and config.recurrent_dropout:
            weights = [w._replace(w_hh=np.empty_like(w.w_hh)) for w in weights]
        self.used_w_hh = [w.w_hh for w in weights]  # W_hh itself, or what is left of it
        self.stack = RecurrentStack(config.cell, weights, batch_size, seq_length, training=grads is not None)
        self.head_rows = max(1, HEAD_ELEMENTS // vocabulary_size)
        if grads is not None:
            self.grads = views(specs, grads)
            self.grad_weights = layer_weights(self.grads, config.num_layers)
            self.dy = buffers.empty((seq_length, batch_size, config.hidden_size), flat.dtype)
            self.dx = buffers.empty((seq_length, batch_size, config.embedding_size), flat.dtype)
            self.dstate = buffers.empty(self.state_shape(batch_size), flat.dtype)

    def state_shape(self, batch_size: int) -> tuple[int, int, int, int]:
        """(L, num_states, B, H); zeros are the initial state."""
        return state_shape(self.config.cell, self.config.num_layers, batch_size, self.config.hidden_size)

    def hidden(
        self,
        x: Array,
        state: Array,
        masks: Array | None = None,
        keep: Array | None = None,
        w_masks: Sequence[Array] = (),
    ) -> Array:
        """Ids x (T, B) -> the top layer's outputs as rows (T B, H); `state` becomes the final state."""
        for n, (used, w_hh) in enumerate(zip(self.used_w_hh, self.w_hh, strict=True)):
            if used is not w_hh:
                np.multiply(w_hh, w_masks[n] if w_masks else 1, out=used)
        embedding = self.named.get("embedding.weight")
        inputs = x if embedding is None else ops.embedding_forward(embedding, x)
        y = self.stack.forward(inputs, state, masks=masks, keep=keep)
        return y.reshape(-1, self.config.hidden_size)

    def logits(self, hidden: Array) -> Array:
        """Rows (N, H) -> logits (N, V)."""
        return ops.linear_forward(hidden, self.named["head.weight"], self.named["head.bias"])

    def nats(self, x: Array, targets: Array, state: Array, keep: Array | None = None) -> Array:
        """The loss of every prediction, (T, B): targets (T, B) given x (T, B) and the state, which is moved on."""
        hidden, flat_targets = self.hidden(x, state, keep=keep), targets.ravel()
        rows = range(0, len(hidden), self.head_rows)
        pieces = (slice(start, start + self.head_rows) for start in rows)
        parts = [ops.cross_entropy_forward(self.logits(hidden[rows]), flat_targets[rows])[0] for rows in pieces]
        return np.concatenate(parts).reshape(targets.shape)

    def loss_and_gradient(
        self,
        x: Array,
        targets: Array,
        state: Array,
        scale: float,
        masks: Array | None = None,
        keep: Array | None = None,
        w_masks: Sequence[Array] = (),
    ) -> float:
        """Sum of the nats x scale over x, targets (T, B); the gradient of it is written to the flat gradients.
        `state` is overwritten with the final state; no gradient flows into it (truncated back-propagation).
        w_masks, a (G, H) for each layer, multiply W_hh (DropConnect: Wan et al. 2013, Merity et al. 2018)."""
        self.grads["head.weight"].fill(0)
        self.grads["head.bias"].fill(0)
        hidden, flat_targets = self.hidden(x, state, masks, keep, w_masks), targets.ravel()
        dy = self.dy[: len(x)]
        dhidden = dy.reshape(hidden.shape)
        total = 0.0
        for start in range(0, len(hidden), self.head_rows):
            rows = slice(start, start + self.head_rows)
            nats, probabilities = ops.cross_entropy_forward(self.logits(hidden[rows]), flat_targets[rows])
            total += float(nats.sum(dtype=np.float64))
            dlogits = ops.cross_entropy_backward(probabilities, flat_targets[rows], scale)
            head = self.named["head.weight"], self.grads["head.weight"], self.grads["head.bias"]
            ops.linear_backward(dlogits, hidden[rows], *head, dhidden[rows])
        self.dstate.fill(0)
        dx = self.dx[: len(x)] if self.config.embedding_size else None
        self.stack.backward(dy, self.dstate, self.grad_weights, dx)
        for grad, mask in zip(self.grad_weights, w_masks, strict=False):
            grad.w_hh[...] *= mask
        if dx is not None:
            ops.embedding_backward(dx, x, self.grads["embedding.weight"])
        return total * scale
