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
from charrnn.models.network import Network, layer_weights
from charrnn.nn.arrays import Array
from charrnn.nn.params import views

STEPS_A_PIECE = 8  # a batch is cut at its resets if its pieces are so long on average, else its sequences are packed
RUN = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}  # what nn.LSTM, nn.GRU and nn.RNN call


@dataclass(frozen=True, eq=False)
class Packed:
    """The stretches of a batch's streams between two resets as sequences of their own, the longest first.

    PyTorch's loops know no reset, but sequences of many lengths side by side: no state crosses from one to another.
    Where resets are few it is quicker to cut the batch there, which keeps the loops for sequences of one length.
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
    scored: Tensor | None  # which of the N rows are; None: all
    weights: Tensor | None  # theirs
    pieces: list[
        tuple[slice, Tensor | None]
    ]  # steps, and before them (B, 1), 0 where a state starts anew; None: nowhere
    packed: Packed | None  # then there is one piece, of the packed steps, and (K, 1)
    features: Tensor | None  # (B, F)

    @classmethod
    def of(cls, batch: Batch, device: torch.device, dtype: torch.dtype) -> Placed:
        def there(array: Array) -> Tensor:
            kind = dtype if array.dtype.kind == "f" else torch.int64
            return torch.tensor(array, dtype=kind, device=device)

        targets, scored, weights = batch.targets.reshape(-1, *batch.targets.shape[2:]), None, None
        if batch.weights is not None:
            chosen = np.flatnonzero(batch.weights)
            targets, scored, weights = targets[chosen], there(chosen), there(batch.weights.ravel()[chosen])
        pieces: list[tuple[slice, Tensor | None]] = [(slice(None), None)]
        packed = None
        if batch.keep is not None:
            keep = batch.keep[:, :, 0].astype(bool)
            steps = len(keep)
            cuts = [0, *(np.flatnonzero(~keep[1:].all(axis=1)) + 1).tolist()]
            if len(cuts) <= max(2, steps // STEPS_A_PIECE):
                ends = [*cuts[1:], steps]
                pieces = [(slice(t, end), there(keep[t, :, None])) for t, end in zip(cuts, ends, strict=True)]
            else:
                start, stream, rows, places, sizes, last = pack_sequences(keep)
                packed = Packed(there(rows), there(places), torch.tensor(sizes), there(stream), there(last))
                pieces = [(slice(None), there((keep[0, stream] & (start == 0))[:, None]))]
        features = None if batch.features is None else there(batch.features)
        return cls(there(batch.x), there(targets), scored, weights, pieces, packed, features)


def pack_sequences(keep: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """keep (T, B), false where a state starts anew -> of each sequence its first step and its stream; and rows, places,
    sizes and last of Packed."""
    begins = ~keep
    begins[0] = True
    stream, start = np.nonzero(begins.T)  # the sequences of one stream after those of the one before
    ends = np.append(start[1:], 0)
    lengths = np.where(ends == 0, len(keep), ends) - start
    order = np.argsort(-lengths, kind="stable")
    stream, start, lengths = stream[order], start[order], lengths[order]
    there = np.arange(lengths[0])[:, None] < lengths  # (steps of the longest, K)
    time, sequence = np.nonzero(there)
    rows = (start[sequence] + time) * keep.shape[1] + stream[sequence]
    ending = np.flatnonzero(start + lengths == len(keep))
    last = np.empty(keep.shape[1], np.int64)
    last[stream[ending]] = ending
    return start, stream, rows, np.argsort(rows), there.sum(axis=1), last


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
        """The sum of the weighted losses, and the final state. masks (L, B, H) and w_masks as for RecurrentStack."""
        outputs, state = self.outputs(batch, state, masks, w_masks)
        losses = self._losses(outputs, batch.targets)
        return (losses if batch.weights is None else losses * batch.weights).sum(), state

    def sums(self, batch: Placed, state: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted loss and tallies, summed (see Network.sums), and the final state."""
        outputs, state = self.outputs(batch, state)
        if self.architecture.loss == "softmax":
            tally = (outputs.argmax(dim=1) == batch.targets)[:, None].to(outputs.dtype)
        else:
            tally = (outputs - batch.targets).square()
        counted = torch.cat([self._losses(outputs, batch.targets)[:, None], tally], dim=1)
        return (counted if batch.weights is None else counted * batch.weights[:, None]).sum(dim=0), state

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.architecture.loss == "softmax":
            return F.cross_entropy(outputs, targets, reduction="none")
        return 0.5 * (outputs - targets).square().mean(dim=1)

    def outputs(
        self, batch: Placed, state: Tensor, masks: Tensor | None = None, w_masks: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """The outputs of the rows that are scored, and the final state."""
        hidden, state = self.hidden(batch, state, masks, w_masks)
        if batch.scored is not None:
            hidden = hidden.index_select(0, batch.scored)
        return F.linear(hidden, self.named["head.weight"], self.named["head.bias"]), state

    def hidden(
        self, batch: Placed, state: Tensor, masks: Tensor | None = None, w_masks: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """The top layer's outputs as rows (N, H), and the final state; state (L, S, B, H)."""
        weights, packed, y = layer_weights(self.named, self.architecture.num_layers), batch.packed, self._inputs(batch)
        if w_masks:
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, w_masks, strict=True)]
        if packed is not None:
            of_row = packed.rows % y.shape[1]
            y, state = y.flatten(0, 1).index_select(0, packed.rows), state.index_select(2, packed.streams)
        final = []
        # Without masks between the layers all of them are one call, which may overlap their steps.
        for size, n in [(len(weights), 0)] if masks is None else [(1, n) for n in range(len(weights))]:
            named = [array for layer in weights[n : n + size] for array in layer]
            settings = True, size, 0.0, torch.is_grad_enabled(), False  # biases; layers; no dropout; one direction
            now, outputs = list(state[n : n + size].unbind(1)), []
            for part, goes_on in batch.pieces:
                now = [(each if goes_on is None else each * goes_on).contiguous() for each in now]
                start = now if len(now) > 1 else now[0]
                if packed is None:
                    output, *now = RUN[self.architecture.cell](y[part], start, named, *settings, False)
                else:
                    output, *now = RUN[self.architecture.cell](y, packed.sizes, start, named, *settings)
                outputs.append(output)
            y = torch.cat(outputs) if len(outputs) > 1 else output
            final.append(torch.stack(now, dim=1))
            if masks is not None:
                y = y * (masks[n] if packed is None else masks[n].index_select(0, of_row))
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
