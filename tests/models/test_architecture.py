"""What decides the parameters: PyTorch's names and shapes, initial values keyed by seed and place."""

import itertools

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture, chrono_initialise
from charrnn.models.network import Network
from charrnn.nn.parameters import count_parameters, initialise, named_views
from charrnn.seeding import Purpose, random_generator

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def initialised(vocabulary_size=7, seed=1, **shape):
    specs = Architecture(**shape, input_size=vocabulary_size, output_size=vocabulary_size).specs()
    flat = np.full(count_parameters(specs), np.nan)
    initialise(specs, flat, (random_generator(seed, Purpose.PARAMETERS, n) for n in itertools.count()))
    return named_views(specs, flat)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_names_and_shapes_are_those_of_pytorch(cell, embedding_size):
    v, h, rows = 7, 4, GATES[cell] * 4
    shape = {"cell": cell, "hidden_size": h, "num_layers": 2, "embedding_size": embedding_size}
    specs = Architecture(**shape, input_size=v, output_size=v).specs()
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
    shape = {"cell": cell, "hidden_size": 5, "num_layers": 2, "embedding_size": 3}
    first, again, other = (initialised(seed=seed, **shape) for seed in (1, 1, 2))
    for name, values in first.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again[name])
        assert "bias" in name or (values != other[name]).all()


def test_a_parameter_draws_from_a_generator_of_its_own():
    """A second layer leaves the initial values of the first as they were."""
    one, two = (initialised(hidden_size=5, num_layers=layers) for layers in (1, 2))
    np.testing.assert_array_equal(one["rnn.weight_hh_l0"], two["rnn.weight_hh_l0"])


@pytest.mark.parametrize("cell", GATES)
def test_each_gate_s_recurrent_matrix_is_orthogonal(cell):
    w_hh = initialised(cell=cell, hidden_size=6)["rnn.weight_hh_l0"].reshape(GATES[cell], 6, 6)
    for n, gate in enumerate(w_hh):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-12)
        assert n == 0 or not np.allclose(gate, w_hh[0])


def test_the_lstm_s_forget_gate_starts_open_and_all_other_biases_at_zero():
    lstm = initialised(cell="lstm", hidden_size=3)
    assert lstm["rnn.bias_ih_l0"].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    others = [
        lstm["rnn.bias_hh_l0"],
        lstm["head.bias"],
        initialised(cell="gru", hidden_size=3)["rnn.bias_ih_l0"],
    ]
    assert not np.concatenate(others).any()


@pytest.mark.parametrize("embedding_size", [0, 30])
@pytest.mark.parametrize(("cell", "std"), [("lstm", 1.5), ("gru", 0.2), ("rnn", 1.0)])
def test_what_a_character_adds_to_the_first_layer_has_one_size_with_and_without_embedding(cell, std, embedding_size):
    named = initialised(200, cell=cell, hidden_size=100, embedding_size=embedding_size)
    pre_activations = named["rnn.weight_ih_l0"] @ named.get("embedding.weight", np.eye(200)).T
    np.testing.assert_allclose(pre_activations.std(), std, rtol=0.05)


def test_weights_in_products_leave_out_what_is_gathered():
    lstm = Architecture(cell="lstm", hidden_size=8, input_size=11, output_size=11)
    assert (lstm.recurrent_weights, lstm.weights_in_products) == (4 * 8 * 8, 4 * 8 * 8 + 11 * 8)
    gru = Architecture(cell="gru", hidden_size=8, embedding_size=5, num_layers=2, input_size=11, output_size=11)
    assert gru.recurrent_weights == 3 * 8 * 5 + 3 * 8 * 8 + 2 * 3 * 8 * 8
    assert gru.weights_in_products == gru.recurrent_weights + 11 * 8


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_network_that_is_to_remember_keeps_more_of_its_start(cell):
    """What the state of 60 steps ago still changes, with and without gates that are open so far."""
    architecture = Architecture(cell=cell, hidden_size=40, num_layers=2, input_size=5, output_size=5)
    specs = architecture.specs()
    kept = []
    for steps in (0, 60):
        flat = np.empty(count_parameters(specs))
        initialise(specs, flat, (random_generator(1, Purpose.PARAMETERS, n) for n in itertools.count()))
        if steps:
            chrono_initialise(named_views(specs, flat), architecture, steps, np.random.default_rng(1))
        x = np.random.default_rng(2).integers(0, 5, (60, 2))
        x[:, 1] = x[:, 0]
        state = np.zeros(architecture.state_shape(2))
        state[:, :, 1] = np.random.default_rng(3).normal(0, 0.5, state[:, :, 1].shape)
        y = Network(architecture, flat, 2, 60).hidden(Batch(x, x), state).reshape(60, 2, -1)
        kept.append(np.abs(y[-1, 0] - y[-1, 1]).mean())
    assert kept[1] > 10 * kept[0]
