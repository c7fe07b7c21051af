"""Batches of records with a source and a target: contents, padding, order, and independence of earlier batches."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.corpus.pairs import PairPass, PairStream, SourceRecords, join_sources, split_by_length

END = 0

quick = settings(max_examples=60, deadline=None)
lengths_of_records = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=60)


def make_records(lengths, width=0):
    """Records with these lengths of source and target. Every symbol, or number, is the number of its record plus 1."""
    sources = [np.full((source, width) if width else source, n + 1) for n, (source, _) in enumerate(lengths)]
    targets = [np.full(target, n + 1, np.uint32) for n, (_, target) in enumerate(lengths)]
    return SourceRecords(sources, targets, END)


def random_lengths(number, seed=0):
    rng = np.random.default_rng(seed)
    return list(zip(rng.integers(1, 30, number).tolist(), rng.integers(1, 30, number).tolist(), strict=True))


def records_of(batch):
    """The numbers of the records in a batch, from their sources."""
    return [int(n) - 1 for n, length in zip(batch.source.x[-1], batch.source.lengths, strict=True) if length]


def assert_same_batches(first, second):
    for array, expected in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_array_equal(array, expected)


def arrays_of(batch):
    return [batch.x, batch.targets, batch.loss_mask, batch.source.x, batch.source.lengths]


def test_a_batch_has_the_end_symbol_before_each_input_and_after_each_target():
    records = SourceRecords([np.array([7, 8, 9]), np.array([5])], [np.array([1]), np.array([2, 3])], END)
    batch = records.batch([1, 0], 3)
    assert batch.x.T.tolist() == [[0, 2, 3], [0, 1, 0], [0, 0, 0]]
    assert batch.targets.T.tolist() == [[2, 3, 0], [1, 0, 0], [0, 0, 0]]
    assert batch.loss_mask.T.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert batch.source.x.T.tolist() == [[0, 0, 5], [7, 8, 9], [0, 0, 0]]
    assert batch.source.lengths.tolist() == [1, 3, 0]
    assert batch.source.is_step.T.tolist() == [[False, False, True], [True] * 3, [False] * 3]
    assert batch.reset_mask is None
    assert batch.num_scored == 5


def test_an_empty_target_is_only_its_end():
    batch = SourceRecords([np.array([7])], [np.array([], np.uint32)], END).batch([0], 1)
    assert (batch.x.tolist(), batch.targets.tolist(), batch.loss_mask.tolist()) == ([[0]], [[0]], [[1]])


@quick
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 3), st.sampled_from([0, 1, 3]))
@example([1], 0, 0)
def test_joined_sources_are_aligned_at_their_ends(lengths, empty_streams, width):
    """width: 0 for ids, otherwise the width of the vectors."""
    rng = np.random.default_rng(len(lengths))
    sources = [rng.random((n, width), np.float32) if width else rng.integers(1, 9, n) for n in lengths]
    streams = len(lengths) + empty_streams
    joined = join_sources(sources, streams)
    assert joined.x.shape == (max(lengths), streams, *([width] if width else []))
    assert joined.x.dtype == sources[0].dtype
    assert joined.lengths.tolist() == lengths + [0] * empty_streams
    for b, source in enumerate(sources):
        np.testing.assert_array_equal(joined.x[joined.is_step[:, b], b], source)
    assert not joined.x[~joined.is_step].any()


@quick
@given(lengths_of_records, st.integers(1, 7), st.sampled_from([0, 2]), st.data())
def test_some_streams_of_a_batch_have_the_same_records(lengths, batch_size, width, data):
    records = make_records(lengths, width)
    batch = PairPass(records, batch_size).batch(0)
    rows = slice(*sorted(data.draw(st.tuples(st.integers(0, batch_size), st.integers(0, batch_size)))))
    part = batch.select_streams(rows)
    for array, whole in zip(arrays_of(part)[:4], arrays_of(batch)[:4], strict=True):
        np.testing.assert_array_equal(array, whole[:, rows])
    np.testing.assert_array_equal(part.source.lengths, batch.source.lengths[rows])


@quick
@given(lengths_of_records, st.integers(1, 7), st.integers(0, 9))
def test_each_record_is_in_one_batch_of_an_epoch(lengths, batch_size, seed):
    records = make_records(lengths)
    stream = PairStream(records, batch_size, seed)
    assert stream.epoch_steps == -(-len(lengths) // batch_size)
    for epoch in range(3):
        counts = Counter()
        symbols = 0
        for step in range(stream.num_batches):
            batch = stream.batch(epoch * stream.num_batches + step)
            counts.update(records_of(batch))
            symbols += batch.source.lengths.sum() + batch.num_scored
            assert batch.x.shape[1] == batch_size
        assert counts == Counter(range(len(lengths)))
        assert stream.symbols_per_step * stream.epoch_steps == pytest.approx(symbols)


def test_the_batches_of_two_epochs_contain_different_groups_of_records():
    stream = PairStream(make_records(random_lengths(200)), 4, seed=1)
    epochs = [{frozenset(records_of(stream.batch(50 * epoch + step))) for step in range(50)} for epoch in range(2)]
    assert len(epochs[0] & epochs[1]) < 25


@quick
@given(lengths_of_records, st.integers(1, 7))
def test_a_pass_scores_every_symbol_of_every_record_once(lengths, batch_size):
    records = make_records(lengths)
    scoring_pass = PairPass(records, batch_size)
    batches = [scoring_pass.batch(step) for step in range(scoring_pass.steps)]
    scored = Counter(int(i) for batch in batches for i in batch.targets[batch.loss_mask > 0])
    assert scored == Counter(i for target in records.targets for i in [*target.tolist(), END])
    assert scoring_pass.predictions == scored.total() == sum(batch.num_scored for batch in batches)
    assert [len(records_of(batch)) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


@quick
@given(lengths_of_records, st.integers(1, 7))
def test_records_of_similar_length_share_a_batch(lengths, batch_size):
    """The batches are intervals of the records sorted by the length of the target, then by that of the source."""
    records = make_records(lengths)
    batches = split_by_length(records, np.arange(len(lengths)), batch_size)
    ordered = [lengths[n][::-1] for batch in batches for n in batch.tolist()]
    assert ordered == sorted(target_and_source[::-1] for target_and_source in lengths)


def test_most_steps_of_the_batches_of_a_stream_are_scored():
    """With records in a random order 60 % of the steps would be scored, with sorted records nearly all."""
    stream = PairStream(make_records(random_lengths(2000)), 8, seed=1)
    batches = [stream.batch(step) for step in range(stream.num_batches)]
    scored = sum(batch.num_scored for batch in batches)
    assert scored / sum(batch.x.size for batch in batches) > 0.95


def test_a_batch_depends_on_its_step_alone():
    records = make_records(random_lengths(50))
    stream = PairStream(records, 4, seed=3)
    steps = [0, 1, 30, 2, 13, 12, 0, 26]  # of epochs 0, 0, 2, 0, 1, 0, 0 and 2
    for step in steps:
        assert_same_batches(stream.batch(step), PairStream(records, 4, seed=3).batch(step))


@pytest.mark.parametrize("lengths", [random_lengths(50), [(3, 4)] * 50], ids=["random lengths", "equal lengths"])
def test_each_epoch_and_each_seed_has_its_own_order(lengths):
    records = make_records(lengths)

    def order(seed, epoch):
        stream = PairStream(records, 4, seed)
        return [records_of(stream.batch(epoch * stream.num_batches + step)) for step in range(stream.num_batches)]

    orders = [order(seed, epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert len({str(batches) for batches in orders}) == 6
    assert order(1, 1) == orders[1]
    if lengths[0] == lengths[1]:  # records of the same length do not always share a batch
        assert len({str(sorted(sorted(batch) for batch in batches)) for batches in orders}) == 6
