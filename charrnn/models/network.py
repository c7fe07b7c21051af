"""A network at work: input -> recurrent stack -> linear head -> loss, and back.

Shapes: T time steps, B streams, V symbols to choose from, H hidden size, L layers, N rows (time steps x streams).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn import arrays, ops
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_backward, cross_entropy_forward
from charrnn.nn.params import views
from charrnn.nn.recurrent import Weights
from charrnn.nn.stack import RecurrentStack

HEAD_ELEMENTS = 1 << 19  # logits held at once: keeps them in the cache, and a large vocabulary out of memory's way


def layer_weights(named: dict[str, Array], num_layers: int) -> list[Weights]:
    """Each layer's four arrays, out of named views."""
    return [
        Weights(*(named[f"rnn.{kind}_l{n}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
        for n in range(num_layers)
    ]


class Network:
    """The work space for B streams of up to T steps, over a flat vector of parameters.

    `grads`, a flat vector of the same size, is written by `loss_and_gradient`; without it the network only scores.
    """

    def __init__(
        self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int, grads: Array | None = None
    ) -> None:
        self.architecture, self.specs = architecture, architecture.specs()
        self.named = views(self.specs, flat)
        weights = layer_weights(self.named, architecture.num_layers)
        training = grads is not None
        self.stack = RecurrentStack(architecture.cell, weights, batch_size, seq_length, training=training)
        self.head_rows = max(1, HEAD_ELEMENTS // architecture.output_size)
        if grads is not None:
            self.grads = views(self.specs, grads)
            self.grad_weights = layer_weights(self.grads, architecture.num_layers)
            self.dy = arrays.empty((seq_length, batch_size, architecture.hidden_size), flat.dtype)
            self.dx = arrays.empty((seq_length, batch_size, architecture.embedding_size), flat.dtype)
            self.dstate = arrays.empty(architecture.state_shape(batch_size), flat.dtype)

    def use(self, flat: Array) -> None:
        """Computes with the parameters in another flat vector from now on."""
        self.named = views(self.specs, flat)
        self.stack.use(layer_weights(self.named, self.architecture.num_layers))

    def hidden(
        self,
        x: Array,
        state: Array,
        masks: Array | None = None,
        keep: Array | None = None,
        w_masks: Sequence[Array] = (),
    ) -> Array:
        """Ids x (T, B) -> the top layer's outputs as rows (N, H); `state` becomes the final state."""
        embedding = self.named.get("embedding.weight")
        inputs = x if embedding is None else ops.embedding_forward(embedding, x)
        y = self.stack.forward(inputs, state, masks=masks, keep=keep, w_masks=w_masks)
        return y.reshape(-1, self.architecture.hidden_size)

    def logits(self, hidden: Array) -> Array:
        """Rows (N, H) -> logits (N, V)."""
        return ops.linear_forward(hidden, self.named["head.weight"], self.named["head.bias"])

    def losses(self, batch: Batch, state: Array) -> Array:
        """The loss of every prediction times its weight (T, B), given the state, which is moved on."""
        hidden, targets = self.hidden(batch.x, state, keep=batch.keep), batch.targets.ravel()
        losses = np.zeros(len(targets), hidden.dtype)
        for rows, weights in self._head_rows(batch):
            nats, _ = cross_entropy_forward(self.logits(hidden[rows]), targets[rows])
            losses[rows] = nats if weights is None else nats * weights
        return losses.reshape(batch.targets.shape)

    def loss_and_gradient(
        self,
        batch: Batch,
        state: Array,
        scale: float,
        masks: Array | None = None,
        w_masks: Sequence[Array] = (),
    ) -> float:
        """The sum of weighted losses x scale; its gradient is written to the flat gradients.

        `state` is overwritten with the final state; no gradient flows into it (truncated back-propagation).
        masks (L, B, H) multiply the layers' outputs, w_masks, a (G, H) for each layer, W_hh.
        """
        self.grads["head.weight"].fill(0)
        self.grads["head.bias"].fill(0)
        hidden, targets = self.hidden(batch.x, state, masks, batch.keep, w_masks), batch.targets.ravel()
        dy = self.dy[: len(batch.x)]
        dhidden = dy.reshape(hidden.shape)
        if batch.weights is not None:
            dhidden.fill(0)
        head = self.named["head.weight"], self.grads["head.weight"], self.grads["head.bias"]
        total = 0.0
        for rows, weights in self._head_rows(batch):
            nats, probabilities = cross_entropy_forward(self.logits(hidden[rows]), targets[rows])
            if weights is None:
                total += float(nats.sum(dtype=np.float64))
                dlogits = cross_entropy_backward(probabilities, targets[rows], scale)
            else:
                total += float((nats * weights).sum(dtype=np.float64))
                dlogits = cross_entropy_backward(probabilities, targets[rows], scale * weights[:, None])
            drows = dhidden[rows]  # a view of consecutive rows, a copy of chosen ones
            ops.linear_backward(dlogits, hidden[rows], *head, drows)
            if weights is not None:
                dhidden[rows] = drows
        self.dstate.fill(0)
        dx = self.dx[: len(batch.x)] if self.architecture.embedding_size else None
        self.stack.backward(dy, self.dstate, self.grad_weights, dx)
        if dx is not None:
            ops.embedding_backward(dx, batch.x, self.grads["embedding.weight"])
        return total * scale

    def _head_rows(self, batch: Batch) -> Iterator[tuple[slice | Array, Array | None]]:
        """Which rows the head reads at once, and their weights: all, or only those that are scored."""
        if batch.weights is None:
            for start in range(0, batch.x.size, self.head_rows):
                yield slice(start, start + self.head_rows), None
            return
        weights = batch.weights.ravel()
        scored = np.flatnonzero(weights)
        for start in range(0, len(scored), self.head_rows):
            rows = scored[start : start + self.head_rows]
            yield rows, weights[rows]
