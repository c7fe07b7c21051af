"""Streams of a text: every pair is read, in order, and the state is reset at the right places."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.tasks.language.streams import CHARACTERS_PER_RESTART, TextPass, TextStream

quick = settings(max_examples=150, deadline=None)


def sizes(max_pairs=120):
    """(number of pairs, B, T) that fit each other."""
    return st.integers(1, max_pairs).flatmap(
        lambda pairs: st.integers(1, pairs).flatmap(
            lambda b: st.tuples(st.just(pairs), st.just(b), st.integers(1, pairs // b))
        )
    )


def resets(batch):
    """Where the state is reset (T, B)."""
    return np.zeros(batch.x.shape, bool) if batch.reset_mask is None else batch.reset_mask[:, :, 0]


@quick
@given(sizes())
def test_every_pair_is_read_in_an_epoch(size):
    pairs, b, t = size
    stream = TextStream(np.arange(pairs + 1), b, t)
    read = set()
    for step in range(math.ceil(stream.epoch_steps)):
        batch = stream.batch(step)
        assert batch.x.shape == batch.targets.shape == (t, b)
        assert (batch.targets == batch.x + 1).all()
        assert (batch.loss_mask, batch.num_scored) == (None, t * b)
        read |= set(batch.x.ravel().tolist())
    assert read == set(range(pairs))


@quick
@given(sizes(), st.integers(0, 50))
def test_every_reader_continues_where_it_stopped(size, step):
    pairs, b, t = size
    stream = TextStream(np.arange(pairs + 1), b, t)
    places = np.concatenate([stream.batch(step).x, stream.batch(step + 1).x]).astype(int)
    assert ((np.diff(places, axis=0) % pairs) == 1 % pairs).all()


def test_restarts_are_rare_and_happen_only_at_start_symbols_in_first_time_steps():
    ids = np.random.default_rng(0).integers(0, 20, 40_000)
    stream, same = (TextStream(ids, 8, 32, start=3, seed=1) for _ in range(2))
    other = TextStream(ids, 8, 32, start=3, seed=2)
    num_restarts = 0
    num_read = 0
    is_equal = True
    for step in range(1, 300):
        batch = stream.batch(step)
        is_text_start = (stream.starts + step * 32 + np.arange(32)[:, None]) % stream.pairs == 0
        restarts = resets(batch) & ~is_text_start
        assert (batch.x[restarts] == 3).all()
        assert not restarts[1:].any()
        np.testing.assert_array_equal(resets(batch), resets(same.batch(step)))
        is_equal &= (resets(batch) == resets(other.batch(step))).all()
        num_restarts += restarts.sum()
        num_read += batch.x.size
    assert 0.75 * CHARACTERS_PER_RESTART < num_read / num_restarts < 1.3 * CHARACTERS_PER_RESTART
    assert not is_equal
    assert all(TextStream(ids, 8, 32).batch(step).reset_mask is None for step in range(1, 20))


@quick
@given(sizes(60), st.integers(0, 50), st.sets(st.integers(0, 60)))
def test_the_state_is_reset_exactly_at_the_start_of_the_text_and_of_each_record(size, step, ends):
    pairs, b, t = size
    places = TextStream(np.arange(pairs + 1), b, t).batch(step).x
    times = step * t + np.arange(t)[:, None]
    is_text_start = (places == 0) & (times > 0)  # the initial state of a run is zero anyway
    record_end = pairs + 1
    ids = np.array([record_end if place in ends else place for place in range(pairs + 1)])
    np.testing.assert_array_equal(resets(TextStream(np.arange(pairs + 1), b, t, record_end).batch(step)), is_text_start)
    is_record_start = np.isin(places, list(ends)) & (times > 0)
    np.testing.assert_array_equal(
        resets(TextStream(ids, b, t, record_end).batch(step)), is_text_start | is_record_start
    )
    files = TextStream(np.arange(pairs + 1), b, t, file_starts=np.array(sorted(ends), np.int64))
    np.testing.assert_array_equal(resets(files.batch(step)), is_text_start | is_record_start)


@quick
@given(st.integers(1, 1500), st.integers(1, 6), st.integers(1, 40))
@example(pairs=3, b=6, t=5)
def test_a_pass_scores_every_pair_once_after_a_warm_up(pairs, b, t):
    text_pass = TextPass(np.arange(pairs + 1), b, t)
    scored = []
    last = None
    for step in range(text_pass.steps):
        batch = text_pass.batch(step)
        places = text_pass.places(step)
        is_scored = places >= 0
        assert batch.x.shape == (t, b)
        loss_mask = np.ones((t, b)) if batch.loss_mask is None else batch.loss_mask
        assert ((loss_mask == 1) == is_scored).all()
        assert (batch.x[is_scored] == places[is_scored]).all()
        assert (batch.targets[is_scored] == places[is_scored] + 1).all()
        scored += places[is_scored].tolist()
        if last is not None:
            continues = batch.x[0] == last + 1
            assert (continues | (batch.x[0] == 0) | (last >= pairs - 1)).all()
        last = batch.x[-1]
        assert (batch.x[resets(batch)] == 0).all()
        assert resets(batch)[places == 0].all()
    assert sorted(scored) == list(range(pairs))
    assert text_pass.predictions == pairs


@quick
@given(st.integers(2, 1500), st.integers(1, 6), st.integers(1, 40), st.integers(1, 2000))
def test_a_limited_pass_scores_parts_that_are_spread_evenly(pairs, b, t, limit):
    text_pass = TextPass(np.arange(pairs + 1), b, t, limit=limit)
    scored = [places[places >= 0] for places in map(text_pass.places, range(text_pass.steps))]
    places = np.sort(np.concatenate(scored))
    assert len(np.unique(places)) == len(places) == text_pass.predictions
    assert min(limit, pairs) - b < len(places) < limit + b
    gaps = np.diff([-1, *places.tolist(), pairs])
    assert gaps.max() <= -(-pairs // b) + b
