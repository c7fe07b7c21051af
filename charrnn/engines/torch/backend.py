"""Trained networks on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.corpus.batch import Batch
from charrnn.engines.torch.network import TorchNetwork
from charrnn.engines.torch.packing import DeviceBatch
from charrnn.models.architecture import Architecture
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array


class TorchBackend:
    """See engines.base.Backend."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def network(self, architecture: Architecture, flat: Array, batch_size: int, seq_length: int) -> TorchScoringNetwork:
        return TorchScoringNetwork(self.device, architecture, flat)

    def stepper(self, architecture: Architecture, flat: Array, streams: int) -> TorchStepper:
        return TorchStepper(self.device, architecture, flat, streams)


class TorchScoringNetwork(ScoringNetwork):
    """Scores batches. Hidden states stay on the device."""

    def __init__(self, device: torch.device, architecture: Architecture, flat: Array) -> None:
        super().__init__(architecture)
        self.flat = torch.tensor(flat, device=device)
        self.torch_network = TorchNetwork(architecture, self.flat)

    def forward_hidden(self, batch: Batch, state: Array) -> Array:
        on_device = DeviceBatch.from_batch(batch, self.flat.device, self.flat.dtype)
        with torch.no_grad():
            hidden, final = self.torch_network.forward_hidden(on_device, torch.tensor(state, device=self.flat.device))
        state[...] = final.cpu().numpy()
        return hidden  # type: ignore[no-any-return]

    def head_outputs(self, hidden: Array, ngrams: Array | None) -> Array:
        device = self.flat.device
        indices = None if ngrams is None else torch.tensor(ngrams, dtype=torch.int64, device=device)
        with torch.no_grad():
            outputs = self.torch_network.mean_outputs(hidden, indices)
        return outputs.cpu().numpy()  # type: ignore[no-any-return]


class TorchStepper:
    """Reads one time step at a time. See engines.base.Stepper."""

    def __init__(self, device: torch.device, architecture: Architecture, flat: Array, streams: int) -> None:
        self.architecture = architecture
        self.flat = torch.tensor(flat, device=device)
        self.network = TorchNetwork(architecture, self.flat)
        self.torch_state = self.flat.new_zeros(architecture.state_shape(streams))

    def step(self, ids: Sequence[int] | Array) -> Array:
        x = torch.tensor(np.asarray(ids, np.int64), device=self.flat.device)[None]
        batch = DeviceBatch(x, targets=x, carry=self._ones())
        with torch.no_grad():
            _, self.torch_state = self.network.forward_hidden(batch, self.torch_state)
        return self._outputs()

    def step_vectors(self, x: Array) -> Array:
        vectors = torch.tensor(x, dtype=self.flat.dtype, device=self.flat.device)[None]
        with torch.no_grad():
            self.torch_state = self.network.read_vectors(vectors, self.torch_state)
        return self._outputs()

    def reset(self, streams: list[int]) -> None:
        self.torch_state[:, :, streams] = 0

    def state(self) -> Array:
        return self.torch_state.cpu().numpy()  # type: ignore[no-any-return]

    def restore(self, state: Array) -> Array:
        self.torch_state = torch.tensor(state, dtype=self.flat.dtype, device=self.flat.device)
        return self._outputs()

    def select_streams(self, rows: Array) -> None:
        self.torch_state = self.torch_state.index_select(2, torch.tensor(rows, device=self.flat.device))

    def _ones(self) -> Tensor:
        return self.flat.new_ones(self.torch_state.shape[2], 1)

    def _outputs(self) -> Array:
        """The outputs (B, V) of the linear head at the top layer's h."""
        top_h = self.torch_state[-1, 0]
        with torch.no_grad():
            return self.network.mean_outputs(top_h, None).cpu().numpy()  # type: ignore[no-any-return]
