"""The network of models/network.py in PyTorch: the same parameters, batches and losses, on any device.

T time steps, B streams, N = T x B rows, n scored rows, H hidden size, L layers, K sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.engines.torch.encoder import RECURRENT, attend, encode
from charrnn.engines.torch.packing import DeviceBatch, Packed
from charrnn.models.architecture import Architecture
from charrnn.models.heads import LinearHead, make_heads
from charrnn.models.network import layer_weights, split_dropout_masks
from charrnn.nn.parameters import named_views
from charrnn.nn.recurrent import LayerWeights


class TorchNetwork:
    """The network with a flat vector of parameters.

    grads: a vector of the same size, to which PyTorch's `backward()` adds the gradients. Without it the network cannot
        train.
    """

    def __init__(self, architecture: Architecture, flat: Tensor, grads: Tensor | None = None) -> None:
        self.architecture = architecture
        self.heads = make_heads(architecture)
        specs = architecture.specs()
        self.named = dict[str, Any](named_views(specs, flat))
        if grads is not None:
            for name, view in named_views(specs, grads).items():
                self.named[name].requires_grad_().grad = view

    def loss(
        self,
        batch: DeviceBatch,
        state: Tensor,
        dropout_masks: Tensor | None = None,
        recurrent_masks: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """The sum of the masked losses (see `Network.loss_and_gradient`), and the final state. Masks as for
        `forward_hidden`."""
        hidden, state = self.forward_hidden(batch, state, dropout_masks, recurrent_masks)
        outputs = self.head_outputs(_scored_rows(hidden, batch), batch.ngrams)
        losses = sum(
            head.share * self._losses(output, batch.targets) for head, output in zip(self.heads, outputs, strict=True)
        )
        return _masked_sum(losses, batch), state

    def sums(self, batch: DeviceBatch, state: Tensor) -> tuple[Tensor, Tensor]:
        """The sums of the masked losses and counts (see `ScoringNetwork.sums`), and the final state."""
        hidden, state = self.forward_hidden(batch, state)
        outputs = self.mean_outputs(_scored_rows(hidden, batch), batch.ngrams)
        if self.architecture.loss == "softmax":
            counts = (outputs.argmax(dim=1) == batch.targets)[:, None].to(outputs.dtype)
        else:
            counts = (outputs - batch.targets).square()
        columns = torch.cat([self._losses(outputs, batch.targets)[:, None], counts], dim=1)
        return _masked_sum(columns, batch), state

    def mean_outputs(self, hidden: Tensor, ngrams: Tensor | None) -> Tensor:
        """Rows (n, H) and their n-grams -> the weighted mean of the heads' outputs (n, V)."""
        outputs = self.head_outputs(hidden, ngrams)
        if len(outputs) == 1:
            return outputs[0]
        return sum(head.share * output for head, output in zip(self.heads, outputs, strict=True))

    def head_outputs(self, hidden: Tensor, ngrams: Tensor | None) -> list[Tensor]:
        """The outputs (n, V) of each head."""
        outputs = []
        for head in self.heads:
            if isinstance(head, LinearHead):
                outputs.append(self.linear_outputs(hidden))
            else:
                outputs.append(F.embedding(ngrams, self.named["ngrams.weight"], padding_idx=0).sum(dim=1))
        return outputs

    def linear_outputs(self, hidden: Tensor) -> Tensor:
        """The outputs (n, V) of the linear head."""
        return F.linear(hidden, self.named["head.weight"], self.named["head.bias"])

    def forward_hidden(
        self,
        batch: DeviceBatch,
        state: Tensor,
        dropout_masks: Tensor | None = None,
        recurrent_masks: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """The top layer's outputs as rows (N, H), and the final state (L, num_states, B, H).

        dropout_masks: masks that multiply the outputs of the layers (see `split_dropout_masks`).
        recurrent_masks: for each layer of the decoder a mask (G, H) that multiplies W_hh.
        """
        weights = layer_weights(self.named, self.architecture.num_layers)
        if recurrent_masks:
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, recurrent_masks, strict=True)]
        masks = split_dropout_masks(self.architecture, dropout_masks)
        x = self._inputs(batch)
        if batch.source is not None:
            memory, state = encode(self.architecture, self.named, batch.source, masks.encoder)
            y, state = self._run_layers(weights, x, state, masks.layers, sizes=None)
            if self.architecture.attends:
                y, _ = attend(self.named, y, memory, batch.source.is_step)
            if masks.attention is not None:
                y = y * masks.attention
            return y.reshape(-1, self.architecture.hidden_size), state
        if batch.packed is None:
            y, state = self._run_layers(weights, x, state * batch.carry, masks.layers, sizes=None)
            return y.reshape(-1, self.architecture.hidden_size), state
        return self._run_packed(weights, x, state, batch.carry, batch.packed, masks.layers)

    def read_vectors(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reads input vectors of the first layer (T, B, D).

        Returns the outputs of the top layer (T, B, H), and the final state.
        """
        weights = layer_weights(self.named, self.architecture.num_layers)
        return self._run_layers(weights, x, state, dropout_masks=None, sizes=None)

    def _run_packed(
        self,
        weights: list[LayerWeights],
        x: Tensor,
        state: Tensor,
        carry: Tensor,
        packed: Packed,
        dropout_masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Runs the layers on streams with resets after the first step."""
        num_streams = x.shape[1]
        rows = x.flatten(0, 1).index_select(0, packed.rows)
        state = state.index_select(2, packed.streams) * carry
        if dropout_masks is not None:
            dropout_masks = dropout_masks.index_select(1, packed.rows % num_streams)
        y, state = self._run_layers(weights, rows, state, dropout_masks, sizes=packed.sizes)
        return y.index_select(0, packed.places), state.index_select(2, packed.last)

    def _run_layers(
        self,
        weights: list[LayerWeights],
        y: Tensor,
        state: Tensor,
        dropout_masks: Tensor | None,
        sizes: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Runs all layers, each on the outputs of the layer below.

        y: the input of the first layer: (T, B, D), or rows (N, D) of packed sequences with these `sizes`.
        """
        if dropout_masks is None:  # one call for all layers, so that PyTorch can compute them in parallel
            y, state = self._run(weights, y, state, sizes)
            return y, state.detach()
        final = []
        for layer in range(len(weights)):
            y, layer_state = self._run(weights[layer : layer + 1], y, state[layer : layer + 1], sizes)
            final.append(layer_state)
            y = y * dropout_masks[layer]
        return y, torch.cat(final).detach()

    def _run(
        self, weights: list[LayerWeights], y: Tensor, state: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Calls PyTorch's recurrent function, which runs some layers. state: (layers, num_states, B, H)."""
        arrays = [part.contiguous() for part in state.unbind(1)]
        initial = arrays if len(arrays) > 1 else arrays[0]  # (h, c) for an LSTM, h for the other cells
        flat_weights = [array for layer in weights for array in layer]
        has_biases = True
        dropout = 0.0
        is_training = torch.is_grad_enabled()
        bidirectional = False
        options = (has_biases, len(weights), dropout, is_training, bidirectional)
        function = RECURRENT[self.architecture.cell]
        if sizes is None:
            batch_first = False
            y, *final = function(y, initial, flat_weights, *options, batch_first)
        else:
            y, *final = function(y, sizes, initial, flat_weights, *options)
        return y, torch.stack(final, dim=1)

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row (n,)."""
        if self.architecture.loss == "softmax":
            return F.cross_entropy(outputs, targets, reduction="none")
        return 0.5 * (outputs - targets).square().mean(dim=1)

    def _inputs(self, batch: DeviceBatch) -> Tensor:
        """The input vectors of the first layer (T, B, D)."""
        if self.architecture.input == "numbers":
            return batch.x
        return self.symbol_vectors(batch.x)

    def symbol_vectors(self, ids: Tensor) -> Tensor:
        """Embedding vectors or one-hot vectors (..., D) of ids (...)."""
        if self.architecture.embedding_size:
            return F.embedding(ids, self.named["embedding.weight"])
        zeros = self.named["head.bias"].new_zeros(*ids.shape, self.architecture.input_size)
        return zeros.scatter_(-1, ids[..., None], 1)


def _scored_rows(hidden: Tensor, batch: DeviceBatch) -> Tensor:
    """The scored rows (n, H) of (N, H)."""
    return hidden if batch.scored is None else hidden.index_select(0, batch.scored)


def _masked_sum(values: Any, batch: DeviceBatch) -> Tensor:
    """The sum of values (n,) or (n, C) over the rows, multiplied by the loss mask."""
    if batch.loss_mask is None:
        return values.sum(dim=0)
    mask = batch.loss_mask if values.ndim == 1 else batch.loss_mask[:, None]
    return (values * mask).sum(dim=0)
