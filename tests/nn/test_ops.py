"""Embeddings, bags of embeddings, the linear layer and dropout masks."""

import numpy as np
import pytest

from charrnn.nn import ops

D = 3
EPSILON = 1e-6


def test_one_hot_blocks_are_those_of_the_example_in_its_docstring(monkeypatch):
    monkeypatch.setattr(ops, "BLOCK_ROWS", 3)
    one_hot = ops.OneHot(np.array([7, 2, 7, 2, 9]), np.float32)
    assert one_hot.order.tolist() == [1, 3, 0, 2, 4]
    assert one_hot.distinct_ids.tolist() == [2, 7, 9]
    first, second = one_hot.blocks
    assert first[:2] == (slice(0, 2), slice(0, 3))
    assert first[2].tolist() == [[1, 1, 0], [0, 0, 1]]
    assert second[:2] == (slice(1, 3), slice(3, 5))
    assert second[2].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("vocabulary_size", [1, 5, 300, 2000])
@pytest.mark.parametrize("shape", [(0,), (1,), (64,), (40, 20)], ids=str)
def test_embedding_gradient_is_the_sum_over_equal_ids_and_zero_for_absent_ids(vocabulary_size, shape):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary_size, shape)
    dy = rng.standard_normal((*shape, D))
    dweight = np.full((vocabulary_size + 1, D), np.nan)
    ops.embedding_backward(dy, ids, dweight)
    expected = np.zeros_like(dweight)
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(dweight, expected, rtol=0, atol=1e-12)


def test_embedding_selects_rows():
    weight = np.arange(12.0).reshape(4, D)
    assert ops.embedding_forward(weight, np.array([[3, 0]])).tolist() == [[[9, 10, 11], [0, 1, 2]]]


def test_embedding_bag_sums_rows_and_its_gradient_skips_the_row_of_none():
    weight = np.arange(12.0).reshape(4, D)
    weight[0] = 0
    ids = np.array([[1, 3], [2, 2], [1, 0]], np.uint32)
    assert ops.embedding_bag_forward(weight, ids).tolist() == [[12, 14, 16], [12, 14, 16], [3, 4, 5]]
    dweight = np.zeros_like(weight)
    ops.embedding_bag_backward(np.array([[1.0] * D, [2.0] * D, [4.0] * D]), ids, dweight)
    assert dweight[:, 0].tolist() == [0, 5, 4, 1]
    assert (dweight == dweight[:, :1]).all()


def test_linear_gradients_equal_central_differences():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, D))
    weight = rng.standard_normal((2, D))
    bias = rng.standard_normal(2)
    dy = rng.standard_normal((4, 2))
    gradients = [np.empty_like(x), np.zeros_like(weight), np.zeros_like(bias)]
    dx, dweight, dbias = gradients
    ops.linear_backward(dy, x, weight, dweight, dbias, dx)
    for array, gradient in zip((x, weight, bias), gradients, strict=True):
        for index in np.ndindex(array.shape):
            value = array[index]
            losses = []
            for shifted in (value + EPSILON, value - EPSILON):
                array[index] = shifted
                losses.append((ops.linear_forward(x, weight, bias) * dy).sum())
            array[index] = value
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * EPSILON), abs=1e-7)


def test_dropout_mask_has_the_given_rate_and_mean_1():
    mask = ops.dropout_mask(np.random.default_rng(0), (3, 100, 201), 0.3, np.float32)
    assert mask.shape == (3, 100, 201)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
