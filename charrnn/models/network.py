"""A network: input -> recurrent stack -> output heads -> loss, forward and backward.

T time steps, B streams, V classes, M predicted numbers, D input width, H hidden size, L layers, N = T x B rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn.corpus.batch import Batch, Source
from charrnn.models.architecture import Architecture
from charrnn.models.encoder import Encoder
from charrnn.models.heads import make_heads, mean_outputs
from charrnn.nn import arrays, ops
from charrnn.nn.arrays import Array
from charrnn.nn.attention import Attention, AttentionWeights
from charrnn.nn.losses import LOSSES
from charrnn.nn.parameters import named_views
from charrnn.nn.recurrent import LayerWeights
from charrnn.nn.stack import RecurrentStack
from charrnn.nn.stepper import Stepper

MAX_HEAD_ELEMENTS = 1 << 19  # outputs computed at a time, so that they fit into the cache even with a large vocabulary


class Rows(NamedTuple):
    """Some of the N rows, computed together by the heads."""

    places: slice | Array  # indices of the rows
    mask: Array | None  # (n,), their values of the loss mask; None: the batch has no loss mask


def layer_weights(named: dict[str, Array], num_layers: int) -> list[LayerWeights]:
    """The four arrays of each layer."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [LayerWeights(*(named[f"rnn.{kind}_l{layer}"] for kind in kinds)) for layer in range(num_layers)]


def attention_weights(named: dict[str, Array]) -> AttentionWeights:
    """The parameters of the attention."""
    return AttentionWeights(named["attention.weight"], named["combine.weight"], named["combine.bias"])


def new_stepper(architecture: Architecture, flat: Array, streams: int) -> Stepper:
    """The network as a stepper, which computes one time step at a time. It supports only the linear head."""
    named = named_views(architecture.specs(), flat)
    weights = layer_weights(named, architecture.num_layers)
    embedding = named.get("embedding.weight")
    return Stepper(architecture.cell, weights, named["head.weight"], named["head.bias"], streams, embedding)


class ScoringNetwork(ABC):
    """One or several networks with fixed parameters that compute outputs and losses."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.loss = LOSSES[architecture.loss]
        self.head_rows = max(1, MAX_HEAD_ELEMENTS // architecture.output_size)

    @abstractmethod
    def zero_state(self, streams: int) -> Array:
        """A zero state, in the form that this network reads and overwrites."""

    @abstractmethod
    def outputs(self, batch: Batch, state: Array) -> Iterator[tuple[Rows, Array]]:
        """Yields the outputs of all scored rows, some rows at a time. Overwrites `state` with the final state."""

    def losses(self, batch: Batch, state: Array) -> Array:
        """The masked loss of every prediction (T, B). Overwrites `state` with the final state."""
        targets = _flat_targets(batch)
        losses = np.zeros(len(targets), state.dtype)
        for rows, outputs in self.outputs(batch, state):
            row_losses, _ = self.loss.forward(outputs, targets[rows.places])
            losses[rows.places] = row_losses if rows.mask is None else row_losses * rows.mask
        return losses.reshape(batch.targets.shape[:2])

    def sums(self, batch: Batch, state: Array) -> Array:
        """The sum of the masked losses, followed by the number of correct predictions (2,) or, for numbers, by the sum
        of squared errors of each column (1 + M,). Overwrites `state` with the final state."""
        targets = _flat_targets(batch)
        total: Array = np.zeros(self.architecture.num_sums)
        for rows, outputs in self.outputs(batch, state):
            row_losses, residual = self.loss.forward(outputs, targets[rows.places])
            counts = self.loss.tally(residual, targets[rows.places])
            columns = np.concatenate([row_losses[:, None], counts], axis=1)
            if rows.mask is not None:
                columns *= rows.mask[:, None]
            total += columns.sum(axis=0, dtype=np.float64)
        return total

    def scored_rows(self, batch: Batch) -> Iterator[Rows]:
        """Yields the scored rows in groups."""
        if batch.loss_mask is None:
            steps, streams = batch.x.shape[:2]
            for start in range(0, steps * streams, self.head_rows):
                yield Rows(slice(start, start + self.head_rows), None)
            return
        mask = batch.loss_mask.ravel()
        scored = np.flatnonzero(mask)
        for start in range(0, len(scored), self.head_rows):
            places = scored[start : start + self.head_rows]
            yield Rows(places, mask[places])


class SingleNetwork(ScoringNetwork):
    """A network whose heads read the outputs of one recurrent stack. Each engine has its own subclass."""

    dtype: np.dtype[Any]  # of the state

    @abstractmethod
    def forward_hidden(self, batch: Batch, state: Array) -> Array:
        """The top layer's outputs as rows (N, H). Overwrites `state` (L, num_states, B, H) with the final state."""

    @abstractmethod
    def head_outputs(self, hidden: Array, ngrams: Array | None) -> Array:
        """Rows (n, H) of `forward_hidden`, and their n-grams (n, K) -> outputs (n, V) or (n, M)."""

    def zero_state(self, streams: int) -> Array:
        return np.zeros(self.architecture.state_shape(streams), self.dtype)

    def outputs(self, batch: Batch, state: Array) -> Iterator[tuple[Rows, Array]]:
        hidden = self.forward_hidden(batch, state)
        for rows in self.scored_rows(batch):
            yield rows, self.head_outputs(hidden[rows.places], _ngrams(batch, rows))


class Network(SingleNetwork):
    """The network in NumPy for B streams of up to T steps.

    flat: the vector of all parameters.
    grads: a vector of the same size for the gradient. Without it the network cannot train.
    """

    def __init__(
        self,
        architecture: Architecture,
        flat: Array,
        batch_size: int,
        seq_length: int,
        grads: Array | None = None,
        source_length: int = 0,
    ) -> None:
        super().__init__(architecture)
        self.dtype = flat.dtype
        self.specs = architecture.specs()
        self.named = named_views(self.specs, flat)
        self.heads = make_heads(architecture)
        weights = layer_weights(self.named, architecture.num_layers)
        self.stack = RecurrentStack(architecture.cell, weights, batch_size, seq_length, training=grads is not None)
        self.learns_inputs = architecture.embedding_size > 0
        self.encoder: Encoder | None = None
        if architecture.memory_width:
            self.encoder = Encoder(architecture, self.named, batch_size, source_length)
        self.attention = Attention(attention_weights(self.named)) if architecture.attends else None
        if grads is not None:
            self.grads = named_views(self.specs, grads)
            self.layer_grads = layer_weights(self.grads, architecture.num_layers)
            input_width = architecture.input_width if self.learns_inputs else 0
            self.dy = arrays.empty((seq_length, batch_size, architecture.hidden_size), flat.dtype)
            self.dx = arrays.empty((seq_length, batch_size, input_width), flat.dtype)
            self.dstate = arrays.empty(architecture.state_shape(batch_size), flat.dtype)

    def set_parameters(self, flat: Array) -> None:
        """Replaces the vector of all parameters."""
        self.named = named_views(self.specs, flat)
        self.stack.set_weights(layer_weights(self.named, self.architecture.num_layers))
        if self.encoder is not None:
            self.encoder.set_parameters(self.named)
        if self.attention is not None:
            self.attention.weights = attention_weights(self.named)

    def encode(self, source: Source, state: Array, dropout_masks: Array | None = None) -> Array:
        """Encodes the sources. Returns the memory (S, B, E). Overwrites `state` with the decoder's initial state."""
        assert self.encoder is not None
        return self.encoder.forward(self.named, source, state, dropout_masks)

    def forward_hidden(
        self,
        batch: Batch,
        state: Array,
        dropout_masks: Array | None = None,
        recurrent_masks: Sequence[Array] = (),
    ) -> Array:
        """See SingleNetwork.

        dropout_masks: masks that multiply the outputs of the layers (see `split_dropout_masks`).
        recurrent_masks: for each layer of the decoder a mask (G, H) that multiplies W_hh.
        """
        masks = split_dropout_masks(self.architecture, dropout_masks)
        memory = None
        if batch.source is not None:
            memory = self.encode(batch.source, state, masks.encoder)
        self.inputs = self._inputs(batch)
        y = self.stack.forward(
            self.inputs,
            state,
            dropout_masks=masks.layers,
            reset_mask=batch.reset_mask,
            recurrent_masks=recurrent_masks,
        )
        if self.attention is not None and memory is not None and batch.source is not None:
            y = self.attention.forward(y, memory, batch.source.is_step)
            if masks.attention is not None:
                y *= masks.attention
        self.memory = memory
        self.masks = masks
        return y.reshape(-1, self.architecture.hidden_size)

    def head_outputs(self, hidden: Array, ngrams: Array | None) -> Array:
        return mean_outputs(self.heads, self.named, hidden, ngrams)

    def loss_and_gradient(
        self,
        batch: Batch,
        state: Array,
        scale: float,
        dropout_masks: Array | None = None,
        recurrent_masks: Sequence[Array] = (),
    ) -> float:
        """Returns the sum of the masked losses x scale and writes its gradient to `grads`.

        The loss of several heads is the mean of their losses, weighted by their shares. Overwrites `state` with the
        final state, which has no gradient (truncated back-propagation through time). Masks as for `forward_hidden`.
        """
        for head in self.heads:
            for name in head.names:
                self.grads[name].fill(0)
        hidden = self.forward_hidden(batch, state, dropout_masks, recurrent_masks)
        targets = _flat_targets(batch)
        dy = self.dy[: len(batch.x)]
        dhidden = dy.reshape(hidden.shape)
        if batch.loss_mask is not None:
            dhidden.fill(0)
        total = 0.0
        for rows in self.scored_rows(batch):
            row_hidden = hidden[rows.places]
            row_targets = targets[rows.places]
            ngrams = _ngrams(batch, rows)
            row_dhidden = dhidden[rows.places]  # a view if the places are a slice, else a copy
            for head in self.heads:
                outputs = head.forward(self.named, row_hidden, ngrams)
                loss, doutputs = self._loss_backward(outputs, row_targets, rows.mask, head.share * scale)
                total += loss
                head.backward(doutputs, self.named, self.grads, row_hidden, ngrams, row_dhidden)
            if rows.mask is not None:
                dhidden[rows.places] = row_dhidden
        dmemory = None
        if self.attention is not None:
            if self.masks.attention is not None:
                dy *= self.masks.attention
            dmemory = self.attention.backward(dy, dy, attention_weights(self.grads))
        self.dstate.fill(0)
        dx = self.dx[: len(batch.x)] if self.learns_inputs else None
        self.stack.backward(dy, self.dstate, self.layer_grads, dx)
        if self.encoder is not None and self.memory is not None:
            dmemory = np.zeros_like(self.memory) if dmemory is None else dmemory
            self.encoder.backward(self.named, self.grads, dmemory, self.dstate)
        if dx is not None:
            ops.embedding_backward(dx, batch.x, self.grads["embedding.weight"])
        return total

    def _inputs(self, batch: Batch) -> Array:
        """The input of the first layer: ids (T, B) for a one-hot input, otherwise vectors (T, B, D)."""
        embedding = self.named.get("embedding.weight")
        return batch.x if embedding is None else ops.embedding_forward(embedding, batch.x)

    def _loss_backward(self, outputs: Array, targets: Array, mask: Array | None, scale: float) -> tuple[float, Array]:
        """The sum of the masked losses x scale, and its gradient with respect to the outputs."""
        losses, residual = self.loss.forward(outputs, targets)
        if mask is None:
            return float(losses.sum(dtype=np.float64)) * scale, self.loss.backward(residual, targets, scale)
        total = float((losses * mask).sum(dtype=np.float64)) * scale
        return total, self.loss.backward(residual, targets, scale * mask[:, None])


class DropoutMasks(NamedTuple):
    """The dropout masks of a step. None: nothing is dropped."""

    layers: Array | None = None  # (L, B, H), of the decoder's layers
    encoder: Array | None = None  # (L, B, E), of the encoder's layers
    attention: Array | None = None  # (B, H), of the attention


def split_dropout_masks(architecture: Architecture, masks: Array | None) -> DropoutMasks:
    """Splits the masks (num_dropout_masks, B, W) of a step, where W is the largest width of all outputs."""
    if masks is None:
        return DropoutMasks()
    layers = architecture.num_layers
    hidden = architecture.hidden_size
    return DropoutMasks(
        layers=masks[:layers, :, :hidden],
        encoder=masks[layers : 2 * layers, :, : architecture.memory_width] if architecture.memory_width else None,
        attention=masks[-1, :, :hidden] if architecture.attends else None,
    )


def _ngrams(batch: Batch, rows: Rows) -> Array | None:
    """The n-grams of some rows (n, K)."""
    return None if batch.ngrams is None else batch.ngrams.reshape(-1, batch.ngrams.shape[2])[rows.places]


def _flat_targets(batch: Batch) -> Array:
    """The targets as rows: (N,) ids, or (N, M) numbers."""
    return batch.targets.reshape(-1, *batch.targets.shape[2:])
