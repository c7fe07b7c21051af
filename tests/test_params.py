"""Parameters: one vector, named views of PyTorch's names and shapes, initial values keyed by seed and place."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.models.language import parameter_specs
from charrnn.params import ParamSpec, count, glorot, initialise, orthogonal, stacked, uniform, views, zeros

SPECS = [ParamSpec("a", (2, 3), zeros), ParamSpec("b", (4,), zeros), ParamSpec("c", (1, 2, 2), zeros)]
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def initialised(config, vocabulary_size=7, seed=1):
    specs = parameter_specs(config, vocabulary_size)
    flat = np.full(count(specs), np.nan)
    initialise(specs, flat, seed)
    return views(specs, flat)


def test_views_share_memory_with_the_vector_in_the_order_of_the_specs():
    flat = np.arange(float(count(SPECS)))
    named = views(SPECS, flat)
    assert list(named) == ["a", "b", "c"]
    assert all(np.shares_memory(view, flat) for view in named.values())
    assert np.concatenate([view.ravel() for view in named.values()]).tolist() == flat.tolist()
    named["b"][2] = -1
    assert flat[8] == -1
    flat[-1] = -2
    assert named["c"][0, 1, 1] == -2


def test_count_is_the_number_of_scalars():
    assert count(SPECS) == 6 + 4 + 4


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_names_and_shapes_are_those_of_pytorch(cell, embedding_size):
    v, h, rows = 7, 4, GATES[cell] * 4
    specs = parameter_specs(ModelConfig(cell=cell, hidden_size=h, num_layers=2, embedding_size=embedding_size), v)
    embedding = {"embedding.weight": (v, embedding_size)} if embedding_size else {}
    assert {spec.name: spec.shape for spec in specs} == embedding | {
        "rnn.weight_ih_l0": (rows, embedding_size or v),
        "rnn.weight_hh_l0": (rows, h),
        "rnn.bias_ih_l0": (rows,),
        "rnn.bias_hh_l0": (rows,),
        "rnn.weight_ih_l1": (rows, h),
        "rnn.weight_hh_l1": (rows, h),
        "rnn.bias_ih_l1": (rows,),
        "rnn.bias_hh_l1": (rows,),
        "head.weight": (v, h),
        "head.bias": (v,),
    }


@pytest.mark.parametrize("cell", GATES)
def test_every_parameter_gets_an_initial_value_and_the_seed_decides_it(cell):
    config = ModelConfig(cell=cell, hidden_size=5, num_layers=2, embedding_size=3)
    first, again, other = initialised(config), initialised(config), initialised(config, seed=2)
    for name, values in first.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again[name])
        assert "bias" in name or (values != other[name]).all()


def test_a_parameter_draws_from_a_generator_of_its_own():
    """A second layer leaves the initial values of the first as they were."""
    one, two = (initialised(ModelConfig(hidden_size=5, num_layers=layers)) for layers in (1, 2))
    np.testing.assert_array_equal(one["rnn.weight_hh_l0"], two["rnn.weight_hh_l0"])


@pytest.mark.parametrize("cell", GATES)
def test_each_gate_s_recurrent_matrix_is_orthogonal(cell):
    w_hh = initialised(ModelConfig(cell=cell, hidden_size=6))["rnn.weight_hh_l0"].reshape(GATES[cell], 6, 6)
    for n, gate in enumerate(w_hh):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-12)
        assert n == 0 or not np.allclose(gate, w_hh[0])


def test_the_lstm_s_forget_gate_starts_open_and_all_other_biases_at_zero():
    lstm = initialised(ModelConfig(cell="lstm", hidden_size=3))
    assert lstm["rnn.bias_ih_l0"].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    others = [
        lstm["rnn.bias_hh_l0"],
        lstm["head.bias"],
        initialised(ModelConfig(cell="gru", hidden_size=3))["rnn.bias_ih_l0"],
    ]
    assert not np.concatenate(others).any()


@pytest.mark.parametrize("embedding_size", [0, 30])
@pytest.mark.parametrize(("cell", "std"), [("lstm", 1.5), ("gru", 0.2), ("rnn", 1.0)])
def test_what_a_character_adds_to_the_first_layer_has_one_size_with_and_without_embedding(cell, std, embedding_size):
    named = initialised(ModelConfig(cell=cell, hidden_size=100, embedding_size=embedding_size), 200)
    pre_activations = named["rnn.weight_ih_l0"] @ named.get("embedding.weight", np.eye(200)).T
    np.testing.assert_allclose(pre_activations.std(), std, rtol=0.05)


@pytest.mark.parametrize(
    ("init", "shape", "variance"),
    [
        (glorot, (200, 300), 2 / 500),
        (stacked(glorot, 4), (800, 300), 2 / 500),
        (uniform(0.3), (300, 200), 0.03),
        (orthogonal, (200, 200), 1 / 200),
    ],
)
def test_initial_values_have_the_variance_of_their_scheme(init, shape, variance):
    values = init(np.random.default_rng(0), shape)
    assert values.shape == shape
    np.testing.assert_allclose(values.var(), variance, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=0.01)
