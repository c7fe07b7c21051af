"""Gradient flow: how much of the gradient of a loss reaches the state k time steps earlier.

The losses are those of single predictions of a validation pass, so this works for every task. If a network has an
encoder, the time steps and the states are those of the decoder.

L layers, B streams, T time steps, H hidden size, N losses, K the largest k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.analysis.labels import run_labels
from charrnn.corpus.batch import Batch
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network, attention_weights
from charrnn.nn.arrays import Array
from charrnn.options import ResolvedTraining, RunConfig
from charrnn.runs.directory import Run
from charrnn.tasks.base import Task
from charrnn.tasks.registry import load_model, read_run_task
from charrnn.training.trainer import random_parameters

DEFAULT_STEPS = 100
NUM_LOSSES = 128  # predictions whose losses are differentiated
MAX_STREAMS = 32
MAX_STATE_VALUES = 1 << 25  # numbers in the states that are in memory at the same time


@dataclass(frozen=True)
class GradientFlow:
    """The gradient norm of the state of one layer, k steps before the loss, relative to that at k = 0."""

    label: str
    quartiles: Array  # (3, K + 1): lower quartile, median and upper quartile over the losses

    @property
    def median(self) -> Array:
        median: Array = self.quartiles[1]
        return median


class Place(NamedTuple):
    """A prediction of a pass: its batch, its time step and its stream."""

    batch: int
    step: int
    stream: int


def read_gradient_flows(runs: Sequence[Run], steps: int | None, checkpoint: str) -> list[GradientFlow]:
    """The gradient flow of each layer of each run, on the validation data of the run.

    steps: K. None: DEFAULT_STEPS, or fewer if all records are shorter.
    checkpoint: "initial", "best" or "last".
    Raises UsageError if a run has no validation data, or if they are too short.
    """
    configs = [run.read_config() for run in runs]
    flows = []
    for label, run, config in zip(run_labels(runs, configs), runs, configs, strict=True):
        model = load_model(run.path, checkpoint="last" if checkpoint == "last" else "best")
        task = read_run_task(run)
        parameters = model.parameters
        if checkpoint == "initial":
            parameters = _initial_parameters(run, config, task, model.architecture)
        seq_length = ResolvedTraining.from_options(config.train).seq_length
        batches = _validation_batches(task, model.architecture, seq_length, steps or DEFAULT_STEPS)
        longest = max((int(history(batch)[_is_scored(batch)].max(initial=0)) for batch in batches), default=0)
        if not longest:
            problem = f"{run.path}: no validation data with two time steps in a record"
            raise UsageError(problem, "--gradients needs them; see --val-fraction and --val-file")
        if steps is not None and steps > longest:
            problem = f"--steps {steps}: the validation data of {run.path} are too short"
            raise UsageError(problem, f"at most {longest}")
        with threadpool_limits(1):
            quartiles = relative_gradient_norms(
                model.architecture, parameters.astype(np.float64), batches, min(longest, steps or DEFAULT_STEPS)
            )
        for n, layer_quartiles in enumerate(quartiles):
            flows.append(GradientFlow(label if len(quartiles) == 1 else f"{label}, layer {n}", layer_quartiles))
    return flows


def _initial_parameters(run: Run, config: RunConfig, task: Task, architecture: Architecture) -> Array:
    """The random parameters that the run started from."""
    if config.init_from is not None:
        raise UsageError(f"{run.path}: started from the weights of {config.init_from.path}, not from random weights")
    return random_parameters(task, architecture, ResolvedTraining.from_options(config.train))


def _validation_batches(task: Task, architecture: Architecture, seq_length: int, steps: int) -> list[Batch]:
    """Batches of a part of the validation data, long enough for predictions with `steps` steps before them."""
    batch_length = steps + seq_length
    one_stream = task.validation_pass(1, batch_length)
    if one_stream is None:
        return []
    state_values = math.prod(architecture.state_shape(1)) * batch_length
    # One stream reads `one_stream.steps` batches. With at most half as many streams, each one reads several batches.
    streams = max(1, min(MAX_STREAMS, MAX_STATE_VALUES // state_values, one_stream.steps // 2))
    batches = task.validation_pass(streams, batch_length, NUM_LOSSES * batch_length)
    return [] if batches is None else [batches.batch(n) for n in range(batches.steps)]


def history(batch: Batch) -> Array:
    """The number of steps (T, B) between each step and the start of its record, or of the batch."""
    steps = np.arange(len(batch.x))[:, None]
    starts = np.zeros(batch.x.shape[:2], int) if batch.reset_mask is None else steps * batch.reset_mask[:, :, 0]
    lengths: Array = steps - np.maximum.accumulate(starts, axis=0)
    return lengths


def _is_scored(batch: Batch) -> Array:
    """Bool (T, B), True where a step is scored."""
    return np.ones(batch.x.shape[:2], bool) if batch.loss_mask is None else batch.loss_mask > 0


def relative_gradient_norms(
    architecture: Architecture, parameters: Array, batches: Sequence[Batch], steps: int
) -> Array:
    """Gradient norms relative to those at k = 0, for NUM_LOSSES predictions of the batches of a pass.

    If at least NUM_LOSSES predictions have `steps` steps before them, only those are used. Otherwise, the values for
    each k are those of the predictions that have k steps before them.

    Returns the lower quartile, median and upper quartile over the losses (L, 3, K + 1) with K = `steps`.
    """
    lengths = [history(batch) for batch in batches]
    scored = [Place(n, *place) for n, batch in enumerate(batches) for place in np.argwhere(_is_scored(batch)).tolist()]
    with_all_steps = [place for place in scored if lengths[place.batch][place[1:]] >= steps]
    candidates = with_all_steps if len(with_all_steps) >= NUM_LOSSES else scored
    candidates.sort(key=lambda place: lengths[place.batch][place[1:]])  # the last one has the most steps before it
    chosen = np.unique(np.linspace(0, len(candidates) - 1, NUM_LOSSES).astype(int))
    norms = gradient_norms(architecture, parameters, batches, [candidates[n] for n in chosen.tolist()], steps)
    first_norms = norms[:, :, :1]
    relative_norms = np.divide(norms, first_norms, out=np.zeros_like(norms), where=first_norms > 0)
    relative_norms[np.isnan(norms)] = np.nan
    quartiles: Array = np.nanquantile(relative_norms, (0.25, 0.5, 0.75), axis=1)
    return quartiles.swapaxes(0, 1)


def gradient_norms(
    architecture: Architecture, parameters: Array, batches: Sequence[Batch], places: Sequence[Place], steps: int
) -> Array:
    """The norms (L, N, K + 1) of the gradients d loss / d state_{t-k} for k = 0 .. K = `steps`.

    Each loss is that of one prediction at a step t. The state of a layer is its h, which the next step and the layer
    above read, and for an LSTM also its c. NaN where t - k is before the record, or before the batch.

    batches: the batches of a pass. Each batch starts from the final state of the previous batch.
    """
    streams = batches[0].x.shape[1]
    source_length = max((len(batch.source.x) for batch in batches if batch.source is not None), default=0)
    network = Network(architecture, parameters, streams, 1, source_length=source_length)
    state = np.zeros(architecture.state_shape(streams), parameters.dtype)
    norms = np.full((architecture.num_layers, len(places), steps + 1), np.nan)
    for n, batch in enumerate(batches):
        memory = None if batch.source is None else network.encode(batch.source, state)
        states = np.empty((len(batch.x), *state.shape), state.dtype)  # before each step
        for t in range(len(batch.x)):
            states[t] = state
            _forward_step(network, batch, np.full(streams, t), np.arange(streams), state)
        numbers = [number for number, place in enumerate(places) if place.batch == n]
        if numbers:
            _, at, of_stream = np.array([places[number] for number in numbers]).T
            norms[:, numbers] = _norms_of_losses(architecture, parameters, batch, memory, states, at, of_stream, steps)
    return norms


def _norms_of_losses(
    architecture: Architecture,
    parameters: Array,
    batch: Batch,
    memory: Array | None,
    states: Array,
    at: Array,
    of_stream: Array,
    steps: int,
) -> Array:
    """The norms (L, N, K + 1) of N losses of one batch. All losses are differentiated at the same time: each one is a
    stream of its own, whose backward pass begins at the step of the loss.

    states: (T, L, num_states, B, H), before each step. at, of_stream: (N,), the steps and streams of the losses.
    """
    network = Network(architecture, parameters, len(at), 1, np.empty_like(parameters), source_length=1)
    norms = np.full((architecture.num_layers, len(at), steps + 1), np.nan)
    lengths = history(batch)[at, of_stream]
    dstate = np.zeros(architecture.state_shape(len(at)), parameters.dtype)
    for k in range(min(steps, int(lengths.max())) + 1):
        now = np.maximum(at - k, 0)
        state = states[now, :, :, of_stream].transpose(1, 2, 0, 3).copy()
        hidden = _forward_step(network, batch, now, of_stream, state)  # recomputes the gates of these steps
        dy = np.zeros_like(hidden) if k else _hidden_gradient(network, batch, memory, at, of_stream, hidden)
        has_step = lengths >= k
        for n, layer in reversed(list(enumerate(network.stack.layers))):
            dstate[n, 0] += dy[0]  # h is read by the next step and by the layer above
            norms[n, has_step, k] = np.sqrt(np.square(dstate[n]).sum(axis=(0, 2)))[has_step]
            dy.fill(0)
            layer.backward(dy, dstate[n], network.layer_grads[n], dy if n else None)
    return norms


def _forward_step(network: Network, batch: Batch, steps: Array, streams: Array, state: Array) -> Array:
    """The outputs (1, N, H) of the recurrent stack at steps of some streams (N,). Overwrites `state` with the state
    after it."""
    embedding = network.named.get("embedding.weight")
    x = batch.x[steps, streams][None]
    reset_mask = None if batch.reset_mask is None else batch.reset_mask[steps, streams][None]
    return network.stack.forward(x if embedding is None else embedding[x], state, reset_mask=reset_mask)


def _hidden_gradient(
    network: Network, batch: Batch, memory: Array | None, steps: Array, streams: Array, hidden: Array
) -> Array:
    """The gradients of losses with respect to the outputs (1, N, H) of the recurrent stack at their steps."""
    attention = network.attention
    y = hidden
    if attention is not None and memory is not None and batch.source is not None:
        y = attention.forward(hidden, memory[:, streams], batch.source.is_step[:, streams])
    outputs = network.head_outputs(y[0], None if batch.ngrams is None else batch.ngrams[steps, streams])
    targets = batch.targets[steps, streams]
    _, residual = network.loss.forward(outputs, targets)
    dy = (network.loss.backward(residual, targets, network.heads[0].share) @ network.named["head.weight"])[None]
    if y is not hidden and attention is not None:
        attention.backward(dy, dy, attention_weights(network.grads))
    return dy
