"""Networks with an encoder and a decoder: against a plain definition, central differences and PyTorch; the stepper.

The tests of PyTorch are skipped if it is not installed.
"""

from dataclasses import replace

import numpy as np
import pytest
from reference import attention as reference_attention
from reference import bidirectional_stack as reference_bidirectional_stack
from reference import numeric_gradient
from reference import stack as reference_stack

from charrnn.corpus.batch import Batch, Source
from charrnn.corpus.pairs import SourceRecords
from charrnn.models.architecture import Architecture
from charrnn.models.decoder import SourceStepper
from charrnn.models.encoder import encoder_weights
from charrnn.models.network import Network, attention_weights, layer_weights
from charrnn.nn.parameters import named_views
from charrnn.nn.stack import CELLS
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

B, T, S = 3, 3, 3  # streams, decoder steps, source steps
H = 3  # hidden size; the encoder has 2 units in each direction, so its outputs are wider than the decoder's
E = 4  # width of the memory
V, SOURCE_V, D = 4, 5, 2  # target symbols, source symbols, embedding size
SOURCE_D = 3  # numbers of a source step
SCALE = 0.3
LENGTHS = np.array([3, 0, 2])  # of the sources; the stream without a source is not scored
ALL_STREAMS = np.array([3, 1, 2])

cells = pytest.mark.parametrize("cell", CELLS)
layer_counts = pytest.mark.parametrize("layers", [1, 2])
embeddings = pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
sources = pytest.mark.parametrize("source", ["ids", "numbers"])
attention = pytest.mark.parametrize("attends", [True, False], ids=["attention", "no attention"])


def make_architecture(cell="lstm", layers=1, embedding_size=D, source="ids", attends=True):
    return Architecture(
        cell=cell,
        hidden_size=H,
        num_layers=layers,
        embedding_size=embedding_size,
        attention=attends,
        input_size=V,
        output_size=V,
        source=source,
        source_size=SOURCE_V if source == "ids" else SOURCE_D,
    )


class Case:
    """A network with random parameters, and a batch. masks: with dropout masks of all kinds."""

    def __init__(self, architecture, masks=True, lengths=LENGTHS, seed=3):
        rng = np.random.default_rng(seed)
        self.architecture = architecture
        self.specs = architecture.specs()
        self.flat = rng.normal(0, 0.6, architecture.num_parameters)
        self.named = named_views(self.specs, self.flat)
        self.grads = np.full_like(self.flat, np.nan)  # must be overwritten
        streams = len(lengths)
        self.network = Network(architecture, self.flat, streams, T, self.grads, source_length=S)
        ids = rng.integers(0, SOURCE_V, (S, streams))
        numbers = rng.standard_normal((S, streams, SOURCE_D))
        loss_mask = rng.random((T, streams))
        loss_mask[2, 0] = 0  # a target of two symbols
        loss_mask[:, lengths == 0] = 0
        self.batch = Batch(
            x=rng.integers(0, V, (T, streams)),
            targets=rng.integers(0, V, (T, streams)),
            loss_mask=loss_mask,
            source=Source(ids if architecture.source == "ids" else numbers, lengths),
        )
        self.masks = {}
        if masks:
            layers = architecture.num_layers
            self.masks = {
                "dropout_masks": 2 * rng.random((architecture.num_dropout_masks, streams, max(H, E))),
                "recurrent_masks": [2 * rng.random((CELLS[architecture.cell].num_gates * H, H)) for _ in range(layers)],
            }

    def zero_state(self):
        return np.zeros(self.architecture.state_shape(len(self.batch.source.lengths)))

    def loss_and_gradient(self):
        """The loss, and named gradients."""
        loss = self.network.loss_and_gradient(self.batch, self.zero_state(), SCALE, **self.masks)
        return loss, named_views(self.specs, self.grads)

    def outputs(self):
        """The outputs (T, B, V)."""
        hidden = self.network.forward_hidden(self.batch, self.zero_state(), **self.masks)
        return self.network.head_outputs(hidden, None).reshape(*self.batch.x.shape, V)

    def loss_of(self, outputs):
        """The loss of outputs (T, B, V), by its definition."""
        target_logits = np.take_along_axis(outputs, self.batch.targets[:, :, None], axis=2)[:, :, 0]
        losses = np.log(np.exp(outputs).sum(axis=2)) - target_logits
        return SCALE * float((self.batch.loss_mask * losses).sum())

    def reference_outputs(self):
        """The outputs (T, B, V) by the plain definition. They are zero for a stream without a source."""
        lengths = self.batch.source.lengths.tolist()
        outputs = np.zeros((T, len(lengths), V))
        for b, length in enumerate(lengths):
            if length:
                outputs[:, b] = self._reference_outputs_of_stream(b, length)
        return outputs

    def _reference_outputs_of_stream(self, b, length):
        shape = self.architecture
        named = self.named
        layers = shape.num_layers
        weights = layer_weights(named, layers)
        decoder_masks = encoder_masks = None
        attention_mask = 1.0
        if self.masks:
            dropout_masks = self.masks["dropout_masks"][:, b]
            decoder_masks = dropout_masks[:layers, None, :H]
            encoder_masks = dropout_masks[layers : 2 * layers, :E]
            attention_mask = dropout_masks[2 * layers, :H] if shape.attention else 1.0
            masks = self.masks["recurrent_masks"]
            weights = [w._replace(w_hh=w.w_hh * mask) for w, mask in zip(weights, masks, strict=True)]
        source = self.batch.source.x[S - length :, b]
        if "source_embedding.weight" in named:
            source = named["source_embedding.weight"][source]
        memory, final = reference_bidirectional_stack(shape.cell, encoder_weights(named, layers), source, encoder_masks)
        initial = named["bridge.weight"] @ final.ravel() + named["bridge.bias"]
        x = named.get("embedding.weight", np.eye(V))[self.batch.x[:, b]]
        state = initial.reshape(layers, -1, 1, H)
        y, _ = reference_stack(shape.cell, weights, x[:, None], state, decoder_masks)
        y = y[:, 0]
        if shape.attention:
            y, _ = reference_attention(attention_weights(named), y, memory)
            y = y * attention_mask
        return y @ named["head.weight"].T + named["head.bias"]


@cells
@layer_counts
@embeddings
@sources
@attention
def test_outputs_and_loss_equal_the_plain_definition(cell, layers, embedding_size, source, attends):
    case = Case(make_architecture(cell, layers, embedding_size, source, attends))
    expected = case.reference_outputs()
    has_source = LENGTHS > 0
    np.testing.assert_allclose(case.outputs()[:, has_source], expected[:, has_source], rtol=0, atol=1e-12)
    loss, _ = case.loss_and_gradient()
    assert loss == pytest.approx(case.loss_of(expected), rel=1e-12)
    case.masks = {}  # scoring has no dropout
    expected_losses = case.loss_of(case.reference_outputs())
    losses = case.network.losses(case.batch, case.zero_state())
    assert SCALE * losses.sum() == pytest.approx(expected_losses, rel=1e-12)


@cells
@pytest.mark.parametrize(
    ("options", "masks"),
    [
        ({}, True),
        ({"embedding_size": 0, "attends": False}, False),
        ({"layers": 2, "source": "numbers"}, True),
    ],
    ids=[
        "embedding, ids, attention, dropout",
        "one-hot, ids, no attention",
        "2 layers, embedding, numbers, attention, dropout",
    ],
)
def test_the_gradient_of_every_parameter_equals_central_differences(cell, options, masks):
    """The other combinations of options are compared with PyTorch."""
    case = Case(make_architecture(cell, **options), masks)
    _, gradients = case.loss_and_gradient()
    for name, gradient in gradients.items():
        numeric = numeric_gradient(lambda: case.loss_of(case.outputs()), case.named[name])
        assert np.abs(numeric).max() > 1e-5, name
        assert np.abs(gradient - numeric).max() / np.abs(numeric).max() < 1e-6, name


@cells
@sources
@attention
def test_padding_has_no_influence_on_loss_and_gradients(cell, source, attends):
    """Other values in the padding of sources and targets, and longer padding, give the same loss and gradients."""
    architecture = make_architecture(cell, 2, D, source, attends)
    case = Case(architecture, lengths=ALL_STREAMS)
    loss, gradients = case.loss_and_gradient()
    rng = np.random.default_rng(1)
    padded = Case(architecture, lengths=ALL_STREAMS)
    is_step = padded.batch.source.is_step
    x = padded.batch.source.x
    x[~is_step] = rng.integers(0, SOURCE_V, x[~is_step].shape)
    if source == "numbers":
        x[~is_step] *= 50
    is_scored = padded.batch.loss_mask > 0
    padded.batch.x[~is_scored] = padded.batch.targets[~is_scored] = 1
    padded_source = Source(np.concatenate([x, x]), ALL_STREAMS)
    padded.batch = replace(padded.batch, source=padded_source)
    padded.network = Network(architecture, padded.flat, B, T, padded.grads, source_length=S + 3)
    padded_loss, padded_gradients = padded.loss_and_gradient()
    assert padded_loss == pytest.approx(loss, rel=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(padded_gradients[name], gradient, rtol=0, atol=1e-12, err_msg=name)


@cells
@attention
@pytest.mark.parametrize("masks", [False, True], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("steps", [T, 1])
def test_loss_and_gradients_are_the_sums_over_the_streams(cell, attends, masks, steps):
    """Each stream alone, as in a batch or a worker with one stream. The empty stream has no loss and no gradient."""
    case = Case(make_architecture(cell, 2, D, "ids", attends), masks)
    case.batch = replace(
        case.batch,
        x=case.batch.x[:steps],
        targets=case.batch.targets[:steps],
        loss_mask=case.batch.loss_mask[:steps],
    )
    loss, gradients = case.loss_and_gradient()
    losses = []
    sums = np.zeros_like(case.grads)
    for b in range(B):
        rows = slice(b, b + 1)
        grads = np.full_like(case.grads, np.nan)
        alone = Network(case.architecture, case.flat, 1, T, grads, source_length=S)
        stream_masks = dict(case.masks)
        if masks:
            stream_masks["dropout_masks"] = case.masks["dropout_masks"][:, rows]
        state = np.zeros(case.architecture.state_shape(1))
        losses.append(alone.loss_and_gradient(case.batch.select_streams(rows), state, SCALE, **stream_masks))
        sums += grads
    assert losses[1] == 0
    assert loss == pytest.approx(sum(losses), rel=1e-12)
    for name, expected in named_views(case.specs, sums).items():
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=1e-12, err_msg=name)


@cells
@attention
def test_a_call_does_not_depend_on_earlier_calls(cell, attends):
    """The loss and gradient of a short batch without masks, after a full one with masks, are those of a new network."""
    architecture = make_architecture(cell, 2, D, "ids", attends)
    used = Case(architecture)
    used.loss_and_gradient()
    new = Case(architecture)
    results = []
    for case in (used, new):
        case.masks = {}
        case.batch = replace(
            case.batch,
            x=case.batch.x[:2],
            targets=case.batch.targets[:2],
            loss_mask=None,
            source=Source(case.batch.source.x[:2], np.array([1, 2, 2])),
        )
        loss, _ = case.loss_and_gradient()
        results.append(loss)
    assert results[0] == results[1]
    np.testing.assert_array_equal(used.grads, new.grads)
    assert np.isfinite(new.grads).all()


@cells
@attention
def test_parameters_can_be_replaced(cell, attends):
    architecture = make_architecture(cell, 2, D, "ids", attends)
    case = Case(architecture)
    other = Case(architecture, seed=1)
    before, _ = case.loss_and_gradient()
    case.network.set_parameters(other.flat)
    losses = [each.network.losses(other.batch, other.zero_state()) for each in (case, other)]
    np.testing.assert_array_equal(*losses)
    case.network.set_parameters(case.flat)
    assert case.loss_and_gradient()[0] == before


@cells
@sources
@attention
def test_the_initial_state_of_the_caller_is_ignored(cell, source, attends):
    """Each batch starts from the encoder's state. The final state is finite."""
    case = Case(make_architecture(cell, 2, D, source, attends))
    states = [case.zero_state(), case.zero_state() + 7]
    losses = [case.network.losses(case.batch, state) for state in states]
    np.testing.assert_array_equal(*losses)
    np.testing.assert_array_equal(*states)
    assert np.isfinite(states[0]).all()


def make_module(architecture):
    """The PyTorch module of an architecture, as the README describes it."""
    torch = pytest.importorskip("torch")
    recurrent = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[architecture.cell]
    num_states = 2 if architecture.cell == "lstm" else 1

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            width = V
            source_width = architecture.source_size
            if architecture.embedding_size:
                width = D
                self.embedding = torch.nn.Embedding(V, D)
                if architecture.source == "ids":
                    source_width = D
                    self.source_embedding = torch.nn.Embedding(SOURCE_V, D)
            self.encoder = recurrent(source_width, E // 2, architecture.num_layers, bidirectional=True)
            self.bridge = torch.nn.Linear(num_states * E, architecture.num_layers * num_states * H)
            self.rnn = recurrent(width, H, architecture.num_layers)
            if architecture.attention:
                self.attention = torch.nn.Linear(H, E, bias=False)
                self.combine = torch.nn.Linear(E + H, H)
            self.head = torch.nn.Linear(H, V)

        def forward(self, sequences, x):
            """sequences: the sources, without padding. x: (T, B). Returns the outputs (T, B, V)."""
            packed = torch.nn.utils.rnn.pack_sequence(
                [self.source_vectors(source) for source in sequences], enforce_sorted=False
            )
            packed_memory, states = self.encoder(packed)
            memory, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed_memory, batch_first=True)
            states = states if num_states == 2 else (states,)
            # The final states of the top layer: h forward, c forward, h backward, c backward.
            final = torch.cat([state[-2 + direction] for direction in range(2) for state in states], dim=1)
            initial = self.bridge(final).reshape(len(sequences), architecture.num_layers, num_states, H)
            parts = [part.contiguous() for part in initial.permute(2, 1, 0, 3)]
            vectors = self.embedding(x) if architecture.embedding_size else self.one_hot(x, V)
            y, _ = self.rnn(vectors, tuple(parts) if num_states == 2 else parts[0])
            if architecture.attention:
                scores = self.attention(y).transpose(0, 1) @ memory.transpose(1, 2)
                is_padding = torch.arange(memory.shape[1]) >= lengths[:, None]
                weights = scores.masked_fill(is_padding[:, None], -torch.inf).softmax(dim=2)
                context = (weights @ memory).transpose(0, 1)
                y = torch.tanh(self.combine(torch.cat([context, y], dim=2)))
            return self.head(y)

        def source_vectors(self, source):
            if architecture.source == "numbers":
                return torch.tensor(source)
            ids = torch.tensor(source)
            return self.source_embedding(ids) if architecture.embedding_size else self.one_hot(ids, SOURCE_V)

        def one_hot(self, ids, size):
            return torch.nn.functional.one_hot(ids, size).to(self.head.weight.dtype)

    return Module().double()


@cells
@layer_counts
@embeddings
@sources
@attention
def test_a_checkpoint_loads_strictly_into_a_pytorch_module_that_computes_the_same(
    cell, layers, embedding_size, source, attends, tmp_path
):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    case = Case(make_architecture(cell, layers, embedding_size, source, attends), masks=False, lengths=ALL_STREAMS)
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(case.architecture, {"name": "any"}, case.flat))
    assert load_checkpoint(tmp_path / "best.safetensors").architecture == case.architecture
    module = make_module(case.architecture)
    module.load_state_dict(load_file(tmp_path / "best.safetensors"), strict=True)
    batch = case.batch
    sequences = [batch.source.x[S - length :, b] for b, length in enumerate(ALL_STREAMS.tolist())]
    outputs = module(sequences, torch.tensor(batch.x))
    np.testing.assert_allclose(case.outputs(), outputs.detach().numpy(), rtol=0, atol=1e-10)

    targets = torch.tensor(batch.targets).flatten()
    losses = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets, reduction="none")
    expected = SCALE * (losses * torch.tensor(batch.loss_mask).flatten()).sum()
    expected.backward()
    loss, gradients = case.loss_and_gradient()
    assert loss == pytest.approx(expected.item(), abs=1e-10)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(gradients.pop(name), parameter.grad.numpy(), rtol=0, atol=1e-10, err_msg=name)
    assert not gradients


def random_records(rng, source, lengths=(5, 2, 3, 7, 1)):
    """Records of different lengths."""
    sources = [rng.integers(0, SOURCE_V, n) if source == "ids" else rng.standard_normal((n, SOURCE_D)) for n in lengths]
    return SourceRecords(sources, [rng.integers(1, V, n % 4 + 1) for n in lengths], end=0)


@cells
@embeddings
@sources
@attention
def test_the_stepper_computes_the_outputs_of_the_network(cell, embedding_size, source, attends):
    """For two streams of each source, step by step. The attention weights are those of the network too."""
    architecture = make_architecture(cell, 2, embedding_size, source, attends)
    rng = np.random.default_rng(2)
    flat = rng.normal(0, 0.6, architecture.num_parameters)
    records = random_records(rng, source)
    batch = records.batch(range(5), 5)
    network = Network(architecture, flat, 5, len(batch.x), source_length=len(batch.source.x))
    hidden = network.forward_hidden(batch, np.zeros(architecture.state_shape(5)))
    expected = network.head_outputs(hidden, None).reshape(len(batch.x), 5, V)
    stepper = SourceStepper(architecture, flat, batch.source, 2)
    assert stepper.alignment is None
    for t, ids in enumerate(batch.x):
        outputs = stepper.step(np.repeat(ids, 2)).reshape(5, 2, V)
        np.testing.assert_allclose(outputs, np.stack([expected[t]] * 2, axis=1), rtol=0, atol=1e-12)
        if attends:
            weights = network.attention.alignment[:, t]
            np.testing.assert_allclose(stepper.alignment, np.stack([weights] * 2, axis=1), rtol=0, atol=1e-12)
    assert attends or stepper.alignment is None


@cells
@attention
def test_streams_of_a_source_can_be_selected(cell, attends):
    """After `select_streams` each stream continues as the stream that it was copied from."""
    architecture = make_architecture(cell, 2, attends=attends)
    rng = np.random.default_rng(2)
    flat = rng.normal(0, 0.6, architecture.num_parameters)
    source = random_records(rng, "ids", (4, 2)).batch(range(2), 2).source
    prefixes = np.array([[1, 2], [3, 1], [2, 3], [3, 3], [1, 3], [2, 2]])  # of the streams 0 1 2 and 3 4 5
    rows = np.array([2, 2, 0, 4, 3, 4])
    stepper = SourceStepper(architecture, flat, source, 3)
    for ids in prefixes.T:
        stepper.step(ids)
    stepper.select_streams(rows)
    selected = stepper.step([1, 2, 3, 1, 2, 3]).copy()
    expected_stepper = SourceStepper(architecture, flat, source, 3)
    for ids in prefixes[rows].T:
        expected_stepper.step(ids)
    np.testing.assert_allclose(selected, expected_stepper.step([1, 2, 3, 1, 2, 3]), rtol=0, atol=1e-12)
    assert np.abs(selected[0] - selected[1]).max() > 0.01
