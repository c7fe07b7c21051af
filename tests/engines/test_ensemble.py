"""An ensemble: its probabilities are the means of those of its members, which keep their own states."""

import importlib.util

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.corpus.pairs import PairPass, SourceRecords
from charrnn.engines.ensemble import EnsembleBackend
from charrnn.engines.select import new_backend
from charrnn.models.architecture import Architecture
from charrnn.nn.losses import log_softmax

B, T, V = 3, 5, 6  # streams, time steps, symbols
SHAPES = [{"cell": "lstm", "hidden_size": 5, "num_layers": 2}, {"cell": "gru", "hidden_size": 4}, {"cell": "rnn"}]
HAS_TORCH = importlib.util.find_spec("torch") is not None
DEVICES = ["cpu", pytest.param("torch", marks=pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed"))]


def make_members(**sizes):
    """Networks of different cells and sizes with random parameters."""
    rng = np.random.default_rng(3)
    members = []
    for shape in SHAPES:
        architecture = Architecture(**{"hidden_size": 3} | shape | sizes)
        members.append((architecture, rng.normal(0, 0.5, architecture.num_parameters)))
    return members


def mean_log_p(logits):
    """The logarithm of the mean of the probabilities of several arrays of logits."""
    return np.log(np.mean([np.exp(log_softmax(each)) for each in logits], axis=0))


@pytest.mark.parametrize("device", DEVICES)
def test_scored_outputs_are_mean_probabilities_and_the_states_are_carried(device):
    backend = new_backend(device)
    members = make_members(input_size=V, output_size=V)
    rng = np.random.default_rng(0)
    batches = [Batch(*rng.integers(0, V, (2, T, B)).astype(np.uint32)) for _ in range(2)]
    networks = [backend.network(*member, B, T) for member in members]
    ensemble = EnsembleBackend(backend, members).network(*members[0], B, T)
    states = [network.zero_state(B) for network in networks]
    state = ensemble.zero_state(B)
    for batch in batches:
        logits = [
            np.concatenate([outputs for _, outputs in network.outputs(batch, member_state)])
            for network, member_state in zip(networks, states, strict=True)
        ]
        (outputs,) = [outputs for _, outputs in ensemble.outputs(batch, state)]
        np.testing.assert_allclose(log_softmax(outputs), mean_log_p(logits), rtol=0, atol=1e-12)
    expected = np.concatenate([np.moveaxis(each, 2, 0).reshape(B, -1) for each in states], axis=1)
    np.testing.assert_allclose(state[0, 0], expected, rtol=0, atol=1e-12)


def test_outputs_that_are_numbers_are_averaged():
    backend = new_backend()
    members = make_members(input="numbers", input_size=2, loss="squared", output_size=2)
    x = np.random.default_rng(0).normal(size=(T, B, 2))
    batch = Batch(x, np.zeros((T, B, 2)))
    ensemble = EnsembleBackend(backend, members).network(*members[0], B, T)
    (outputs,) = [outputs for _, outputs in ensemble.outputs(batch, ensemble.zero_state(B))]
    expected = []
    for member in members:
        network = backend.network(*member, B, T)
        expected += [outputs for _, outputs in network.outputs(batch, network.zero_state(B))]
    np.testing.assert_allclose(outputs, np.mean(expected, axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_the_steppers_of_the_members_keep_their_states(device):
    backend = new_backend(device)
    members = make_members(input_size=V, output_size=V)
    steppers = [backend.stepper(*member, B) for member in members]
    ensemble = EnsembleBackend(backend, members).stepper(*members[0], B)
    everyone = [*steppers, ensemble]

    def check(step):
        *logits, outputs = [step(stepper).copy() for stepper in everyone]
        np.testing.assert_allclose(log_softmax(outputs), mean_log_p(logits), rtol=0, atol=1e-12)

    check(lambda stepper: stepper.step([0, 1, 2]))
    saved = ensemble.state()
    check(lambda stepper: stepper.step([3, 3, 1]))
    for stepper in everyone:
        stepper.select_streams(np.array([2, 0, 0]))
        stepper.reset([1])
    check(lambda stepper: stepper.step([5, 4, 1]))
    restored = ensemble.restore(saved)
    other = EnsembleBackend(backend, members).stepper(*members[0], B)
    np.testing.assert_allclose(restored, other.step([0, 1, 2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_the_decoders_of_the_members_read_the_same_sources(device):
    backend = new_backend(device)
    members = make_members(input_size=V, output_size=V, source="ids", source_size=4)
    source = PairPass(SourceRecords([np.array([1, 2, 3]), np.array([3])], [np.array([1])] * 2, 0), 2).batch(0).source
    decoders = [backend.decoder(*member, source, 2) for member in members]
    ensemble = EnsembleBackend(backend, members).decoder(*members[0], source, 2)
    everyone = [*decoders, ensemble]
    for ids in ([0, 0, 0, 0], [1, 2, 3, 4]):
        *logits, outputs = [decoder.step(ids).copy() for decoder in everyone]
        np.testing.assert_allclose(log_softmax(outputs), mean_log_p(logits), rtol=0, atol=1e-12)
        for decoder in everyone:
            decoder.select_streams(np.array([1, 0, 2, 2]))
    np.testing.assert_allclose(ensemble.alignment, np.mean([decoder.alignment for decoder in decoders], axis=0))
    assert ensemble.alignment.shape == (2, 2, 3)
