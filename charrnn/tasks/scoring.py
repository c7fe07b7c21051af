"""Outputs and losses of a trained network on records, which are scored in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records, WindowPass, Windows
from charrnn.models.network import ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.tasks.base import TrainedModel

BATCH_STEPS = 1 << 15  # upper limit of the steps in a batch; its windows are as long as the longest record
MAX_STREAMS = 128


class ScoringStep(NamedTuple):
    """A batch of records, and the network that scores it."""

    network: ScoringNetwork
    state: Array  # the initial state, zero
    batch: Batch
    places: Array  # (T, B), see corpus/windows.py


def scored_outputs(model: TrainedModel, records: Records) -> Array:
    """The outputs (S, V) of all S scored steps, in the order of the records."""
    output_row = np.cumsum(records.loss_mask) - 1  # the row of each scored step in `outputs`
    num_scored = int(records.loss_mask.sum())
    outputs = np.empty((num_scored, model.architecture.output_size), model.parameters.dtype)
    for network, state, batch, places in _scoring_steps(model, records):
        for rows, row_outputs in network.outputs(batch, state):
            outputs[output_row[places.ravel()[rows.places]]] = row_outputs
    return outputs


def mean_loss(model: TrainedModel, records: Records) -> float:
    """The mean loss of all scored steps."""
    total = sum(network.sums(batch, state)[0] for network, state, batch, _ in _scoring_steps(model, records))
    return float(total) / max(1, int(records.loss_mask.sum()))


def _scoring_steps(model: TrainedModel, records: Records) -> Iterator[ScoringStep]:
    windows = Windows(records, max(1, int(records.lengths.max(initial=0))))
    streams = max(1, min(MAX_STREAMS, BATCH_STEPS // windows.seq_length, windows.number))
    scoring_pass = WindowPass(windows, streams)
    network = model.backend.network(model.architecture, model.parameters, streams, windows.seq_length)
    for step in range(scoring_pass.steps):
        yield ScoringStep(network, network.zero_state(streams), scoring_pass.batch(step), scoring_pass.places(step))
