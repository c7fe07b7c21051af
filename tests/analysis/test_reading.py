"""What a text does to every unit: against a step by step computation; and characters of several bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import STEPS, gates_of, sigmoid

from charrnn.analysis.reading import Reading
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import layer_weights
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.model import TextModel

TEXT = "to be, or not\nto be\n"
H = 5


def make(cell, layers=2, embedding=0, lines=False, symbols=None, hidden=H):
    """A model with random weights that knows the characters of TEXT, or the bytes of `symbols`."""
    vocabulary = Vocabulary.of_texts([TEXT])
    if symbols is not None:
        vocabulary = Vocabulary(np.unique(np.frombuffer(symbols, np.uint8)).astype(np.uint32), True)
    size = {"input_size": len(vocabulary), "output_size": len(vocabulary)}
    shape = {"cell": cell, "hidden_size": hidden, "num_layers": layers, "embedding_size": embedding}
    architecture = Architecture(**shape, **size)
    flat = np.random.default_rng(1).normal(0, 0.7, count_parameters(architecture.specs()))
    task = {"name": "lm", **vocabulary.to_dict(), "lines": lines}
    return TextModel(Checkpoint(architecture, task, named_views(architecture.specs(), flat)))


def reading(model, text=TEXT):
    return Reading(model, model.vocabulary.encode(text))


def gates(cell, weights, x, state):
    """The quantities inside a step, from the cell's equations."""
    if cell == "rnn":
        return {}
    halves = list(gates_of(weights, x, state[0]))
    if cell == "lstm":
        i, f, g, o = (a + b for a, b in halves)
        return {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
    (r, z, (a, b)) = halves
    return {"r": sigmoid(sum(r)), "z": sigmoid(sum(z)), "n": np.tanh(a + sigmoid(sum(r)) * b)}


def step_by_step(model, text):
    """Every quantity of every layer (N, L, H), a character at a time."""
    cell, shape, named = model.architecture.cell, model.architecture, model.checkpoint.weights
    weights = layer_weights(named, shape.num_layers)
    state = [tuple(layer) for layer in np.zeros(shape.state_shape(1))[:, :, 0]]
    rows = {name: [] for name in CELLS[cell].quantity_names}
    for character in model.started(model.vocabulary.encode(text)):
        if character == model.record_end():
            state = [tuple(np.zeros_like(s) for s in layer) for layer in state]
        x = named["embedding.weight"][character] if shape.embedding_size else np.eye(len(model.vocabulary))[character]
        layers = []
        for n, layer in enumerate(weights):
            inside = gates(cell, layer, x, state[n])
            state[n] = STEPS[cell](layer, x, state[n])
            x = state[n][0]
            inside |= {"h": x} | ({"c": state[n][1], "tanh(c)": np.tanh(state[n][1])} if cell == "lstm" else {})
            layers.append(inside)
        for name, of_characters in rows.items():
            of_characters.append([inside[name] for inside in layers])
    return {name: np.array(of_characters[1:]) for name, of_characters in rows.items()}


def everything(text, name):
    """All units at all characters, put together from the pieces."""
    architecture = text.model.architecture
    values = np.full((len(text.text), architecture.num_layers * architecture.hidden_size), np.nan)
    for characters, piece in text.quantities(name):
        values[characters] = piece
    return values.reshape(len(values), architecture.num_layers, -1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("lines", [False, True])
def test_every_quantity_is_that_of_a_step_by_step_computation(cell, embedding, lines):
    model = make(cell, embedding=embedding, lines=lines)
    for name, expected in step_by_step(model, TEXT).items():
        np.testing.assert_allclose(everything(reading(model), name), expected, atol=1e-12)


def test_a_long_text_read_by_many_is_read_as_by_one(monkeypatch):
    model = make("gru", layers=1)
    text = TEXT * 400
    together = everything(reading(model, text), "h")
    monkeypatch.setattr("charrnn.tasks.language.scoring.MAX_READERS", 1)
    np.testing.assert_allclose(together, everything(reading(model, text), "h"), atol=1e-6)


@pytest.mark.parametrize(("cell", "activity"), [("lstm", "tanh(c)"), ("gru", "h"), ("rnn", "h")])
def test_the_activity_of_chosen_units(cell, activity):
    text = reading(make(cell))
    chosen = text.of_units([(1, 4), (0, 2)])
    whole = everything(text, activity)
    np.testing.assert_allclose(chosen, np.stack([whole[:, 1, 4], whole[:, 0, 2]], axis=1), atol=1e-6)


def test_the_nats_are_those_of_the_model():
    model = make("lstm")
    text = reading(model)
    assert len(text.nats()) == len(text.text) == len(TEXT)
    assert text.nats().mean() == pytest.approx(model.score(TEXT))


def test_a_character_of_several_bytes_is_one_and_costs_their_sum():
    data = "Straße, «déjà», 猫".encode()
    model = make("lstm", symbols=data + b"\xff")
    ids = model.vocabulary.encode(data.decode())
    text = Reading(model, ids)
    assert text.text == data.decode()
    assert len(text.nats()) == len(text.text) < len(ids)
    assert text.nats().sum() == pytest.approx(model.nats(ids).sum())
    whole = Reading(make("lstm", symbols=data + b"\xff"), ids)
    last_bytes = everything(whole, None)
    assert np.isfinite(last_bytes).all()


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_are_characters_that_cover_them(data):
    vocabulary = Vocabulary(np.arange(256, dtype=np.uint32), True)
    text, ends = vocabulary.characters(np.frombuffer(data, np.uint8))
    assert len(text) == len(ends) and ends[-1] == len(data) - 1 and (np.diff(ends) > 0).all()
    if "\ufffd" not in data.decode("utf-8", "replace"):
        assert text == data.decode()


def test_what_is_not_there_is_named():
    text = reading(make("gru"))
    with pytest.raises(UsageError, match=r"f: the cell gru has no such quantity \(it has h, r, z, n\)"):
        text.of_units([(0, 0)], "f")
    with pytest.raises(UsageError, match=r"unit 2\.0: not in this network \(layer\.unit, from 0\.0 to 1\.4\)"):
        text.of_units([(2, 0)])
