"""Parameters: a list of specifications, a flat vector, and named views into it.

The parameters are one flat vector, and so are the gradients and each moment of the optimizer. Therefore clipping, the
optimizer step, sharing between processes and saving are each one operation on one array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.nn.arrays import Array

Initialiser = Callable[[np.random.Generator, tuple[int, ...]], Array]


class ParamSpec(NamedTuple):
    """The name (PyTorch's), shape and initialiser of a parameter."""

    name: str
    shape: tuple[int, ...]
    init: Initialiser


def count_parameters(specs: Sequence[ParamSpec]) -> int:
    """The number of scalars in all parameters."""
    return sum(math.prod(spec.shape) for spec in specs)


def named_views(specs: Sequence[ParamSpec], flat: Array) -> dict[str, Array]:
    """Views into the vector `flat` (count_parameters(specs),), by name, in the order of `specs`."""
    named = {}
    start = 0
    for spec in specs:
        stop = start + math.prod(spec.shape)
        named[spec.name] = flat[start:stop].reshape(spec.shape)
        start = stop
    return named


def flatten(specs: Sequence[ParamSpec], named: dict[str, Array]) -> Array:
    """A new flat vector with the values of `named`, in their dtype: the inverse of `named_views`."""
    flat = np.empty(count_parameters(specs), named[specs[0].name].dtype)
    for name, view in named_views(specs, flat).items():
        view[...] = named[name]
    return flat


def initialise(specs: Sequence[ParamSpec], flat: Array, generators: Iterable[np.random.Generator]) -> None:
    """Fills `flat` with initial values. `generators` yields a generator for each parameter."""
    remaining = iter(generators)
    for spec, view in zip(specs, named_views(specs, flat).values(), strict=True):
        view[...] = spec.init(next(remaining), spec.shape)


def matrix_mask(specs: Sequence[ParamSpec], flat: Array) -> Array:
    """Fills `flat` with 1 where a parameter is a matrix and 0 where it is a bias, and returns it."""
    for view in named_views(specs, flat).values():
        view[...] = view.ndim > 1
    return flat


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Initialises all elements to zero."""
    return np.zeros(shape)


def uniform(bound: float) -> Initialiser:
    """Returns an initialiser that draws from the uniform distribution on (-bound, bound)."""
    return lambda rng, shape: rng.uniform(-bound, bound, shape)


def stacked(init: Initialiser, gates: int) -> Initialiser:
    """Returns an initialiser that fills a matrix (gates x H, D) with `gates` matrices (H, D) from `init`."""
    return lambda rng, shape: np.concatenate([init(rng, (shape[0] // gates, shape[1])) for _ in range(gates)])


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / (shape[0] + shape[1]))
    return rng.uniform(-bound, bound, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A random orthogonal matrix (Saxe, McClelland & Ganguli 2014). Multiplying a state by it preserves its length."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return np.asarray(q * np.sign(np.diag(r)))
