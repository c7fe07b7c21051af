"""Transfer of parameters: each symbol and class keeps its own weights, and new ones are initialised."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.models.architecture import Architecture
from charrnn.models.transfer import initial_parameters, transfer_parameters
from charrnn.nn.parameters import named_views
from charrnn.nn.stack import CELLS

INPUTS = np.array([0, 2, 3])  # ids of the source's symbols in the new network
OUTPUTS = np.array([1, 0])  # indices of the source's classes in the new network
NEW_INPUTS = [1, 4]
NEW_CLASS = 2


def transfer(source, architecture, inputs=INPUTS, outputs=OUTPUTS):
    """The named source parameters, the transferred and the initial parameters of the new network."""
    flat = np.arange(1, source.num_parameters + 1, dtype=np.float32)
    named = named_views(source.specs(), flat)
    transferred = transfer_parameters(named, architecture, 1, inputs, outputs)
    initial = initial_parameters(architecture, 1)
    return named, *(named_views(architecture.specs(), parameters) for parameters in (transferred, initial))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_weights_of_known_symbols_and_classes_are_copied_and_new_ones_initialised(cell, embedding_size):
    source = Architecture(cell=cell, hidden_size=4, embedding_size=embedding_size, input_size=3, output_size=2)
    old, new, initial = transfer(source, replace(source, input_size=5, output_size=3))
    if embedding_size:
        old_symbols, new_symbols, initial_symbols = (named["embedding.weight"] for named in (old, new, initial))
        np.testing.assert_array_equal(new["rnn.weight_ih_l0"], old["rnn.weight_ih_l0"])
    else:
        old_symbols, new_symbols, initial_symbols = (named["rnn.weight_ih_l0"].T for named in (old, new, initial))
    np.testing.assert_array_equal(new_symbols[INPUTS], old_symbols)
    np.testing.assert_array_equal(new_symbols[NEW_INPUTS], initial_symbols[NEW_INPUTS])
    for name in ("head.weight", "head.bias"):
        np.testing.assert_array_equal(new[name][OUTPUTS], old[name])
        np.testing.assert_array_equal(new[name][NEW_CLASS], initial[name][NEW_CLASS])
    for name in ("rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"):
        np.testing.assert_array_equal(new[name], old[name])


def test_without_comparable_classes_the_heads_are_initialised():
    source = Architecture(hidden_size=4, input_size=3, output_size=2, ngram_size=4, ngrams_per_step=2, ngram_share=0.5)
    _, new, initial = transfer(source, replace(source, input_size=5), outputs=None)
    for name in ("head.weight", "head.bias", "ngrams.weight"):
        np.testing.assert_array_equal(new[name], initial[name])


def test_the_n_gram_head_is_copied_by_class_if_the_n_grams_are_the_same():
    source = Architecture(hidden_size=4, input_size=3, output_size=2, ngram_size=4, ngrams_per_step=2, ngram_share=0.5)
    old, new, initial = transfer(source, replace(source, input_size=5, output_size=3))
    np.testing.assert_array_equal(new["ngrams.weight"][:, OUTPUTS], old["ngrams.weight"])
    np.testing.assert_array_equal(new["ngrams.weight"][:, NEW_CLASS], initial["ngrams.weight"][:, NEW_CLASS])
    _, new, initial = transfer(source, replace(source, input_size=5, output_size=3, ngram_size=6))
    np.testing.assert_array_equal(new["ngrams.weight"], initial["ngrams.weight"])


def test_symbols_of_the_source_beyond_the_given_ones_are_not_copied():
    """A tagger also reads symbols of several characters, which other tasks do not have."""
    source = Architecture(hidden_size=4, input_size=9, output_size=2)
    old, new, _ = transfer(source, replace(source, input_size=5))
    np.testing.assert_array_equal(new["rnn.weight_ih_l0"][:, INPUTS], old["rnn.weight_ih_l0"][:, :3])


def test_columns_of_numbers_are_copied_if_the_shapes_are_the_same():
    numbers = Architecture(hidden_size=4, input="numbers", input_size=3, loss="squared", output_size=2)
    old, new, _ = transfer(numbers, numbers, inputs=np.empty(0, int), outputs=np.arange(2))
    for name, values in old.items():
        np.testing.assert_array_equal(new[name], values, err_msg=name)
