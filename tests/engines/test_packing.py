"""Streams with resets are split into packed sequences. Skipped if PyTorch is not installed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

from charrnn.engines.torch.packing import split_at_resets


def test_a_reset_splits_a_stream_into_two_sequences():
    """The example of the docstring, with an additional reset at the first step, which changes nothing."""
    reset_mask = np.zeros((3, 2), bool)
    reset_mask[0, 0] = True
    reset_mask[2, 1] = True
    sequences = split_at_resets(reset_mask)
    assert sequences.sizes.tolist() == [3, 2, 1]
    assert sequences.rows.tolist() == [0, 1, 5, 2, 3, 4]
    assert sequences.places.tolist() == [0, 1, 3, 4, 5, 2]
    assert sequences.streams.tolist() == [0, 1, 1]
    assert sequences.last.tolist() == [0, 2]
    assert sequences.first_steps.tolist() == [0, 0, 2]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_every_sequence_has_the_consecutive_steps_between_two_resets(fraction):
    steps, streams = 7, 4
    reset_mask = np.random.default_rng(1).random((steps, streams)) < fraction
    sequences = split_at_resets(reset_mask)
    starts = np.cumsum([0, *sequences.sizes])
    places = np.arange(steps * streams)
    np.testing.assert_array_equal(sequences.rows[sequences.places], places)
    actual = []
    for sequence in range(len(sequences.streams)):
        own = [start + sequence for start, size in zip(starts, sequences.sizes, strict=False) if sequence < size]
        actual.append(sequences.rows[own].tolist())
        assert actual[-1][0] == sequences.first_steps[sequence] * streams + sequences.streams[sequence]
    expected = []
    for stream in range(streams):
        for step in range(steps):
            if step == 0 or reset_mask[step, stream]:
                expected.append([])
            expected[-1].append(step * streams + stream)
        assert actual[sequences.last[stream]] == expected[-1]
    assert sorted(actual) == sorted(expected)
