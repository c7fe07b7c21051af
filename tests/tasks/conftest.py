"""Trained models with random parameters."""

import numpy as np
import pytest

from charrnn.models.architecture import Architecture
from charrnn.nn.parameters import count_parameters
from charrnn.options import ModelOptions
from charrnn.runs.checkpoint import Checkpoint


def make_record_model(model_class, coding, seed=5, **shape):
    """A model of a record task. Its parameters are so large that its predictions are far from uniform."""
    architecture = Architecture.from_options(ModelOptions(**{"hidden_size": 6} | shape), **coding.sizes)
    flat = np.random.default_rng(seed).normal(0, 0.8, count_parameters(architecture.specs()))
    return model_class(Checkpoint(architecture, {"name": coding.name, **coding.to_dict()}, flat))


@pytest.fixture
def record_model():
    return make_record_model


def make_source_model(model_class, coding, seed=5, **shape):
    """A model with an encoder and a decoder. Its parameters are so large that its predictions are far from uniform."""
    architecture = coding.architecture(ModelOptions(**{"hidden_size": 6} | shape))
    flat = np.random.default_rng(seed).normal(0, 0.8, architecture.num_parameters)
    return model_class(Checkpoint(architecture, {"name": coding.name, **coding.to_dict()}, flat))


@pytest.fixture
def source_model():
    return make_source_model
