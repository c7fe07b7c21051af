"""The keys of all random generators: (seed, purpose, ...). Different purposes never share random numbers.

The only other keys are the seeds of sampled texts and of benchmarks. The results of every seed depend on the numbers of
the purposes, so these numbers must not be changed. They start at 1, because NumPy pads short keys with zeros: the key
(seed, 0) would give the same random numbers as the seed alone.
"""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """The purpose of a generator. If the key has a further element, it is named after the semicolon of the comment."""

    DROPOUT = 1  # masks of the layers' outputs; step
    RECURRENT_DROPOUT = 2  # masks of the recurrent weights; step
    ORDER = 3  # order of the windows, places of the segments; epoch or step
    SPLIT = 4  # assignment of the records to the parts of the data
    CHRONO_INIT = 5  # initial gate biases
    RESTARTS = 6  # which streams of a text restart from the zero state; step
    AUGMENT = 7  # random changes that a task makes to a training batch; step
    TRIAL = 8  # the values that a sweep tries; trial
    RECORD = 9  # sampling of the output of a record; number of the record
    PARAMETERS = 10  # initial values; number of the parameter


def random_generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """The generator of a purpose."""
    return np.random.default_rng(generator_key(seed, purpose, *key))


def generator_key(seed: int, purpose: Purpose, *key: int) -> tuple[int, ...]:
    """The key of a generator, for another library's generator (see `numpy.random.SeedSequence`)."""
    return (seed, int(purpose), *key)
