"""A batch on a PyTorch device. Streams with resets are split into packed sequences.

PyTorch's recurrent functions cannot reset the state inside a sequence, but they can read a batch of sequences with
different lengths. Therefore each stream is split at its resets, and each part becomes a sequence.

T time steps, B streams, N = T x B rows (row t B + b is step t of stream b), K sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from charrnn.corpus.batch import Batch
from charrnn.engines.torch.encoder import DeviceSource
from charrnn.nn.arrays import Array


class Sequences(NamedTuple):
    """The sequences of a batch, the longest first.

    The packed order is that of PyTorch's PackedSequence: the first steps of all sequences, then the second steps of
    those that have one, and so on.
    """

    sizes: Array  # (steps of the longest sequence,), the number of sequences that have this step
    rows: Array  # (N,), the row of the batch at each place of the packed order
    places: Array  # (N,), the place of each row of the batch; the inverse of `rows`
    streams: Array  # (K,), the stream of each sequence
    last: Array  # (B,), the last sequence of each stream
    first_steps: Array  # (K,), the time step at which each sequence starts


def split_at_resets(reset_mask: Array) -> Sequences:
    """reset_mask (T, B) -> the sequences between the resets.

    Example: T = 3, B = 2, stream 1 is reset at step 2. Step t of stream b is row 2 t + b.

        sequence 0: stream 0, steps 0, 1, 2  rows 0, 2, 4
        sequence 1: stream 1, steps 0, 1     rows 1, 3
        sequence 2: stream 1, step 2         row 5

    All three sequences have a first step (rows 0, 1, 5), two have a second step (rows 2, 3), one has a third step
    (row 4): sizes = [3, 2, 1] and rows = [0, 1, 5, 2, 3, 4].
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

    sizes: Tensor  # always on the CPU, as PyTorch requires
    rows: Tensor
    places: Tensor
    streams: Tensor
    last: Tensor


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A batch on a device."""

    x: Tensor  # (T, B) ids, or (T, B, D) numbers
    targets: Tensor  # (n,) ids, or (n, M) numbers, of the scored rows
    carry: Tensor  # (B, 1), or (K, 1) if packed; 0 where the first step starts from the zero state, else 1
    scored: Tensor | None = None  # (n,), indices of the scored rows; None: all rows
    loss_mask: Tensor | None = None  # (n,), of the scored rows
    packed: Packed | None = None  # None: no stream is reset after the first step
    ngrams: Tensor | None = None  # (n, n-grams per step), of the scored rows
    source: DeviceSource | None = None

    @property
    def is_plain(self) -> bool:
        """Whether only `x`, `targets` and `carry` are present. Their shapes are the same for all plain batches."""
        optional = (self.loss_mask, self.packed, self.ngrams, self.source)
        return all(tensor is None for tensor in optional)

    @classmethod
    def from_batch(cls, batch: Batch, device: torch.device, dtype: torch.dtype) -> DeviceBatch:
        """Copies the batch to the device. A copy to a GPU may not be complete when this returns."""

        def copy(array: Array) -> Tensor:
            tensor = torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else torch.int64)
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        def copy_optional(array: Array | None) -> Tensor | None:
            return None if array is None else copy(array)

        targets = batch.targets.reshape(-1, *batch.targets.shape[2:])
        ngrams = None if batch.ngrams is None else batch.ngrams.reshape(-1, batch.ngrams.shape[2])
        loss_mask = None
        scored = None
        if batch.loss_mask is not None:
            scored = np.flatnonzero(batch.loss_mask)
            loss_mask = batch.loss_mask.flat[scored]
            targets = targets[scored]
            ngrams = None if ngrams is None else ngrams[scored]
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
        return cls(
            x=copy(batch.x),
            targets=copy(targets),
            carry=copy(carry[:, None]),
            scored=copy_optional(scored),
            loss_mask=copy_optional(loss_mask),
            packed=packed,
            ngrams=copy_optional(ngrams),
            source=None if batch.source is None else DeviceSource.from_source(batch.source, copy),
        )
