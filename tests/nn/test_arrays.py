"""Aligned buffers."""

import numpy as np
import pytest

from charrnn.nn import arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (65, 128), (4, 1, 1000), (0, 3)])
def test_buffers_are_aligned_contiguous_and_have_the_given_shape_and_dtype(shape, dtype):
    for array in [*(arrays.empty(shape, dtype) for _ in range(20)), arrays.zeros(shape, dtype)]:
        assert array.ctypes.data % arrays.CACHE_LINE == 0 or array.size == 0
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_zeros_are_zero_in_memory_that_was_used_before():
    for _ in range(20):
        array = arrays.zeros((300, 7), np.float32)
        assert not array.any()
        array.fill(1)
        del array
