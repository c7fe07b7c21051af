"""Sequences of numbers: random segments for training, complete sequences for scoring."""

import numpy as np
import pytest

from charrnn.corpus.windows import Records
from charrnn.tasks.series import sequences
from charrnn.tasks.series.sequences import SegmentStream, SequencePass


def make_records(lengths, loss_mask=None):
    """Each input is (number of the record, time step in the record)."""
    starts = np.cumsum([0, *lengths])
    x = np.array([(record, time) for record, length in enumerate(lengths) for time in range(length)], float)
    return Records(x, x[:, :1] * 0, np.ones(len(x), bool) if loss_mask is None else loss_mask, starts)


def test_segments_are_parts_of_one_record_and_start_from_the_zero_state():
    lengths = [40, 7, 13]
    stream = SegmentStream(make_records(lengths), 6, 10, seed=1)
    first_steps = set()
    for step in range(60):
        batch = stream.batch(step)
        np.testing.assert_array_equal(batch.x, SegmentStream(stream.records, 6, 10, seed=1).batch(step).x)
        assert batch.x.shape == (10, 6, 2)
        assert batch.reset_mask[0].all() and not batch.reset_mask[1:].any()
        for n in range(6):
            is_step = batch.loss_mask[:, n] > 0
            record = batch.x[is_step, n, 0]
            time = batch.x[is_step, n, 1]
            assert len(set(record)) == 1 and (np.diff(time) == 1).all()
            assert is_step.sum() == min(10, lengths[int(record[0])])
            first_steps.add((record[0], time[0]))
    possible = {(0, time) for time in range(31)} | {(1, 0)} | {(2, time) for time in range(4)}
    assert first_steps <= possible and len(first_steps) > 25
    assert stream.epoch_steps == 1


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_pass_scores_the_steps_of_the_loss_mask_once_and_reads_short_records_from_their_start(batch_size):
    lengths = [11, 4, 9]
    loss_mask = np.arange(24) % 5 == 0
    sequence_pass = SequencePass(make_records(lengths, loss_mask), batch_size, 4)
    read = {0: [], 1: [], 2: []}
    scored = []
    for step in range(sequence_pass.steps):
        batch = sequence_pass.batch(step)
        places = sequence_pass.places(step)
        scored += places[batch.loss_mask > 0].tolist()
        for n in range(batch_size):
            is_step = places[:, n] >= 0
            for record, time in batch.x[is_step, n].astype(int):
                read[record].append(time)
            if is_step[0]:
                is_reset = batch.reset_mask is not None and bool(batch.reset_mask[0, n, 0])
                assert is_reset == (batch.x[0, n, 1] == 0)
    assert read == {0: list(range(11)), 1: [], 2: list(range(6))}  # up to the last scored step
    assert sorted(scored) == np.flatnonzero(loss_mask).tolist()
    assert sequence_pass.predictions == loss_mask.sum()


def test_a_long_record_is_divided_among_readers_with_a_warmup(monkeypatch):
    monkeypatch.setattr(sequences, "WARMUP", 10)
    loss_mask = np.arange(200) >= 100
    sequence_pass = SequencePass(make_records([200], loss_mask), 4, 8)
    assert sequence_pass.steps == 5  # each of 4 readers reads 10 + 25 steps
    scored = []
    read = []
    for step in range(sequence_pass.steps):
        places = sequence_pass.places(step)
        scored += places[sequence_pass.batch(step).loss_mask > 0].tolist()
        read += places[places >= 0].tolist()
    assert sorted(scored) == list(range(100, 200))
    warmups = [n for start in range(100, 200, 25) for n in range(start - 10, start)]
    assert sorted(read) == sorted([*range(100, 200), *warmups])


def test_a_pass_without_scored_steps_has_no_batches():
    assert SequencePass(make_records([5], np.zeros(5, bool)), 2, 4).steps == 0
