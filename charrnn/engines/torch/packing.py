"""A batch on a PyTorch device. Streams with resets are split into packed sequences.

PyTorch's recurrent functions cannot reset the state inside a sequence, but they can read sequences of different lengths
side by side. The part of a stream between two resets therefore becomes a sequence of its own.

T time steps, B streams, N = T x B rows (row t B + b is step t of stream b), K sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from charrnn.corpus.batch import Batch
from charrnn.nn.arrays import Array


class Sequences(NamedTuple):
    """The sequences of a batch, the longest first.

    The packed order is that of PyTorch's PackedSequence: the first steps of all sequences, then the second steps of
    those that have one, and so on.
    """

    sizes: Array  # (steps of the longest sequence,): how many sequences have such a step
    rows: Array  # (N,): the row of the batch at each place of the packed order
    places: Array  # (N,): the inverse of `rows`
    streams: Array  # (K,): the stream of each sequence
    last: Array  # (B,): the last sequence of each stream
    first_steps: Array  # (K,): the time step at which each sequence starts


def split_at_resets(reset_mask: Array) -> Sequences:
    """reset_mask (T, B) -> the sequences between the resets.

    For T = 3, B = 2 and a reset of stream 1 at step 2 the sequences are: stream 0, steps 0 to 2 (length 3); stream 1,
    steps 0 and 1 (length 2); stream 1, step 2 (length 1). So sizes = [3, 2, 1] and, with rows numbered t B + b, rows =
    [0, 1, 5, 2, 3, 4].
    """
    steps, num_streams = reset_mask.shape
    starts = reset_mask.copy()
    starts[0] = True
    streams, first_steps = np.nonzero(starts.T)  # sorted by stream, then by time
    lengths = np.diff(streams * steps + first_steps, append=num_streams * steps)
    order = np.argsort(-lengths, kind="stable")
    last = np.argsort(order)[np.cumsum(starts.sum(axis=0)) - 1]
    streams = streams[order]
    first_steps = first_steps[order]
    lengths = lengths[order]
    has_step = np.arange(lengths[0])[:, None] < lengths  # (steps of the longest, K)
    step, sequence = np.nonzero(has_step)
    rows = (first_steps[sequence] + step) * num_streams + streams[sequence]
    return Sequences(has_step.sum(axis=1), rows, np.argsort(rows), streams, last, first_steps)


@dataclass(frozen=True, eq=False)
class Packed:
    """`Sequences` as tensors."""

    sizes: Tensor  # always in the host's memory, as PyTorch requires
    rows: Tensor
    places: Tensor
    streams: Tensor
    last: Tensor


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A batch on a device."""

    x: Tensor  # (T, B) ids, or (T, B, D) numbers
    targets: Tensor  # of the n scored rows
    carry: Tensor  # (B, 1), or (K, 1) if packed: 0 where the first step starts from the zero state, else 1
    scored: Tensor | None = None  # (n,) the scored rows; None: all
    loss_mask: Tensor | None = None  # (n,), of the scored rows
    packed: Packed | None = None  # None: the state is not reset after the first step
    features: Tensor | None = None  # (B, F)
    ngrams: Tensor | None = None  # (n, K), of the scored rows

    @property
    def is_plain(self) -> bool:
        """Whether it consists of the first three tensors only, whose shapes are the same for every batch."""
        optional = (self.loss_mask, self.packed, self.features, self.ngrams)
        return all(tensor is None for tensor in optional)

    @classmethod
    def from_batch(cls, batch: Batch, device: torch.device, dtype: torch.dtype) -> DeviceBatch:
        """Copies the batch to the device. The copy to a GPU may still be under way when this returns."""

        def copy(array: Array) -> Tensor:
            tensor = torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else torch.int64)
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        scored: Array | slice = slice(None)
        loss_mask = None
        if batch.loss_mask is not None:
            scored = np.flatnonzero(batch.loss_mask)
            loss_mask = copy(batch.loss_mask.flat[scored])
        resets = np.zeros(batch.x.shape[:2], bool) if batch.reset_mask is None else batch.reset_mask[:, :, 0]
        carry = ~resets[0]
        packed = None
        if resets[1:].any():
            sequences = split_at_resets(resets)
            carry = carry[sequences.streams] & (sequences.first_steps == 0)
            packed = Packed(
                sizes=torch.tensor(sequences.sizes),
                rows=copy(sequences.rows),
                places=copy(sequences.places),
                streams=copy(sequences.streams),
                last=copy(sequences.last),
            )
        ngrams = None if batch.ngrams is None else batch.ngrams.reshape(-1, batch.ngrams.shape[2])[scored]
        return cls(
            x=copy(batch.x),
            targets=copy(batch.targets.reshape(-1, *batch.targets.shape[2:])[scored]),
            carry=copy(carry[:, None]),
            scored=copy(scored) if isinstance(scored, np.ndarray) else None,
            loss_mask=loss_mask,
            packed=packed,
            features=None if batch.features is None else copy(batch.features),
            ngrams=None if ngrams is None else copy(ngrams),
        )
