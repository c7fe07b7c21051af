"""Runs trained networks with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.corpus.batch import Batch, Source
from charrnn.engines.torch.encoder import attend, encode
from charrnn.engines.torch.network import TorchNetwork
from charrnn.engines.torch.packing import DeviceBatch
from charrnn.models.architecture import Architecture
from charrnn.models.network import SingleNetwork
from charrnn.nn.arrays import Array


class TorchBackend:
    """See engines.base.Backend."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def network(
        self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int, source_length: int = 0
    ) -> TorchScoringNetwork:
        return TorchScoringNetwork(self.device, architecture, flat)

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> TorchStepper:
        return TorchStepper(self.device, architecture, flat, streams)

    def decoder(
        self, architecture: Architecture, flat: Array, source: Source, streams_per_source: int
    ) -> TorchDecoderStepper:
        return TorchDecoderStepper(self.device, architecture, flat, source, streams_per_source)


class TorchScoringNetwork(SingleNetwork):
    """Scores batches. The hidden states stay on the device."""

    def __init__(self, device: torch.device, architecture: Architecture, flat: Array) -> None:
        super().__init__(architecture)
        self.dtype = flat.dtype
        self.flat = torch.tensor(flat, device=device)
        self.torch_network = TorchNetwork(architecture, self.flat)

    def forward_hidden(self, batch: Batch, state: Array) -> Array:
        device_batch = DeviceBatch.from_batch(batch, self.flat.device, self.flat.dtype)
        device_state = torch.tensor(state, device=self.flat.device)
        with torch.no_grad():
            hidden, device_state = self.torch_network.forward_hidden(device_batch, device_state)
        state[...] = device_state.cpu().numpy()
        return hidden  # type: ignore[no-any-return]

    def head_outputs(self, hidden: Array, ngrams: Array | None) -> Array:
        device_ngrams = None if ngrams is None else torch.tensor(ngrams, dtype=torch.int64, device=self.flat.device)
        with torch.no_grad():
            outputs = self.torch_network.mean_outputs(hidden, device_ngrams)
        return outputs.cpu().numpy()  # type: ignore[no-any-return]


class TorchStepper:
    """See engines.base.Stepper."""

    def __init__(self, device: torch.device, architecture: Architecture, flat: Array, streams: int) -> None:
        self.flat = torch.tensor(flat, device=device)
        self.network = TorchNetwork(architecture, self.flat)
        self.device_state = self.flat.new_zeros(architecture.state_shape(streams))

    def step(self, ids: Sequence[int] | Array) -> Array:
        device_ids = torch.tensor(np.asarray(ids, np.int64), device=self.flat.device)
        return self._step(self.network.symbol_vectors(device_ids))

    def step_vectors(self, x: Array) -> Array:
        return self._step(self._copy_to_device(x))

    def reset(self, streams: list[int]) -> None:
        self.device_state[:, :, streams] = 0

    def state(self) -> Array:
        return self.device_state.to("cpu", copy=True).numpy()  # type: ignore[no-any-return]

    def restore(self, state: Array) -> Array:
        self.device_state = self._copy_to_device(state)
        return self._outputs()

    def select_streams(self, rows: Array) -> None:
        self.device_state = self.device_state.index_select(2, torch.tensor(rows, device=self.flat.device))

    def _step(self, x: Tensor) -> Array:
        """Computes one time step. x: (B, D)."""
        with torch.no_grad():
            _, self.device_state = self.network.read_vectors(x[None], self.device_state)
        return self._outputs()

    def _outputs(self) -> Array:
        top_h = self.device_state[-1, 0]
        return self.network.linear_outputs(top_h).cpu().numpy()  # type: ignore[no-any-return]

    def _copy_to_device(self, array: Array) -> Tensor:
        return torch.tensor(array, dtype=self.flat.dtype, device=self.flat.device)


class TorchDecoderStepper:
    """Reads the sources, then one symbol of each stream at a time. See engines.base.DecoderStepper."""

    def __init__(
        self, device: torch.device, architecture: Architecture, flat: Array, source: Source, streams_per_source: int
    ) -> None:
        parameters = torch.tensor(flat, device=device)
        self.network = TorchNetwork(architecture, parameters)
        self.K = streams_per_source
        x = np.zeros((1, len(source.lengths)), np.uint32)
        batch = DeviceBatch.from_batch(Batch(x, x, source=source), device, parameters.dtype)
        assert batch.source is not None
        self.is_step = batch.source.is_step.repeat_interleave(self.K, dim=1)
        with torch.no_grad():
            memory, state = encode(architecture, self.network.named, batch.source, None)
        self.memory = memory.repeat_interleave(self.K, dim=1)
        self.state = state.repeat_interleave(self.K, dim=2)
        self.weights: Tensor | None = None  # (N K, 1, S), the attention weights of the last step

    def step(self, ids: Sequence[int] | Array) -> Array:
        x = torch.tensor(np.asarray(ids, np.int64), device=self.memory.device)[None]
        with torch.no_grad():
            y, self.state = self.network.read_vectors(self.network.symbol_vectors(x), self.state)
            if self.network.architecture.attends:
                y, self.weights = attend(self.network.named, y, self.memory, self.is_step)
            return self.network.mean_outputs(y[0], None).cpu().numpy()  # type: ignore[no-any-return]

    def select_streams(self, rows: Array) -> None:
        self.state = self.state.index_select(2, torch.tensor(rows, device=self.state.device))

    @property
    def alignment(self) -> Array | None:
        if self.weights is None:
            return None
        num_sources = len(self.weights) // self.K
        return self.weights.reshape(num_sources, self.K, -1).cpu().numpy()  # type: ignore[no-any-return]
