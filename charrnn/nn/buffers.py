"""Work space that starts at a cache line: products and gates over misaligned arrays took up to 1.15 times as long."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHE_LINE = 64  # bytes, on x86 and most ARM


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """As np.empty, aligned."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    aligned: NDArray[Any] = memory[start : start + size].view(dtype).reshape(shape)
    return aligned


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """As np.zeros, aligned."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
