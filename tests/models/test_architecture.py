"""Names, shapes and initial values of parameters."""

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture, chrono_initialise
from charrnn.models.network import Network
from charrnn.models.transfer import initial_parameters
from charrnn.nn.parameters import named_views
from charrnn.options import ModelOptions

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def initial_values(vocabulary_size=7, seed=1, **shape):
    architecture = Architecture(**shape, input_size=vocabulary_size, output_size=vocabulary_size)
    return named_views(architecture.specs(), initial_parameters(architecture, seed))


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
def test_initial_values_are_finite_and_depend_on_the_seed(cell):
    shape = {"cell": cell, "hidden_size": 5, "num_layers": 2, "embedding_size": 3}
    first, again, other = (initial_values(seed=seed, **shape) for seed in (1, 1, 2))
    for name, values in first.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again[name])
        assert "bias" in name or (values != other[name]).all(), name


def test_a_second_layer_does_not_change_the_initial_values_of_the_first():
    """Each parameter has its own random generator."""
    one, two = (initial_values(hidden_size=5, num_layers=layers) for layers in (1, 2))
    np.testing.assert_array_equal(one["rnn.weight_hh_l0"], two["rnn.weight_hh_l0"])


@pytest.mark.parametrize("cell", GATES)
def test_the_recurrent_matrix_of_each_gate_is_orthogonal(cell):
    w_hh = initial_values(cell=cell, hidden_size=6)["rnn.weight_hh_l0"].reshape(GATES[cell], 6, 6)
    for n, gate in enumerate(w_hh):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-6)
        assert n == 0 or not np.allclose(gate, w_hh[0])


def test_the_bias_of_the_lstm_forget_gate_is_1_and_all_other_biases_are_0():
    lstm = initial_values(cell="lstm", hidden_size=3)
    assert lstm["rnn.bias_ih_l0"].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    others = [
        lstm["rnn.bias_hh_l0"],
        lstm["head.bias"],
        initial_values(cell="gru", hidden_size=3)["rnn.bias_ih_l0"],
    ]
    assert not np.concatenate(others).any()


@pytest.mark.parametrize("embedding_size", [0, 30])
@pytest.mark.parametrize(("cell", "std"), [("lstm", 1.5), ("gru", 0.2), ("rnn", 1.0)])
def test_the_input_of_the_first_layer_has_the_same_scale_with_and_without_embedding(cell, std, embedding_size):
    named = initial_values(200, cell=cell, hidden_size=100, embedding_size=embedding_size)
    pre_activations = named["rnn.weight_ih_l0"] @ named.get("embedding.weight", np.eye(200)).T
    np.testing.assert_allclose(pre_activations.std(), std, rtol=0.05)


def test_weights_in_products_exclude_those_of_a_one_hot_input():
    lstm = Architecture(cell="lstm", hidden_size=8, input_size=11, output_size=11)
    assert (lstm.recurrent_weights, lstm.weights_in_products) == (4 * 8 * 8, 4 * 8 * 8 + 11 * 8)
    gru = Architecture(cell="gru", hidden_size=8, embedding_size=5, num_layers=2, input_size=11, output_size=11)
    assert gru.recurrent_weights == 3 * 8 * 5 + 3 * 8 * 8 + 2 * 3 * 8 * 8
    assert gru.weights_in_products == gru.recurrent_weights + 11 * 8


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_initialisation_preserves_more_of_the_initial_state(cell):
    """Compares how much a different initial state changes the outputs 60 steps later."""
    architecture = Architecture(cell=cell, hidden_size=40, num_layers=2, input_size=5, output_size=5)
    differences = []
    for max_steps in (0, 60):
        flat = initial_parameters(architecture, 1).astype(np.float64)
        if max_steps:
            named = named_views(architecture.specs(), flat)
            chrono_initialise(named, architecture, max_steps, np.random.default_rng(1))
        x = np.random.default_rng(2).integers(0, 5, (60, 2))
        x[:, 1] = x[:, 0]
        state = np.zeros(architecture.state_shape(2))
        state[:, :, 1] = np.random.default_rng(3).normal(0, 0.5, state[:, :, 1].shape)
        hidden = Network(architecture, flat, 2, 60).forward_hidden(Batch(x, x), state).reshape(60, 2, -1)
        differences.append(np.abs(hidden[-1, 0] - hidden[-1, 1]).mean())
    assert differences[1] > 10 * differences[0]


def test_chrono_initialisation_does_not_change_a_vanilla_rnn():
    architecture = Architecture(cell="rnn", hidden_size=4, input_size=5, output_size=5)
    flat = initial_parameters(architecture, 1)
    before = flat.copy()
    chrono_initialise(named_views(architecture.specs(), flat), architecture, 60, np.random.default_rng(1))
    np.testing.assert_array_equal(flat, before)


def test_the_metadata_of_a_checkpoint_contain_every_field():
    sizes = {"input_size": 7, "output_size": 3, "ngram_size": 5, "ngrams_per_step": 2, "ngram_share": 0.3}
    architecture = Architecture.from_options(ModelOptions(cell="gru", hidden_size=5), **sizes)
    values = architecture.to_dict()
    assert values == values | sizes | {"cell": "gru", "hidden_size": 5, "num_layers": 1, "embedding_size": 0}
    assert Architecture.from_dict(values) == architecture


@pytest.mark.parametrize("wrong", [{"input": "bytes"}, {"loss": "hinge"}, {"ngram_share": 1.5}, {"output_size": 0}])
def test_invalid_fields_are_refused(wrong):
    with pytest.raises(UsageError):
        Architecture.from_dict(wrong)
