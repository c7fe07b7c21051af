"""PyTorch versions of the encoder in models/encoder.py and the attention in nn/attention.py.

S source steps, B streams, N packed steps (the steps of all sources without padding), E width of the memory; H hidden
size and L layers, both of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.corpus.batch import Source
from charrnn.models.architecture import Architecture
from charrnn.models.encoder import encoder_weights
from charrnn.nn.arrays import Array
from charrnn.nn.attention import MASKED
from charrnn.nn.stack import CELLS

RECURRENT = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}  # nn.LSTM, nn.GRU and nn.RNN call these


@dataclass(frozen=True, eq=False)
class DeviceSource:
    """The sources of a batch on a device, as packed sequences: the first steps of all sources, the longest first, then
    the second steps of those that have one, and so on."""

    x: Tensor  # (N,) ids or (N, D) numbers, in the packed order
    sizes: Tensor  # (steps of the longest,): the number of sources that have this step; always on the CPU
    rows: Tensor  # (N,): the row of the batch (row s B + b is step s of stream b) of each packed step
    streams: Tensor  # (B,): the stream of each source, the longest source first
    row_streams: Tensor  # (N,): the stream of each packed step
    is_step: Tensor  # bool (S, B)

    @classmethod
    def from_source(cls, source: Source, copy: Callable[[Array], Tensor]) -> DeviceSource:
        """Packs the sources. copy: a function that copies an array to the device."""
        steps, num_streams = source.x.shape[:2]
        lengths = np.maximum(source.lengths, 1)  # an empty stream reads one step of padding
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        has_step = np.arange(lengths[0])[:, None] < lengths
        step, sequence = np.nonzero(has_step)
        rows = (steps - lengths[sequence] + step) * num_streams + order[sequence]
        return cls(
            x=copy(source.x.reshape(steps * num_streams, *source.x.shape[2:])[rows]),
            sizes=torch.tensor(has_step.sum(axis=1)),
            rows=copy(rows),
            streams=copy(order),
            row_streams=copy(order[sequence]),
            is_step=copy(source.is_step).bool(),
        )


def encode(
    architecture: Architecture, named: dict[str, Any], source: DeviceSource, dropout_masks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The memory (S, B, E), and the decoder's initial state (L, num_states, B, H). dropout_masks: (L, B, E)."""
    recurrent = RECURRENT[architecture.cell]
    num_states = CELLS[architecture.cell].num_states
    steps, num_streams = source.is_step.shape
    y = _inputs(architecture, named, source)
    for layer, pair in enumerate(encoder_weights(named, architecture.num_layers)):
        start = y.new_zeros(2, num_streams, architecture.encoder_size)
        weights = [array for direction in pair for array in direction]
        has_biases, num_layers, dropout, bidirectional = True, 1, 0.0, True
        y, *final = recurrent(
            y,
            source.sizes,
            (start, start) if num_states == 2 else start,
            weights,
            has_biases,
            num_layers,
            dropout,
            torch.is_grad_enabled(),
            bidirectional,
        )
        if dropout_masks is not None:
            y = y * dropout_masks[layer].index_select(0, source.row_streams)
    memory = y.new_zeros(steps * num_streams, y.shape[1]).index_copy(0, source.rows, y)
    # (2, num_states, B, H_e) -> (B, 2 num_states H_e), in the order of the streams
    joined = torch.stack(final, dim=1).permute(2, 0, 1, 3).reshape(num_streams, -1)
    states = torch.empty_like(joined).index_copy(0, source.streams, joined)
    initial = F.linear(states, named["bridge.weight"], named["bridge.bias"])
    shape = (num_streams, architecture.num_layers, num_states, architecture.hidden_size)
    return memory.view(steps, num_streams, -1), initial.view(shape).permute(1, 2, 0, 3)


def attend(named: dict[str, Any], h: Tensor, memory: Tensor, is_step: Tensor) -> tuple[Tensor, Tensor]:
    """h (T, B, H), memory (S, B, E), is_step (S, B) -> the output of the attention (T, B, H), its weights (B, T, S)."""
    keys = memory.transpose(0, 1)  # (B, S, E)
    query = F.linear(h, named["attention.weight"]).transpose(0, 1)  # (B, T, E)
    scores = query @ keys.transpose(1, 2)
    scores = scores + torch.where(is_step, 0.0, MASKED).to(scores.dtype).T[:, None]
    weights = scores.softmax(dim=2)
    context = (weights @ keys).transpose(0, 1)  # (T, B, E)
    joined = torch.cat([context, h], dim=2)
    return torch.tanh(F.linear(joined, named["combine.weight"], named["combine.bias"])), weights


def _inputs(architecture: Architecture, named: dict[str, Any], source: DeviceSource) -> Tensor:
    """The inputs of the first layer of the encoder (N, D)."""
    if architecture.source == "numbers":
        return source.x
    if "source_embedding.weight" in named:
        return F.embedding(source.x, named["source_embedding.weight"])
    one_hot: Tensor = named["bridge.bias"].new_zeros(len(source.x), architecture.source_size)
    return one_hot.scatter_(1, source.x[:, None], 1)
