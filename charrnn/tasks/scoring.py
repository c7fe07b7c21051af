"""Outputs and losses of a trained network on records, which are scored in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records, WindowPass, Windows
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.losses import cross_entropy_forward
from charrnn.tasks.base import TrainedModel

BATCH_STEPS = 1 << 15  # upper limit of the steps in a batch; its windows are as long as the longest record
MAX_STREAMS = 128


class ScoringStep(NamedTuple):
    """A batch of records, and the network that scores it."""

    network: ScoringNetwork
    state: Array  # the initial state, zero
    batch: Batch
    places: Array  # (T, B), see corpus/windows.py


class Choices(NamedTuple):
    """The most likely output of each of S scored steps, in the order of the records."""

    best: Array  # (S,) ids
    probability: Array  # (S,) of `best`
    nats: Array  # (S,) the loss of the target


def scored_pieces(model: TrainedModel, records: Records) -> Iterator[tuple[Array, Array]]:
    """Yields the outputs of all S scored steps in pieces: the numbers (n,) of the steps, and their outputs (n, V).

    The scored steps are numbered in the order of the records. The memory does not grow with the number of records.
    """
    number = np.cumsum(records.loss_mask) - 1
    for network, state, batch, places in _scoring_steps(model, records):
        for rows, outputs in network.outputs(batch, state):
            yield number[places.ravel()[rows.places]], outputs


def scored_outputs(model: TrainedModel, records: Records) -> Array:
    """The outputs (S, V) of all S scored steps, in the order of the records."""
    num_scored = int(records.loss_mask.sum())
    all_outputs = np.empty((num_scored, model.architecture.output_size), model.parameters.dtype)
    for numbers, outputs in scored_pieces(model, records):
        all_outputs[numbers] = outputs
    return all_outputs


def most_likely(model: TrainedModel, records: Records) -> Choices:
    """The most likely output of each scored step, and the loss of its target."""
    targets = records.targets[records.loss_mask]
    dtype = model.parameters.dtype
    choices = Choices(np.empty(len(targets), np.int64), np.empty(len(targets), dtype), np.empty(len(targets), dtype))
    for numbers, outputs in scored_pieces(model, records):
        best = outputs.argmax(axis=1)
        nats, probabilities = cross_entropy_forward(outputs, targets[numbers])
        choices.best[numbers] = best
        choices.probability[numbers] = probabilities[np.arange(len(best)), best]
        choices.nats[numbers] = nats
    return choices


def mean_loss(model: TrainedModel, records: Records) -> float:
    """The mean loss of all scored steps."""
    total = sum(network.sums(batch, state)[0] for network, state, batch, _ in _scoring_steps(model, records))
    return float(total) / max(1, int(records.loss_mask.sum()))


def _scoring_steps(model: TrainedModel, records: Records) -> Iterator[ScoringStep]:
    windows = Windows(records, max(1, int(records.lengths.max(initial=0))))
    streams = max(1, min(MAX_STREAMS, BATCH_STEPS // windows.seq_length, windows.number))
    scoring_pass = WindowPass(windows, streams)
    network = model.backend.network(model.architecture, model.parameters, streams, windows.seq_length)
    with threadpool_limits(1):  # the matrices are too small for the threads of BLAS, which would wait for each other
        for step in range(scoring_pass.steps):
            yield ScoringStep(network, network.zero_state(streams), scoring_pass.batch(step), scoring_pass.places(step))
