"""Windows: every record is whole, every step stands in an epoch once, and each epoch has an order of its own."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.corpus.windows import Records, WindowPass, Windows, WindowStream, pack

quick = settings(max_examples=150, deadline=None)
lengths_of_records = st.lists(st.integers(1, 30), min_size=1, max_size=60)


def records_of(lengths, features=None):
    """x is a step's number, so that one can see where it went; every third step is scored."""
    starts = np.cumsum([0, *lengths])
    x = np.arange(starts[-1])
    return Records(x, x + 1000, x % 3 == 0, starts, features)


def stretches(batch):
    """The steps (record by record) of each window of a batch, in order, without the empty ones."""
    for n in range(batch.x.shape[1]):
        begins = np.flatnonzero(~batch.keep[:, n, 0])
        for start, stop in zip(begins, [*begins[1:], len(batch.x)], strict=True):
            yield batch.x[start:stop, n]


@quick
@given(lengths_of_records, st.integers(30, 64))
@example([30, 30, 1], 30)
def test_a_packing_tears_no_record_and_overlaps_none(lengths, size):
    window, offset = pack(np.array(lengths), size)
    taken = set()
    for w, o, length in zip(window.tolist(), offset.tolist(), lengths, strict=True):
        assert o + length <= size
        mine = {(w, o + k) for k in range(length)}
        assert not mine & taken
        taken |= mine
    assert sorted(set(window.tolist())) == list(range(max(window) + 1))


@quick
@given(lengths_of_records, st.integers(1, 5), st.integers(0, 9))
def test_every_step_of_every_record_stands_in_an_epoch_once(lengths, batch_size, seed):
    records = records_of(lengths)
    windows = Windows(records, 30)
    batch_size = min(batch_size, windows.number)
    stream = WindowStream(windows, batch_size, seed)
    # As many epochs as there are streams: a whole number of steps.
    seen = np.zeros(len(records.x), int)
    for step in range(windows.number):
        batch = stream.batch(step)
        there = batch.targets == batch.x + 1000
        assert there.all()
        scored = batch.x[batch.weights > 0]
        np.add.at(seen, scored, 1)
        assert batch.scored == len(scored)
    assert (seen[records.weights] == batch_size).all() and not seen[~records.weights].any()
    assert stream.epoch_steps == windows.number / batch_size


@quick
@given(lengths_of_records)
def test_a_state_starts_anew_with_each_record_and_nowhere_else(lengths):
    records = records_of(lengths)
    windows = Windows(records, 32)
    begins = []
    for step in range(WindowPass(windows, 2).steps):
        batch, places = WindowPass(windows, 2).batch(step), WindowPass(windows, 2).places(step)
        begins += batch.x[~batch.keep[:, :, 0] & (places >= 0)].tolist()
        inside = batch.keep[1:, :, 0] & (places[1:] >= 0)
        assert (np.diff(batch.x, axis=0)[inside] == 1).all()
    assert sorted(begins) == records.starts[:-1].tolist()


@quick
@given(lengths_of_records, st.integers(1, 7))
def test_a_pass_scores_every_step_once(lengths, batch_size):
    records = records_of(lengths)
    reading = WindowPass(Windows(records, 30), batch_size)
    scored = np.concatenate([reading.batch(step).x[reading.batch(step).weights > 0] for step in range(reading.steps)])
    assert sorted(scored.tolist()) == np.flatnonzero(records.weights).tolist()
    assert reading.predictions == len(scored)


def test_each_epoch_deals_the_windows_out_anew_as_a_function_of_seed_and_epoch():
    windows = Windows(records_of([10] * 50), 10)

    def order(seed, epoch):
        stream = WindowStream(windows, 10, seed)
        return [stream.batch(step).x[0].tolist() for step in range(5 * epoch, 5 * epoch + 5)]

    assert order(1, 0) == order(1, 0)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6
    stream = WindowStream(windows, 10, 1)
    backwards = [stream.batch(step).x[0].tolist() for step in range(9, -1, -1)]
    assert backwards[::-1] == [*order(1, 0), *order(1, 1)]


def test_a_record_that_is_too_long_loses_its_beginning():
    windows = Windows(records_of([7, 3]), 4)
    batch = WindowPass(windows, 2).batch(0)
    assert next(stretch.tolist() for stretch in stretches(batch)) == [3, 4, 5, 6]
    assert windows.shares == (pytest.approx(3 / 8), pytest.approx(1 / 8))


def test_records_with_features_stand_alone_each_beside_its_own():
    features = np.arange(10.0).reshape(5, 2)
    windows = Windows(records_of([2, 3, 1, 2, 2], features), 8)
    assert windows.number == 5
    batch = WindowStream(windows, 5, 1).batch(0)
    for n in range(5):
        record = np.searchsorted([0, 2, 5, 6, 8], batch.x[0, n], side="right") - 1
        np.testing.assert_array_equal(batch.features[n], features[record])
