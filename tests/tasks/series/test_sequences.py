"""Sequences of numbers: segments for training, whole passes for scoring."""

import numpy as np
import pytest

from charrnn.corpus.windows import Records
from charrnn.tasks.series.sequences import SegmentStream, SequencePass


def records_of(lengths, scored=None):
    """x is (the number of the record, the place in it)."""
    starts = np.cumsum([0, *lengths])
    x = np.array([(r, t) for r, length in enumerate(lengths) for t in range(length)], float)
    weights = np.ones(len(x), bool) if scored is None else scored
    return Records(x, x[:, :1] * 0, weights, starts)


def test_segments_lie_within_one_record_and_begin_with_the_zero_state():
    stream = SegmentStream(records_of([40, 7, 13]), 6, 10, seed=1)
    seen = set()
    for step in range(60):
        batch = stream.batch(step)
        np.testing.assert_array_equal(batch.x, SegmentStream(stream.records, 6, 10, seed=1).batch(step).x)
        assert batch.x.shape == (10, 6, 2) and not batch.keep[0].any() and batch.keep[1:].all()
        for n in range(6):
            there = batch.weights[:, n] > 0
            record, places = batch.x[there, n, 0], batch.x[there, n, 1]
            assert len(set(record)) == 1 and (np.diff(places) == 1).all()
            assert there.sum() == min(10, [40, 7, 13][int(record[0])])
            seen.add((record[0], places[0]))
    assert len(seen) > 25, "every phase of the long record, in time"
    assert stream.epoch_steps == 1


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_pass_reads_every_record_in_order_and_scores_what_is_to_be_scored(batch_size):
    lengths = [11, 4, 9]
    scored = np.arange(24) % 5 == 0
    reading = SequencePass(records_of(lengths, scored), batch_size, 4)
    read, counted = {0: [], 1: [], 2: []}, 0
    for step in range(reading.steps):
        batch, places = reading.batch(step), reading.places(step)
        weights = batch.weights
        counted += weights.sum()
        for n in range(batch_size):
            there = places[:, n] >= 0
            for record, place in batch.x[there, n].astype(int):
                read[record].append(place)
            starts = batch.x[there, n, 1][:1] == 0
            assert there[:1].sum() == 0 or (batch.keep is not None and not batch.keep[0, n, 0]) == bool(starts[0])
    assert read == {r: list(range(length)) for r, length in enumerate(lengths)}
    assert counted == scored.sum() == reading.predictions
