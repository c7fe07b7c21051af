"""Streams: every pair is read, in order, and the state starts anew where it should."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.tasks.language.streams import FRESH, TextPass, TextStream

quick = settings(max_examples=150, deadline=None)


def streams(max_pairs=120):
    """(pairs, B, T) that fit."""
    return st.integers(1, max_pairs).flatmap(
        lambda pairs: st.integers(1, pairs).flatmap(
            lambda b: st.tuples(st.just(pairs), st.just(b), st.integers(1, pairs // b))
        )
    )


@quick
@given(streams())
def test_every_pair_is_seen_in_the_steps_of_an_epoch(shape):
    pairs, b, t = shape
    stream = TextStream(np.arange(pairs + 1), b, t)
    seen = set()
    for step in range(math.ceil(stream.epoch_steps)):
        batch = stream.batch(step)
        assert batch.x.shape == batch.targets.shape == (t, b)
        assert (batch.targets == batch.x + 1).all()
        assert (batch.weights, batch.scored) == (None, t * b)
        seen |= set(batch.x.ravel().tolist())
    assert seen == set(range(pairs))


@quick
@given(streams(), st.integers(0, 50))
def test_every_stream_goes_on_where_it_was(shape, step):
    pairs, b, t = shape
    stream = TextStream(np.arange(pairs + 1), b, t)
    places = np.concatenate([stream.batch(step).x, stream.batch(step + 1).x]).astype(int)
    assert ((np.diff(places, axis=0) % pairs) == 1 % pairs).all()


def test_fresh_starts_are_seldom_where_batches_begin_at_a_start_symbol_and_the_same_again():
    ids = np.random.default_rng(0).integers(0, 20, 40_000)
    stream, again = (TextStream(ids, 8, 64, None, 3, seed=1) for _ in range(2))
    fresh, read = 0, 0
    for step in range(1, 150):
        batch, other = stream.batch(step), again.batch(step)
        begins = ~batch.keep[:, :, 0] if batch.keep is not None else np.zeros(batch.x.shape, bool)
        begins &= (stream.starts + step * 64 + np.arange(64)[:, None]) % stream.pairs > 0
        assert (batch.x[begins] == 3).all() and not begins[1:].any() and (batch.x == other.x).all()
        assert (batch.keep is None) == (other.keep is None) and (batch.keep is None or (batch.keep == other.keep).all())
        fresh, read = fresh + int(begins.sum()), read + batch.x.size
    assert 0.5 * FRESH < read / fresh < 2 * FRESH
    assert all(TextStream(ids, 8, 64).batch(step).keep is None for step in range(1, 20))


@quick
@given(streams(60), st.integers(0, 50), st.sets(st.integers(0, 60)))
def test_keep_is_false_exactly_where_the_text_or_a_record_begins(shape, step, ends):
    pairs, b, t = shape
    ids = np.arange(pairs + 1) * 2  # even: a place of its own; odd: the end of a record
    record_end = 1
    marked = np.array([record_end if place in ends else i for place, i in enumerate(ids.tolist())])
    first = TextStream(ids, b, t).batch(step)
    places = first.x // 2
    times = step * t + np.arange(t)[:, None]
    begins = (places == 0) & (times > 0)  # all states are zero before the first step
    for text, expected in ((ids, ~begins), (marked, ~begins & ~np.isin(places, list(ends)) | (times == 0))):
        keep = TextStream(text, b, t, record_end).batch(step).keep
        if keep is None:
            assert expected.all()
        else:
            assert keep.shape == (t, b, 1)
            assert (keep[:, :, 0] == expected).all()


@quick
@given(st.integers(1, 1500), st.integers(1, 6), st.integers(1, 40))
@example(pairs=3, b=6, t=5)
def test_a_pass_scores_every_pair_once_after_a_warm_up(pairs, b, t):
    reading = TextPass(np.arange(pairs + 1), b, t)
    scored = []
    last = None
    for step in range(reading.steps):
        batch, places = reading.batch(step), reading.places(step)
        assert batch.x.shape == (t, b)
        weights = np.ones((t, b)) if batch.weights is None else batch.weights
        assert ((weights == 1) == (places >= 0)).all()
        assert (batch.x[places >= 0] == places[places >= 0]).all()
        assert (batch.targets[places >= 0] == places[places >= 0] + 1).all()
        scored += places[places >= 0].tolist()
        if last is not None:  # a reader goes on where it was
            assert ((batch.x[0] == last + 1) | (batch.x[0] == 0) | (last >= pairs - 1)).all()
        last = batch.x[-1]
        keep = np.ones((t, b, 1), bool) if batch.keep is None else batch.keep
        assert (keep[:, :, 0] | (batch.x == 0)).all() and not keep[:, :, 0][places == 0].any()
    assert sorted(scored) == list(range(pairs)) and reading.predictions == pairs
