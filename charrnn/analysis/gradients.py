"""The gradient on its way back: how much of it reaches the state k steps before the loss."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import flatten, initialise
from charrnn.plots.curves import labels
from charrnn.runs.directory import Run
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.streams import WARMUP
from charrnn.tasks.registry import corpus_of, load

AXES = ("steps back, k", "share of that at k = 0")
WINDOWS = 128  # places in the text at which a loss is sent back
HELD = 1 << 25  # numbers in the states that are held at once


@dataclass(frozen=True)
class Flow:
    """The norm of the gradient that reaches a layer's state, k steps back, as a share of that at k = 0."""

    label: str
    quartiles: Array  # (3, K + 1), over many places in the text

    @property
    def median(self) -> Array:
        middle: Array = self.quartiles[1]
        return middle


def read_flows(runs: Sequence[Run], steps: int, checkpoint: str) -> list[Flow]:
    """A flow for each run and layer, on the run's validation text. checkpoint: initial, best or last."""
    configs, flows = [run.read_config() for run in runs], []
    for label, run, config in zip(labels(runs, configs), runs, configs, strict=True):
        model = load(run.path, checkpoint="last" if checkpoint == "last" else "best")
        if not isinstance(model, TextModel):
            raise UsageError(f"{run.path}: no language model", "--gradients are those of one")
        specs = model.architecture.specs()
        flat = flatten(specs, model.checkpoint.weights)
        if checkpoint == "initial":
            if config.init_from is not None:
                raise UsageError(f"{run.path}: began with the weights of {config.init_from.path}, not with random ones")
            initialise(specs, flat, config.train.seed)
        ids = corpus_of(model).val
        if len(ids) < steps + 2:
            raise UsageError(f"--steps {steps}: {run.path} has too short a validation part", f"at most {len(ids) - 2}")
        with threadpool_limits(1):
            quartiles = shares(model.architecture, flat.astype(np.float64), ids, steps, model.record_end())
        for n, its_own in enumerate(quartiles):
            flows.append(Flow(label if len(quartiles) == 1 else f"{label}, layer {n}", its_own))
    return flows


def shares(architecture: Architecture, flat: Array, ids: Array, steps: int, record_end: int | None = None) -> Array:
    """Of each layer's shares the lower quartile, median and upper quartile (L, 3, K + 1), over places all through a
    text."""
    read = min(WARMUP + steps + 1, len(ids) - 1)
    ends = np.unique(np.linspace(read, len(ids) - 1, WINDOWS).astype(int))  # which character is to be predicted
    streams = max(1, HELD // (math.prod(architecture.state_shape(1)) * (steps + 1)))
    parts = []
    for start in range(0, len(ends), streams):
        last = ends[start : start + streams]
        x = ids[last + np.arange(-read, 0)[:, None]]
        parts.append(gradient_norms(architecture, flat, x, ids[last], steps, record_end))
    norms = np.concatenate(parts, axis=2)
    of_first = np.divide(norms, norms[:, :1], out=np.zeros_like(norms), where=norms[:, :1] > 0)
    quartiles: Array = np.quantile(of_first, (0.25, 0.5, 0.75), axis=2)
    return quartiles.swapaxes(0, 1)


def gradient_norms(
    architecture: Architecture, flat: Array, x: Array, targets: Array, steps: int, record_end: int | None = None
) -> Array:
    """The norms (L, K + 1, B) of d loss_t / d state_{t-k}, for k = 0 .. K = `steps`, by the engine's way back.

    x (T, B), T > K, is read from the zero state; loss_t is that of its last step, which predicts `targets` (B,). The
    state is what a layer hands on: h, to its own next step and to the layer above, and with an LSTM c besides.
    """
    streams = x.shape[1]
    network = Network(architecture, flat, streams, 1, np.empty_like(flat))
    state = np.zeros(architecture.state_shape(streams), flat.dtype)
    batches, starts = [_step(row[None], record_end) for row in x], deque[Array](maxlen=steps + 1)
    for batch in batches:
        starts.append(state.copy())
        hidden = network.hidden(batch, state)
    _, p = network.loss.forward(network.head(hidden), targets)
    dy = (network.loss.backward(p, targets, 1.0) @ network.named["head.weight"])[None]
    dstate, norms = np.zeros_like(state), np.empty((architecture.num_layers, steps + 1, streams))
    for k, (batch, start) in enumerate(zip(reversed(batches), reversed(starts), strict=False)):
        network.hidden(batch, start)  # again, for what its way back needs
        for n, layer in reversed(list(enumerate(network.stack.layers))):
            dstate[n, 0] += dy[0]  # what comes from above, to what came from the step after
            norms[n, k] = np.sqrt(np.square(dstate[n]).sum(axis=(0, 2)))
            dy.fill(0)
            below = dy if n else None
            layer.backward(network.stack.inputs[n], dy, dstate[n], network.grad_weights[n], batch.keep, below)
        dy.fill(0)
    return norms


def _step(x: Array, record_end: int | None) -> Batch:
    """Ids (1, B), each behind a zero state if it ends a record, for there the next one begins."""
    return Batch(x, x, keep=None if record_end is None else (x != record_end)[:, :, None])
