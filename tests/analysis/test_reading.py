"""Losses and unit values of a text, compared with a computation step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import STEPS, gate_products, sigmoid

from charrnn.analysis.reading import TextReading
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import layer_weights
from charrnn.nn.parameters import count_parameters
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.model import TextModel

TEXT = "to be, or not\nto be\n"
H = 5


def make_model(cell, layers=2, embedding=0, lines=False, data=None):
    """A model with random weights. Its vocabulary is that of TEXT, or the bytes of `data`."""
    vocabulary = Vocabulary.of_texts([TEXT])
    if data is not None:
        vocabulary = Vocabulary(np.unique(np.frombuffer(data, np.uint8)).astype(np.uint32), True)
    architecture = Architecture(
        cell=cell,
        hidden_size=H,
        num_layers=layers,
        embedding_size=embedding,
        input_size=len(vocabulary),
        output_size=len(vocabulary),
    )
    parameters = np.random.default_rng(1).normal(0, 0.7, count_parameters(architecture.specs()))
    return TextModel(Checkpoint(architecture, {"name": "lm", **vocabulary.to_dict(), "lines": lines}, parameters))


def make_reading(model, text=TEXT):
    return TextReading(model, model.vocabulary.encode(text))


def gate_values(cell, weights, x, state):
    """The gates of a step, from the equations of the cell."""
    if cell == "rnn":
        return {}
    products = list(gate_products(weights, x, state[0]))
    if cell == "lstm":
        i, f, g, o = (input_part + hidden_part for input_part, hidden_part in products)
        return {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
    r, z, (n_input, n_hidden) = products
    reset = sigmoid(sum(r))
    return {"r": reset, "z": sigmoid(sum(z)), "n": np.tanh(n_input + reset * n_hidden)}


def step_by_step(model, text):
    """Every quantity of every layer (N, L, H), one character at a time."""
    cell = model.architecture.cell
    weights = model.checkpoint.weights
    layers = layer_weights(weights, model.architecture.num_layers)
    state = [tuple(layer_state) for layer_state in np.zeros(model.architecture.state_shape(1))[:, :, 0]]
    values = {name: [] for name in CELLS[cell].quantity_names}
    for i in model.prepend_start(model.vocabulary.encode(text)):
        if i == model.record_end():
            state = [tuple(np.zeros_like(array) for array in layer_state) for layer_state in state]
        y = weights["embedding.weight"][i] if model.architecture.embedding_size else np.eye(len(model.vocabulary))[i]
        by_layer = []
        for n, layer in enumerate(layers):
            quantities = gate_values(cell, layer, y, state[n])
            state[n] = STEPS[cell](layer, y, state[n])
            y = state[n][0]
            quantities["h"] = y
            if cell == "lstm":
                quantities["c"] = state[n][1]
                quantities["tanh(c)"] = np.tanh(state[n][1])
            by_layer.append(quantities)
        for name, rows in values.items():
            rows.append([quantities[name] for quantities in by_layer])
    return {name: np.array(rows[1:]) for name, rows in values.items()}  # without the start symbol


def all_values(reading, name):
    """A quantity of all units after all characters (N, L, H)."""
    architecture = reading.model.architecture
    values = np.full((len(reading.text), architecture.num_layers * architecture.hidden_size), np.nan)
    for characters, part in reading.quantities(name):
        values[characters] = part
    return values.reshape(len(values), architecture.num_layers, -1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("lines", [False, True])
def test_every_quantity_equals_that_of_a_computation_step_by_step(cell, embedding, lines):
    model = make_model(cell, embedding=embedding, lines=lines)
    for name, expected in step_by_step(model, TEXT).items():
        np.testing.assert_allclose(all_values(make_reading(model), name), expected, atol=1e-12)


def test_quantities_do_not_depend_on_the_number_of_readers(monkeypatch):
    model = make_model("gru", layers=1)
    text = TEXT * 400
    with_many_readers = all_values(make_reading(model, text), "h")
    monkeypatch.setattr("charrnn.tasks.language.scoring.MAX_READERS", 1)
    np.testing.assert_allclose(with_many_readers, all_values(make_reading(model, text), "h"), atol=1e-6)


@pytest.mark.parametrize(("cell", "activity"), [("lstm", "tanh(c)"), ("gru", "h"), ("rnn", "h")])
def test_unit_values_are_the_activities_of_the_given_units_by_default(cell, activity):
    reading = make_reading(make_model(cell))
    values = reading.unit_values([(1, 4), (0, 2)])
    expected = all_values(reading, activity)
    np.testing.assert_allclose(values, np.stack([expected[:, 1, 4], expected[:, 0, 2]], axis=1), atol=1e-6)


def test_nats_are_the_losses_of_the_model():
    model = make_model("lstm")
    reading = make_reading(model)
    assert len(reading.nats()) == len(reading.text) == len(TEXT)
    assert reading.nats().mean() == pytest.approx(model.score(TEXT))


def test_a_character_of_several_bytes_has_the_sum_of_their_losses_and_the_values_after_its_last_byte():
    data = "Straße, «déjà», 猫".encode()
    model = make_model("lstm", data=data + b"\xff")
    ids = model.vocabulary.encode(data.decode())
    reading = TextReading(model, ids)
    assert reading.text == data.decode()
    assert len(reading.nats()) == len(reading.text) < len(ids)
    assert reading.nats().sum() == pytest.approx(model.nats(ids).sum())
    last_bytes = [len(data.decode()[: n + 1].encode()) - 1 for n in range(len(reading.text))]
    expected = step_by_step(model, data.decode())["tanh(c)"][last_bytes]
    np.testing.assert_allclose(all_values(reading, None), expected, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_are_divided_into_characters_without_gaps(data):
    vocabulary = Vocabulary(np.arange(256, dtype=np.uint32), True)
    text, last_places = vocabulary.characters(np.frombuffer(data, np.uint8))
    assert len(text) == len(last_places)
    assert last_places[-1] == len(data) - 1 and (np.diff(last_places) > 0).all()
    if "\ufffd" not in data.decode("utf-8", "replace"):
        assert text == data.decode()


def test_a_quantity_or_unit_that_does_not_exist_is_refused():
    reading = make_reading(make_model("gru"))
    with pytest.raises(UsageError, match=r"the cell gru has no quantity f .*h, r, z, n"):
        reading.unit_values([(0, 0)], "f")
    with pytest.raises(
        UsageError, match=r"unit 2\.0: not in this network \(give a unit as layer\.unit, from 0\.0 to 1\.4\)"
    ):
        reading.unit_values([(2, 0)])
