"""Trained networks on PyTorch give the same outputs and answers as on NumPy, here in float64.

Skipped if PyTorch is not installed. The tests also run on a GPU if there is one.
"""

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.engines.numpy.backend import NumpyBackend
from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.registry import make_model, read_task

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

T = 6
B = 4
V = 7
TOLERANCE = 1e-10
EMBEDDED = {"embedding_size": 3}
NGRAMS = {"output_size": 3, "ngram_size": 9, "ngrams_per_step": 2, "ngram_share": 0.6}
NUMBERS = {"input": "numbers", "input_size": 2, "loss": "squared", "output_size": 2}
ARCHITECTURES = {
    "text": {},
    "text, embedding": EMBEDDED,
    "tags": NGRAMS,
    "tags, embedding": NGRAMS | EMBEDDED,
    "numbers": NUMBERS,
}
DEVICES = ["torch", *(["cuda"] if torch.cuda.is_available() else [])]

cells = pytest.mark.parametrize("cell", CELLS)
kinds = pytest.mark.parametrize("kind", ARCHITECTURES)
devices = pytest.mark.parametrize("device", DEVICES)


def make_architecture(cell, kind):
    return Architecture(cell, 5, 2, **{"input_size": V, "output_size": V} | ARCHITECTURES[kind])


def random_parameters(architecture):
    return np.random.default_rng(6).normal(0, 0.5, architecture.num_parameters)


def make_batch(architecture, rng, masked):
    """A random batch. masked: with a loss mask, and with resets at any step."""

    def ids_or_numbers(is_ids, size):
        return rng.integers(0, size, (T, B)) if is_ids else rng.normal(size=(T, B, size))

    return Batch(
        x=ids_or_numbers(architecture.input == "ids", architecture.input_size),
        targets=ids_or_numbers(architecture.loss == "softmax", architecture.output_size),
        loss_mask=(rng.random((T, B)) < 0.6).astype(float) if masked else None,
        reset_mask=rng.random((T, B, 1)) < 0.3 if masked else None,
        ngrams=rng.integers(0, architecture.ngram_size, (T, B, 2)) if architecture.ngram_size else None,
    )


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


@devices
@cells
@kinds
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_networks_agree_on_outputs_losses_sums_and_the_final_state(kind, cell, device, masked):
    architecture = make_architecture(cell, kind)
    flat = random_parameters(architecture)
    networks = [backend.network(architecture, flat, B, T) for backend in (NumpyBackend(), new_backend(device))]
    rng = np.random.default_rng(1)
    initial_state = rng.normal(size=architecture.state_shape(B))
    states = [initial_state.copy(), initial_state.copy()]
    for network in networks:
        network.head_rows = 5  # the rows are computed in several groups
    for method in ("losses", "sums"):
        batch = make_batch(architecture, rng, masked)
        expected, actual = (
            getattr(network, method)(batch, state) for network, state in zip(networks, states, strict=True)
        )
        assert_close(actual, expected)
        assert_close(states[1], states[0])
    batch = make_batch(architecture, rng, masked)
    groups = [list(network.outputs(batch, state)) for network, state in zip(networks, states, strict=True)]
    assert len(groups[0]) == len(groups[1]) > 1
    for (expected_rows, expected), (rows, actual) in zip(*groups, strict=True):
        np.testing.assert_equal(rows.places, expected_rows.places)
        assert_close(actual, expected)


@devices
@cells
@kinds
def test_steppers_agree_after_every_operation(kind, cell, device):
    architecture = make_architecture(cell, kind)
    flat = random_parameters(architecture)
    expected, actual = (backend.stepper(architecture, flat, B) for backend in (NumpyBackend(), new_backend(device)))
    rng = np.random.default_rng(1)

    def step():
        if architecture.input == "numbers":
            x = rng.normal(size=(B, architecture.input_width))
            assert_close(actual.step_vectors(x), expected.step_vectors(x))
        if architecture.input == "ids":
            for ids in (rng.integers(0, V, B), rng.integers(0, V, B).tolist()):
                assert_close(actual.step(ids), expected.step(ids))
        assert_close(actual.state(), expected.state())

    step()
    for stepper in (expected, actual):
        stepper.reset([])
        stepper.reset([0, 2])
    step()
    for stepper in (expected, actual):
        stepper.select_streams(np.array([3, 1, 1, 0]))
    step()
    state = rng.normal(size=architecture.state_shape(B))
    assert_close(actual.restore(state), expected.restore(state))
    step()


@devices
def test_the_state_of_a_stepper_is_a_copy(device):
    architecture = make_architecture("lstm", "text")
    stepper = new_backend(device).stepper(architecture, random_parameters(architecture), B)
    stepper.step([1, 2, 3, 4])
    state = stepper.state()
    before = state.copy()
    stepper.reset([0, 1, 2, 3])
    np.testing.assert_array_equal(state, before)
    stepper.restore(state)
    state[...] = 0
    np.testing.assert_array_equal(stepper.state(), before)


def make_models(tmp_path, text, device, **options):
    """The model of a task with random parameters, on NumPy and on a PyTorch device."""
    (tmp_path / "corpus.txt").write_text(text)
    task = read_task(RunConfig.from_options([str(tmp_path / "corpus.txt")], options))
    architecture = task.architecture(ModelOptions("gru", 6, 2))
    checkpoint = Checkpoint(architecture, task.metadata(), random_parameters(architecture))
    return [make_model(checkpoint, backend) for backend in (None, new_backend(device))]


PAIRS = "".join(f"{'ab' * (n % 4)}{n}\t{n * n}\n" for n in range(30))
SOURCES = ["ab3", "", "abab12", "9"]
TEXT = "The fox ran.\nThe hen sat on it, and the fox ran off.\n" * 4


def assert_same_answers(actual, expected):
    """Compares lists of (text, log probability)."""
    assert [text for text, _ in actual] == [text for text, _ in expected]
    assert len({text for text, _ in actual}) > 1
    assert_close([log_p for _, log_p in actual], [log_p for _, log_p in expected])


@devices
@pytest.mark.parametrize("beam", [1, 4])
def test_a_beam_search_finds_the_same_translations(beam, device, tmp_path):
    models = make_models(tmp_path, PAIRS, device, task="translate")
    results = [model.rank(SOURCES, beam=beam, top=beam) for model in models]
    assert all(len(hypotheses) == beam for hypotheses in results[0])
    expected, actual = ([answer for hypotheses in result for answer in hypotheses] for result in results)
    assert_same_answers(actual, expected)


@devices
def test_the_same_translations_are_drawn(device, tmp_path):
    models = make_models(tmp_path, PAIRS, device, task="translate")
    expected, actual = (model.draw(SOURCES, SamplingOptions(temperature=1.0), seed=5) for model in models)
    assert_same_answers(actual, expected)


@devices
@pytest.mark.parametrize("lines", [False, True])
def test_the_most_likely_characters_and_samples_of_a_text_model_are_the_same(lines, device, tmp_path):
    models = make_models(tmp_path, TEXT, device, lines=lines)
    ids = models[0].vocabulary.encode("The hen.\nThe fox sat.\n")
    expected, actual = (list(model.most_likely(ids, 3)) for model in models)
    assert len(actual) == len(expected) == len(ids)
    for (character, nats, top), (expected_character, expected_nats, expected_top) in zip(actual, expected, strict=True):
        assert (character, [c for c, _ in top]) == (expected_character, [c for c, _ in expected_top])
        assert_close([nats, *(p for _, p in top)], [expected_nats, *(p for _, p in expected_top)])
    texts = [model.sample("The ", length=40, seed=3) for model in models]
    assert texts[0] == texts[1]
    assert_close(*(model.nats(ids) for model in models))
