"""Buffers start at a cache line, whatever their shape."""

import numpy as np
import pytest

from charrnn.nn import arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (65, 128), (4, 1, 1000)])
def test_a_buffer_is_aligned_and_as_asked(shape, dtype):
    made = [arrays.empty(shape, dtype) for _ in range(20)] + [arrays.zeros(shape, dtype)]
    assert {(a.ctypes.data % arrays.CACHE_LINE, a.shape, a.dtype) for a in made} == {(0, shape, np.dtype(dtype))}
    assert all(a.flags.c_contiguous and a.flags.writeable for a in made)


def test_zeros_are_zero_where_other_values_stood():
    for _ in range(20):
        array = arrays.zeros((300, 7), np.float32)
        assert not array.any()
        array.fill(1)
        del array
