"""Windows: records are packed whole, every step is read once per epoch, and each epoch has its own order."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.corpus import windows as windows_module
from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import Records, WindowPass, Windows, WindowStream, pack

quick = settings(max_examples=150, deadline=None)
lengths_of_records = st.lists(st.integers(1, 30), min_size=1, max_size=60)


def make_records(lengths):
    """The input of each step is its number. Every third step is scored."""
    starts = np.cumsum([0, *lengths])
    x = np.arange(starts[-1])
    return Records(x, x + 1000, x % 3 == 0, starts)


def read_records(batch):
    """Yields the inputs of each record in a batch."""
    for n in range(batch.x.shape[1]):
        starts = np.flatnonzero(batch.reset_mask[:, n, 0])
        for start, stop in zip(starts, [*starts[1:], len(batch.x)], strict=True):
            yield batch.x[start:stop, n]


@quick
@given(lengths_of_records, st.integers(30, 64))
@example([30, 30, 1], 30)
def test_packed_records_are_whole_and_do_not_overlap(lengths, size):
    window, offset = pack(np.array(lengths), size)
    used = set()
    for w, o, length in zip(window.tolist(), offset.tolist(), lengths, strict=True):
        assert o + length <= size
        steps = {(w, o + k) for k in range(length)}
        assert not steps & used
        used |= steps
    assert sorted(set(window.tolist())) == list(range(max(window) + 1))


@quick
@given(lengths_of_records, st.integers(1, 5), st.integers(0, 9))
def test_every_step_of_every_record_is_read_once_per_epoch(lengths, batch_size, seed):
    records = make_records(lengths)
    windows = Windows(records, 30)
    batch_size = min(batch_size, windows.number)
    stream = WindowStream(windows, batch_size, seed)
    counts = np.zeros(len(records.x), int)
    for step in range(windows.number):  # batch_size epochs, a whole number of steps
        batch = stream.batch(step)
        assert (batch.targets == batch.x + 1000).all()
        scored = batch.x[batch.loss_mask > 0]
        np.add.at(counts, scored, 1)
        assert batch.num_scored == len(scored)
    assert (counts[records.loss_mask] == batch_size).all()
    assert not counts[~records.loss_mask].any()
    assert stream.epoch_steps == windows.number / batch_size


@quick
@given(lengths_of_records)
def test_the_state_is_reset_at_the_start_of_each_record_and_nowhere_else(lengths):
    records = make_records(lengths)
    windows = Windows(records, 32)
    reset_steps = []
    for step in range(WindowPass(windows, 2).steps):
        batch = WindowPass(windows, 2).batch(step)
        places = WindowPass(windows, 2).places(step)
        reset_steps += batch.x[batch.reset_mask[:, :, 0]].tolist()
        continues = ~batch.reset_mask[1:, :, 0] & (places[1:] >= 0)
        assert (np.diff(batch.x, axis=0)[continues] == 1).all()
    assert sorted(reset_steps) == records.starts[:-1].tolist()


@quick
@given(lengths_of_records, st.integers(1, 7))
def test_a_pass_scores_every_step_once(lengths, batch_size):
    records = make_records(lengths)
    window_pass = WindowPass(Windows(records, 30), batch_size)
    batches = [window_pass.batch(step) for step in range(window_pass.steps)]
    scored = np.concatenate([batch.x[batch.loss_mask > 0] for batch in batches])
    assert sorted(scored.tolist()) == np.flatnonzero(records.loss_mask).tolist()
    assert window_pass.predictions == len(scored)


def test_the_order_of_the_windows_depends_only_on_seed_and_epoch():
    windows = Windows(make_records([10] * 50), 10)

    def order(seed, epoch):
        stream = WindowStream(windows, 10, seed)
        return [stream.batch(step).x[0].tolist() for step in range(5 * epoch, 5 * epoch + 5)]

    assert order(1, 0) == order(1, 0)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6
    stream = WindowStream(windows, 10, 1)
    backwards = [stream.batch(step).x[0].tolist() for step in range(9, -1, -1)]
    assert backwards[::-1] == [*order(1, 0), *order(1, 1)]


def test_the_example_of_pack():
    assert doctest.testmod(windows_module) == (0, 1)


def test_of_a_record_that_is_too_long_only_the_last_steps_are_used():
    windows = Windows(make_records([7, 3]), 4)
    batch = WindowPass(windows, 2).batch(0)
    assert next(record.tolist() for record in read_records(batch)) == [3, 4, 5, 6]
    assert windows.scored_fraction == pytest.approx(3 / 8)
    assert windows.empty_fraction == pytest.approx(1 / 8)


def test_targets_whose_characters_are_cut_off_are_not_scored():
    records = replace(make_records([7, 4]), loss_mask=np.ones(11, bool), target_delay=2)
    batch = WindowPass(Windows(records, 4), 2).batch(0)
    assert batch.x.T.tolist() == [[3, 4, 5, 6], [7, 8, 9, 10]]
    assert batch.loss_mask.T.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_augment_changes_batches_of_training_at_random_and_batches_of_a_pass_not():
    generators = []

    def augment(batch, places, rng):
        generators.append(rng)
        assert (batch.x[places >= 0] == places[places >= 0]).all()
        return batch if rng is None else replace(batch, x=rng.integers(0, 100, batch.x.shape))

    windows = Windows(replace(make_records([4] * 6), augment=augment), 4)
    batches = [WindowStream(windows, 2, seed).batch(step).x for seed, step in ((1, 0), (1, 0), (1, 3), (2, 0))]
    assert (batches[0] == batches[1]).all()
    assert len({batch.tobytes() for batch in batches}) == 3
    assert WindowPass(windows, 2).batch(1).x.T.tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    assert [rng is None for rng in generators] == [False] * 4 + [True]


def test_some_streams_of_a_batch_have_all_its_fields():
    rng = np.random.default_rng(0)
    fields = {
        "x": rng.random((3, 4)),
        "targets": rng.random((3, 4)),
        "loss_mask": rng.random((3, 4)),
        "reset_mask": rng.random((3, 4, 1)) < 0.5,
        "ngrams": rng.integers(0, 9, (3, 4, 2)),
    }
    part = Batch(**fields).select_streams(slice(1, 3))
    for name, array in fields.items():
        np.testing.assert_array_equal(getattr(part, name), array[:, 1:3])
    plain = Batch(fields["x"], fields["targets"])
    assert plain.num_scored == 12
    assert plain.select_streams(slice(0, 1)).loss_mask is None
