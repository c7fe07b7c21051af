"""A network at work: input -> recurrent stack -> linear head -> loss, and back.

With direct features the outputs are a weighted mean of two: the head's, and a linear model's of those features (direct
connections beside a recurrent network: Mikolov et al. 2011). Either learns as if it were alone, from the same mean of
the two losses: so neither rests on what the other has learnt by heart. The loss of the mean is never more than that
mean of losses, since a loss is convex in the outputs (Jensen).

Shapes: T time steps, B streams, V symbols to choose from, M numbers to predict, D input width, H hidden size, L layers,
N rows (time steps x streams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.nn import arrays, ops
from charrnn.nn.arrays import Array
from charrnn.nn.losses import LOSSES
from charrnn.nn.parameters import views
from charrnn.nn.recurrent import Weights
from charrnn.nn.stack import RecurrentStack
from charrnn.nn.stepper import Stepper

DIRECT_SHARE = 0.6  # of the outputs that comes from direct features
HEAD_ELEMENTS = 1 << 19  # logits held at once: keeps them in the cache, and a large vocabulary out of memory's way


def layer_weights(named: dict[str, Array], num_layers: int) -> list[Weights]:
    """Each layer's four arrays, out of named views."""
    return [
        Weights(*(named[f"rnn.{kind}_l{n}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
        for n in range(num_layers)
    ]


def new_stepper(architecture: Architecture, named: dict[str, Array], streams: int) -> Stepper:
    """One time step at a time, for so many streams."""
    head = named["head.weight"], named["head.bias"]
    weights = layer_weights(named, architecture.num_layers)
    return Stepper(architecture.cell, weights, *head, streams, named.get("embedding.weight"))


NewNetwork = Callable[[Architecture, Array, int, int], "Network"]  # its flat parameters, B and T


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
        self.loss = LOSSES[architecture.loss]
        self.head_rows = max(1, HEAD_ELEMENTS // architecture.output_size)
        if grads is not None:
            self.grads = views(self.specs, grads)
            self.grad_weights = layer_weights(self.grads, architecture.num_layers)
            self.dy = arrays.empty((seq_length, batch_size, architecture.hidden_size), flat.dtype)
            learnt = architecture.embedding_size or (architecture.input_size if architecture.features else 0)
            self.dx = arrays.empty((seq_length, batch_size, learnt), flat.dtype)
            self.dstate = arrays.empty(architecture.state_shape(batch_size), flat.dtype)

    def use(self, flat: Array) -> None:
        """Computes with the parameters in another flat vector from now on."""
        self.named = views(self.specs, flat)
        self.stack.use(layer_weights(self.named, self.architecture.num_layers))

    def hidden(self, batch: Batch, state: Array, masks: Array | None = None, w_masks: Sequence[Array] = ()) -> Array:
        """The top layer's outputs as rows (N, H); `state` becomes the final state."""
        self.inputs = self._inputs(batch)
        y = self.stack.forward(self.inputs, state, masks=masks, keep=batch.keep, w_masks=w_masks)
        return y.reshape(-1, self.architecture.hidden_size)

    def _inputs(self, batch: Batch) -> Array:
        """What the first layer reads: ids (T, B) that choose rows of its weights, or vectors (T, B, D)."""
        embedding = self.named.get("embedding.weight")
        if batch.features is None:
            return batch.x if embedding is None else ops.embedding_forward(embedding, batch.x)
        if embedding is None:
            embedding = np.eye(self.architecture.input_size, dtype=self.named["head.bias"].dtype)
        vectors = ops.embedding_forward(embedding, batch.x)
        vectors[0] = ops.linear_forward(batch.features, self.named["features.weight"], self.named["features.bias"])
        return vectors

    def _inputs_backward(self, batch: Batch, dx: Array) -> None:
        """From the first layer's inputs (T, B, D) to embedding and projection."""
        symbols = slice(0 if batch.features is None else 1, None)
        if self.architecture.embedding_size:
            ops.embedding_backward(dx[symbols], batch.x[symbols], self.grads["embedding.weight"])
        if batch.features is not None:
            np.matmul(dx[0].T, batch.features, out=self.grads["features.weight"])
            np.sum(dx[0], axis=0, out=self.grads["features.bias"])

    def head(self, hidden: Array) -> Array:
        """Rows (N, H) -> outputs (N, V) or (N, M)."""
        return ops.linear_forward(hidden, self.named["head.weight"], self.named["head.bias"])

    def outputs(self, batch: Batch, state: Array) -> Iterator[tuple[slice | Array, Array | None, Array]]:
        """Which of the N rows, their weights, and their outputs, for all that are scored; moves the state on."""
        hidden = self.hidden(batch, state)
        for rows, weights in self._head_rows(batch):
            outputs = self.head(hidden[rows])
            if batch.direct is not None:
                direct = ops.bag_forward(self.named["direct.weight"], self._direct(batch, rows))
                outputs = (1 - DIRECT_SHARE) * outputs + DIRECT_SHARE * direct
            yield rows, weights, outputs

    def losses(self, batch: Batch, state: Array) -> Array:
        """The loss of every prediction times its weight (T, B), given the state, which is moved on."""
        targets = self._flat_targets(batch)
        losses = np.zeros(len(targets), self.named["head.bias"].dtype)
        for rows, weights, outputs in self.outputs(batch, state):
            its_losses, _ = self.loss.forward(outputs, targets[rows])
            losses[rows] = its_losses if weights is None else its_losses * weights
        return losses.reshape(batch.targets.shape[:2])

    def sums(self, batch: Batch, state: Array) -> Array:
        """The weighted loss and tallies, summed: (1 + 1,) for a softmax, (1 + M,) for numbers; moves the state on."""
        targets = self._flat_targets(batch)
        total: Array = np.zeros(self.architecture.sums)
        for rows, weights, outputs in self.outputs(batch, state):
            losses, turned = self.loss.forward(outputs, targets[rows])
            counted = np.concatenate([losses[:, None], self.loss.tally(turned, targets[rows])], axis=1)
            if weights is not None:
                counted *= weights[:, None]
            total += counted.sum(axis=0, dtype=np.float64)
        return total

    def loss_and_gradient(
        self, batch: Batch, state: Array, scale: float, masks: Array | None = None, w_masks: Sequence[Array] = ()
    ) -> float:
        """The sum of weighted losses x scale; its gradient is written to the flat gradients.

        `state` is overwritten with the final state; no gradient flows into it (truncated back-propagation).
        masks (L, B, H) multiply the layers' outputs, w_masks, a (G, H) for each layer, W_hh.
        """
        self.grads["head.weight"].fill(0)
        self.grads["head.bias"].fill(0)
        hidden, targets = self.hidden(batch, state, masks, w_masks), self._flat_targets(batch)
        dy = self.dy[: len(batch.x)]
        dhidden = dy.reshape(hidden.shape)
        if batch.weights is not None:
            dhidden.fill(0)
        head = self.named["head.weight"], self.grads["head.weight"], self.grads["head.bias"]
        total, share = 0.0, 0.0 if batch.direct is None else DIRECT_SHARE
        if share:
            self.grads["direct.weight"].fill(0)
        for rows, weights in self._head_rows(batch):
            outputs = self.head(hidden[rows])
            loss, doutputs = self._loss_backward(outputs, targets[rows], weights, (1 - share) * scale)
            total += loss
            drows = dhidden[rows]  # a view of consecutive rows, a copy of chosen ones
            ops.linear_backward(doutputs, hidden[rows], *head, drows)
            if weights is not None:
                dhidden[rows] = drows
            if share:
                ids = self._direct(batch, rows)
                outputs = ops.bag_forward(self.named["direct.weight"], ids)
                loss, doutputs = self._loss_backward(outputs, targets[rows], weights, share * scale)
                total += loss
                ops.bag_backward(doutputs, ids, self.grads["direct.weight"])
        self.dstate.fill(0)
        learns_inputs = self.architecture.embedding_size or batch.features is not None
        dx = self.dx[: len(batch.x)] if learns_inputs else None
        self.stack.backward(dy, self.dstate, self.grad_weights, dx)
        if dx is not None:
            self._inputs_backward(batch, dx)
        return total

    def _loss_backward(
        self, outputs: Array, targets: Array, weights: Array | None, scale: float
    ) -> tuple[float, Array]:
        """The sum of weighted losses x scale, and its gradient with respect to the outputs."""
        losses, turned = self.loss.forward(outputs, targets)
        if weights is None:
            return float(losses.sum(dtype=np.float64)) * scale, self.loss.backward(turned, targets, scale)
        total = float((losses * weights).sum(dtype=np.float64)) * scale
        return total, self.loss.backward(turned, targets, scale * weights[:, None])

    def _direct(self, batch: Batch, rows: slice | Array) -> Array:
        """The direct features of these rows (n, K)."""
        assert batch.direct is not None
        return batch.direct.reshape(-1, batch.direct.shape[2])[rows]

    def _flat_targets(self, batch: Batch) -> Array:
        """(N,) ids or (N, M) numbers."""
        return batch.targets.reshape(-1, *batch.targets.shape[2:])

    def _head_rows(self, batch: Batch) -> Iterator[tuple[slice | Array, Array | None]]:
        """Which rows the head reads at once, and their weights: all, or only those that are scored."""
        if batch.weights is None:
            steps, streams = batch.x.shape[:2]
            for start in range(0, steps * streams, self.head_rows):
                yield slice(start, start + self.head_rows), None
            return
        weights = batch.weights.ravel()
        scored = np.flatnonzero(weights)
        for start in range(0, len(scored), self.head_rows):
            rows = scored[start : start + self.head_rows]
            yield rows, weights[rows]
