"""The network of models/network.py in PyTorch's functions: the same parameters, batches and losses, on any device.

Shapes: T time steps, B streams, N = T B rows, H hidden size, L layers, S arrays in a state, K sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.models.network import DIRECT_SHARE, Network, layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import views

RUN = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}  # what nn.LSTM, nn.GRU and nn.RNN call


@dataclass(frozen=True, eq=False)
class Packed:
    """The stretches of a batch's streams between two resets as K sequences of their own, the longest first.

    PyTorch's loops know no reset, but sequences of many lengths side by side: no state crosses from one to another.
    """

    rows: Tensor  # (N,) the row of the batch that stands at each place of the packed steps
    places: Tensor  # (N,) the inverse
    sizes: Tensor  # (steps of the longest,) how many sequences have such a step; always in the host's memory
    streams: Tensor  # (K,) the stream that each is of
    last: Tensor  # (B,) the sequence that each stream ends with


@dataclass(frozen=True, eq=False)
class Placed:
    """A batch on a device."""

    x: Tensor  # (T, B) ids, or (T, B, D) numbers
    targets: Tensor  # of the rows that are scored
    goes_on: Tensor  # (B, 1), or (K, 1) where packed: 0 where the first step starts anew, else 1
    scored: Tensor | None = None  # which of the N rows are; None: all
    weights: Tensor | None = None  # theirs
    packed: Packed | None = None  # None: no state starts anew after the first step
    features: Tensor | None = None  # (B, F)
    direct: Tensor | None = None  # (n, K), of the rows that are scored

    @property
    def is_whole(self) -> bool:
        """Whether it is nothing but the first three, of the same shapes every time."""
        return self.weights is None and self.packed is None and self.features is None and self.direct is None

    @classmethod
    def of(cls, batch: Batch, device: torch.device, dtype: torch.dtype) -> Placed:
        """Copies what it needs; a GPU need not have come to it when this returns."""

        def there(array: Array) -> Tensor:
            tensor = torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else torch.int64)
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        targets, rest = batch.targets.reshape(-1, *batch.targets.shape[2:]), dict[str, Any]()
        scored: slice | Array = slice(None)
        if batch.weights is not None:
            scored = np.flatnonzero(batch.weights)
            targets, rest["scored"], rest["weights"] = targets[scored], there(scored), there(batch.weights.flat[scored])
        keep = np.ones(batch.x.shape[:2], bool) if batch.keep is None else batch.keep[:, :, 0].astype(bool)
        goes_on = keep[0]
        if not keep[1:].all():
            sizes, rows, places, streams, last, starts = pack_sequences(keep)
            rest["packed"] = Packed(there(rows), there(places), torch.tensor(sizes), there(streams), there(last))
            goes_on = goes_on[streams] & (starts == 0)
        if batch.features is not None:
            rest["features"] = there(batch.features)
        if batch.direct is not None:
            rest["direct"] = there(batch.direct.reshape(-1, batch.direct.shape[2])[scored])
        return cls(there(batch.x), there(targets), there(goes_on[:, None]), **rest)


def pack_sequences(keep: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """keep (T, B), false where a state starts anew -> of Packed sizes, rows, places, streams and last; and each
    sequence's first step."""
    steps, number = keep.shape
    begins = ~keep
    begins[0] = True
    streams, starts = np.nonzero(begins.T)  # the sequences of one stream after those of the one before
    lengths = np.diff(streams * steps + starts, append=number * steps)
    order = np.argsort(-lengths, kind="stable")
    last = np.argsort(order)[np.cumsum(begins.sum(axis=0)) - 1]
    streams, starts, lengths = streams[order], starts[order], lengths[order]
    goes_so_far = np.arange(lengths[0])[:, None] < lengths  # (steps of the longest, K)
    time, sequence = np.nonzero(goes_so_far)
    rows = (starts[sequence] + time) * number + streams[sequence]
    return goes_so_far.sum(axis=1), rows, np.argsort(rows), streams, last, starts


class TorchNetwork:
    """The network over a flat vector of parameters. With `grads`, a vector of the same size, their gradients are added
    there by `backward()`."""

    def __init__(self, architecture: Architecture, flat: Tensor, grads: Tensor | None = None) -> None:
        self.architecture, specs = architecture, architecture.specs()
        self.named = dict[str, Any](views(specs, flat))
        if grads is not None:
            for name, its_grads in views(specs, grads).items():
                self.named[name].requires_grad_().grad = its_grads

    def loss(
        self, batch: Placed, state: Tensor, masks: Tensor | None = None, w_masks: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """The weighted loss to learn from, summed (see Network.loss_and_gradient), and the final state. Masks as for
        `hidden`."""
        parts, state = self._outputs(batch, state, masks, w_masks)
        losses = sum(share * self._losses(outputs, batch) for share, outputs in parts)
        return (losses if batch.weights is None else losses * batch.weights).sum(), state

    def sums(self, batch: Placed, state: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted loss and tallies, summed (see Network.sums), and the final state."""
        parts, state = self._outputs(batch, state)
        outputs = sum(share * its for share, its in parts)
        if self.architecture.loss == "softmax":
            tally = (outputs.argmax(dim=1) == batch.targets)[:, None].to(outputs.dtype)
        else:
            tally = (outputs - batch.targets).square()
        counted = torch.cat([self._losses(outputs, batch)[:, None], tally], dim=1)
        return (counted if batch.weights is None else counted * batch.weights[:, None]).sum(dim=0), state

    def _losses(self, outputs: Tensor, batch: Placed) -> Tensor:
        if self.architecture.loss == "softmax":
            return F.cross_entropy(outputs, batch.targets, reduction="none")
        return 0.5 * (outputs - batch.targets).square().mean(dim=1)

    def _outputs(
        self, batch: Placed, state: Tensor, masks: Tensor | None = None, w_masks: Sequence[Tensor] = ()
    ) -> tuple[list[tuple[float, Tensor]], Tensor]:
        """The head's outputs of the rows that are scored, and those of the direct features, if there are any, with the
        share of each; and the final state."""
        hidden, state = self.hidden(batch, state, masks, w_masks)
        if batch.scored is not None:
            hidden = hidden.index_select(0, batch.scored)
        outputs = F.linear(hidden, self.named["head.weight"], self.named["head.bias"])
        if batch.direct is None:
            return [(1.0, outputs)], state
        direct = F.embedding(batch.direct, self.named["direct.weight"], padding_idx=0).sum(dim=1)
        return [(1 - DIRECT_SHARE, outputs), (DIRECT_SHARE, direct)], state

    def hidden(
        self, batch: Placed, state: Tensor, masks: Tensor | None = None, w_masks: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """The top layer's outputs as rows (N, H), and the final state. state (L, S, B, H); masks (L, B, H) multiply the
        layers' outputs, w_masks, a (G, H) for each layer, W_hh."""
        weights, packed, y = layer_weights(self.named, self.architecture.num_layers), batch.packed, self._inputs(batch)
        if w_masks:
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, w_masks, strict=True)]
        if packed is not None:
            streams = packed.rows % y.shape[1]
            y, state = y.flatten(0, 1).index_select(0, packed.rows), state.index_select(2, packed.streams)
        state = state * batch.goes_on
        run, final, steps = RUN[self.architecture.cell], [], () if packed is None else (packed.sizes,)
        # Without masks between the layers all of them are one call, which may overlap their steps.
        for size, n in [(len(weights), 0)] if masks is None else [(1, n) for n in range(len(weights))]:
            start = [part.contiguous() for part in state[n : n + size].unbind(1)]
            named = [array for layer in weights[n : n + size] for array in layer]
            settings = True, size, 0.0, torch.is_grad_enabled(), False  # biases; layers; no dropout; one direction
            first = start if len(start) > 1 else start[0]
            y, *end = run(y, *steps, first, named, *settings, *(() if steps else (False,)))  # not batch first
            final.append(torch.stack(end, dim=1))
            if masks is not None:
                y = y * (masks[n] if packed is None else masks[n].index_select(0, streams))
        state = torch.cat(final).detach()
        if packed is not None:
            y, state = y.index_select(0, packed.places), state.index_select(2, packed.last)
        return y.reshape(-1, self.architecture.hidden_size), state

    def _inputs(self, batch: Placed) -> Tensor:
        """What the first layer reads (T, B, D)."""
        if self.architecture.input == "numbers":
            return batch.x
        if self.architecture.embedding_size:
            x = F.embedding(batch.x, self.named["embedding.weight"])
        else:
            head = self.named["head.bias"]
            x = head.new_zeros(*batch.x.shape, self.architecture.input_size).scatter_(2, batch.x[:, :, None], 1)
        if batch.features is None:
            return x
        first = F.linear(batch.features, self.named["features.weight"], self.named["features.bias"])
        return torch.cat([first[None], x[1:]])


class TorchScorer(Network):
    """A trained network for what only scores: hidden states and outputs come from the device."""

    def __init__(
        self, device: torch.device, architecture: Architecture, flat: Array, batch_size: int, seq_length: int
    ) -> None:
        super().__init__(architecture, flat, batch_size, seq_length)
        self.flat = torch.tensor(flat, device=device)
        self.there = TorchNetwork(architecture, self.flat)

    def hidden(self, batch: Batch, state: Array, masks: Array | None = None, w_masks: Sequence[Array] = ()) -> Array:
        placed = Placed.of(batch, self.flat.device, self.flat.dtype)
        with torch.no_grad():
            hidden, final = self.there.hidden(placed, torch.tensor(state, device=self.flat.device))
        state[...] = final.cpu().numpy()
        return hidden  # type: ignore[no-any-return]

    def head(self, hidden: Array) -> Array:
        outputs = F.linear(hidden, self.there.named["head.weight"], self.there.named["head.bias"])
        return outputs.cpu().numpy()  # type: ignore[no-any-return]
