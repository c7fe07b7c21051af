"""Gradient flow: how much of the gradient of a loss reaches the state k time steps earlier.

L layers, B streams, T time steps, H hidden size.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.analysis.labels import run_labels
from charrnn.corpus.batch import Batch
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import initialise
from charrnn.options import RunConfig
from charrnn.runs.directory import Run
from charrnn.seeding import Purpose, random_generator
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.streams import WARMUP
from charrnn.tasks.registry import load_model, read_corpus

NUM_LOSSES = 128  # places of the text whose losses are differentiated
MAX_STATE_VALUES = 1 << 25  # numbers in the states that are in memory at the same time


@dataclass(frozen=True)
class GradientFlow:
    """The gradient norm of the state of one layer, k steps before the loss, relative to that at k = 0."""

    label: str
    quartiles: Array  # (3, K + 1): lower quartile, median and upper quartile over the places of the text

    @property
    def median(self) -> Array:
        median: Array = self.quartiles[1]
        return median


def read_gradient_flows(runs: Sequence[Run], steps: int, checkpoint: str) -> list[GradientFlow]:
    """The gradient flow of each layer of each run, on the validation text of the run.

    steps: K, the largest number of steps before the loss.
    checkpoint: "initial", "best" or "last".
    Raises UsageError for a run that is not a language model, and for too many steps.
    """
    configs = [run.read_config() for run in runs]
    flows = []
    for label, run, config in zip(run_labels(runs, configs), runs, configs, strict=True):
        model = load_model(run.path, checkpoint="last" if checkpoint == "last" else "best")
        if not isinstance(model, TextModel):
            raise UsageError(f"{run.path}: not a language model", "--gradients needs language models")
        parameters = _initial_parameters(run, config, model) if checkpoint == "initial" else model.parameters
        ids = read_corpus(model).val
        if len(ids) < steps + 2:
            problem = f"--steps {steps}: the validation part of {run.path} is too short"
            raise UsageError(problem, f"at most {len(ids) - 2}")
        with threadpool_limits(1):
            quartiles = relative_gradient_norms(
                model.architecture, parameters.astype(np.float64), ids, steps, model.record_end()
            )
        for n, layer_quartiles in enumerate(quartiles):
            flows.append(GradientFlow(label if len(quartiles) == 1 else f"{label}, layer {n}", layer_quartiles))
    return flows


def _initial_parameters(run: Run, config: RunConfig, model: TextModel) -> Array:
    """The random parameters that the run started from."""
    if config.init_from is not None:
        raise UsageError(f"{run.path}: started from the weights of {config.init_from.path}, not from random weights")
    parameters = np.empty_like(model.parameters)
    generators = (random_generator(config.train.seed, Purpose.PARAMETERS, n) for n in itertools.count())
    initialise(model.architecture.specs(), parameters, generators)
    return parameters


def relative_gradient_norms(
    architecture: Architecture, parameters: Array, ids: Array, steps: int, record_end: int | None = None
) -> Array:
    """Gradient norms relative to those at k = 0, for losses at places spread evenly over a text.

    record_end: the id after which the state is reset.
    Returns the lower quartile, median and upper quartile over the places (L, 3, K + 1) with K = `steps`.
    """
    length = min(WARMUP + steps + 1, len(ids) - 1)  # characters that are read before the predicted one
    predicted_places = np.unique(np.linspace(length, len(ids) - 1, NUM_LOSSES).astype(int))
    streams = max(1, MAX_STATE_VALUES // (math.prod(architecture.state_shape(1)) * (steps + 1)))
    parts = []
    for start in range(0, len(predicted_places), streams):
        places = predicted_places[start : start + streams]
        x = ids[places + np.arange(-length, 0)[:, None]]
        parts.append(gradient_norms(architecture, parameters, x, ids[places], steps, record_end))
    norms = np.concatenate(parts, axis=2)
    first_norms = norms[:, :1]
    relative_norms = np.divide(norms, first_norms, out=np.zeros_like(norms), where=first_norms > 0)
    quartiles: Array = np.quantile(relative_norms, (0.25, 0.5, 0.75), axis=2)
    return quartiles.swapaxes(0, 1)


def gradient_norms(
    architecture: Architecture, parameters: Array, x: Array, targets: Array, steps: int, record_end: int | None = None
) -> Array:
    """The norms (L, K + 1, B) of the gradients d loss / d state_{T-k} for k = 0 .. K = `steps`, with K < T.

    The loss is that of the last step of x (T, B), which is read from the zero state and predicts `targets` (B,). The
    state of a layer is its h, which the next step and the layer above read, and for an LSTM also its c.
    """
    streams = x.shape[1]
    # One step at a time: the backward pass of a step then gives the gradient of the state before it.
    network = Network(architecture, parameters, streams, 1, np.empty_like(parameters))
    batches = [_one_step_batch(ids, record_end) for ids in x]
    state = np.zeros(architecture.state_shape(streams), parameters.dtype)
    states_before = deque[Array](maxlen=steps + 1)
    for batch in batches:
        states_before.append(state.copy())
        hidden = network.forward_hidden(batch, state)
    _, residual = network.loss.forward(network.head_outputs(hidden, None), targets)
    dy = (network.loss.backward(residual, targets, 1.0) @ network.named["head.weight"])[None]
    dstate = np.zeros_like(state)
    norms = np.empty((architecture.num_layers, steps + 1, streams))
    for k, (batch, state_before) in enumerate(zip(reversed(batches), reversed(states_before), strict=False)):
        network.forward_hidden(batch, state_before)  # restores the gates and states for the backward pass of this step
        for n, layer in reversed(list(enumerate(network.stack.layers))):
            dstate[n, 0] += dy[0]  # h is read by the next step and by the layer above
            norms[n, k] = np.sqrt(np.square(dstate[n]).sum(axis=(0, 2)))
            dy.fill(0)
            layer.backward(dy, dstate[n], network.layer_grads[n], dy if n else None)
        dy.fill(0)
    return norms


def _one_step_batch(ids: Array, record_end: int | None) -> Batch:
    """The batch of one time step, for ids (B,)."""
    x = ids[None]
    return Batch(x, x, reset_mask=None if record_end is None else (x == record_end)[:, :, None])
