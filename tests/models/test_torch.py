"""Parity with PyTorch: its modules load the weights of every task, and compute the same outputs, losses and gradients.

Skipped if PyTorch is not installed.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.corpus.tables import read_table
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.corpus.windows import WindowPass, Windows
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions, ModelOptions
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.language.streams import TextPass
from charrnn.tasks.records import Pair
from charrnn.tasks.registry import MODELS, load_model
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.sequences import SequencePass
from charrnn.tasks.tag.coding import TagCoding

torch = pytest.importorskip("torch")

B, T, D, H, V = 2, 5, 3, 4, 7  # streams, time steps, embedding size, hidden size, symbols
LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

cells = pytest.mark.parametrize("cell", CELLS)
layer_counts = pytest.mark.parametrize("layers", [1, 2, 3])
embeddings = pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
precisions = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])


class Module(torch.nn.Module):
    """The PyTorch module of an architecture, as the README describes it."""

    def __init__(self, architecture):
        super().__init__()
        width = architecture.embedding_size or architecture.input_size
        if architecture.embedding_size:
            self.embedding = torch.nn.Embedding(architecture.input_size, width)
        self.rnn = LAYERS[architecture.cell](width, architecture.hidden_size, architecture.num_layers)
        self.head = torch.nn.Linear(architecture.hidden_size, architecture.output_size)
        if architecture.ngram_size:
            self.ngrams = torch.nn.EmbeddingBag(
                architecture.ngram_size, architecture.output_size, mode="sum", padding_idx=0
            )
        self.architecture = architecture

    def forward(self, batch, state=None):
        """The (share, outputs (T, B, V)) of each head, and the final state."""
        dtype = self.head.weight.dtype
        if self.architecture.input == "numbers":
            x = torch.from_numpy(batch.x).to(dtype)
        elif self.architecture.embedding_size:
            x = self.embedding(torch.from_numpy(batch.x.astype(np.int64)))
        else:
            ids = torch.from_numpy(batch.x.astype(np.int64))
            x = torch.nn.functional.one_hot(ids, self.architecture.input_size).to(dtype)
        hidden, state = self.rnn(x, state)
        outputs = self.head(hidden)
        if batch.ngrams is None:
            return [(1.0, outputs)], state
        bags = torch.from_numpy(batch.ngrams.astype(np.int64)).flatten(0, 1)
        share = self.architecture.ngram_share
        return [(1 - share, outputs), (share, self.ngrams(bags).reshape(outputs.shape))], state


def mean_loss(outputs, batch, loss):
    """The masked mean of PyTorch's own losses."""
    mask = torch.ones(batch.x.shape[:2]) if batch.loss_mask is None else torch.from_numpy(batch.loss_mask)
    if loss == "squared":
        losses = 0.5 * (outputs - torch.from_numpy(batch.targets).to(outputs.dtype)).square().mean(dim=2)
    else:
        targets = torch.from_numpy(batch.targets.astype(np.int64)).flatten()
        losses = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets, reduction="none")
        losses = losses.reshape(mask.shape)
    return (losses * mask).sum() / mask.sum()


class TextCase:
    """A network of a language model and its module, with the same parameters, batch and non-zero state."""

    def __init__(self, cell, layers, embedding_size, dtype):
        rng = np.random.default_rng(layers)
        shape = {"cell": cell, "hidden_size": H, "num_layers": layers, "embedding_size": embedding_size}
        architecture = Architecture(**shape, input_size=V, output_size=V)
        specs = architecture.specs()
        flat = rng.normal(0, 0.5, count_parameters(specs)).astype(dtype)
        grads = np.full_like(flat, np.nan)
        self.network = Network(architecture, flat, B, T, grads)
        self.named_grads = named_views(specs, grads)
        self.module = Module(architecture).to(torch.from_numpy(flat).dtype)
        weights = {name: torch.from_numpy(view) for name, view in named_views(specs, flat).items()}
        self.module.load_state_dict(weights, strict=True)
        self.batch = Batch(*rng.integers(0, V, (2, T, B)))
        self.state = rng.normal(0, 0.5, architecture.state_shape(B)).astype(dtype)

    def run_module(self):
        """The outputs (T, B, V) and the final state (L, num_states, B, H) of the module."""
        parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in self.state.swapaxes(0, 1)]
        ((_, outputs),), final = self.module(self.batch, tuple(parts) if len(parts) > 1 else parts[0])
        parts = final if isinstance(final, tuple) else (final,)
        return outputs, torch.stack(parts, dim=1).detach().numpy()


@cells
@layer_counts
@embeddings
@precisions
def test_outputs_and_final_state_equal_those_of_pytorch(cell, layers, embedding_size, dtype, tolerance):
    case = TextCase(cell, layers, embedding_size, dtype)
    state = case.state.copy()
    hidden = case.network.forward_hidden(case.batch, state)
    outputs = case.network.head_outputs(hidden, None).reshape(T, B, V)
    expected_outputs, expected_state = case.run_module()
    np.testing.assert_allclose(outputs, expected_outputs.detach().numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(state, expected_state, rtol=0, atol=tolerance)


@cells
@layer_counts
@embeddings
@precisions
def test_loss_and_gradients_equal_those_of_pytorch(cell, layers, embedding_size, dtype, tolerance):
    case = TextCase(cell, layers, embedding_size, dtype)
    loss = case.network.loss_and_gradient(case.batch, case.state.copy(), 1 / (T * B))
    outputs, _ = case.run_module()
    expected = mean_loss(outputs, case.batch, "softmax")
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=tolerance)
    expected_grads = {name: parameter.grad.numpy() for name, parameter in case.module.named_parameters()}
    assert set(expected_grads) == set(case.named_grads)
    for name, gradient in case.named_grads.items():
        np.testing.assert_allclose(gradient, expected_grads[name], rtol=0, atol=tolerance, err_msg=name)


def one_record_per_stream(records):
    windows = Windows(records, int(records.lengths.max()))
    batch = WindowPass(windows, len(records)).batch(0)
    assert windows.number == len(records), "every record must fill more than half of its window"
    assert not batch.reset_mask[1:].any()
    return replace(batch, reset_mask=None, loss_mask=batch.loss_mask.astype(np.float64))


def record_task(coding_class, outputs, options):
    pairs = [Pair(source, output) for source, output in zip(["abcde", "badce", "ccabd"], outputs, strict=True)]
    coding = coding_class.from_records(pairs, DataOptions())
    architecture = Architecture.from_options(options, **coding.sizes)
    return architecture, {"name": coding.name, **coding.to_dict()}, one_record_per_stream(coding.records(pairs))


def language_task(options):
    text = "the quick brown fox\n" * 3
    vocabulary = Vocabulary.of_texts([text])
    ids = np.concatenate([[vocabulary.start], vocabulary.encode(text)])
    size = len(vocabulary)
    batch = replace(TextPass(ids, 1, len(ids) - 1).batch(0), reset_mask=None)
    architecture = Architecture.from_options(options, input_size=size, output_size=size)
    return architecture, {"name": "lm", **vocabulary.to_dict(), "lines": False}, batch


def series_task(targets, labels, options):
    lines = [f"{n},{n * n % 7},{'xy'[n % 3 == 0] if labels else n % 3}\n" for n in range(9)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "t.csv")
        path.write_text("".join(["a,b,c\n", *lines]))
        table = read_table(str(path), [], keep_texts=["c"])
    columns = Columns.from_tables([table], [9], table.names, targets)
    records = columns.records([table, table], [slice(3, None), slice(None)])
    batch = SequencePass(records, 2, 20).batch(0)
    batch = replace(batch, reset_mask=None, loss_mask=batch.loss_mask.astype(np.float64))
    return columns.architecture(options), {"name": "series", **columns.to_dict()}, batch


WITHOUT_EMBEDDING = ModelOptions(hidden_size=4, num_layers=2)
WITH_EMBEDDING = ModelOptions(hidden_size=4, num_layers=2, embedding_size=3)
TASKS = {  # functions that return (architecture, metadata, batch)
    "lm": lambda: language_task(WITHOUT_EMBEDDING),
    "lm with embedding": lambda: language_task(WITH_EMBEDDING),
    "classify": lambda: record_task(LabelCoding, ["no", "yes", "no"], WITHOUT_EMBEDDING),
    "tag": lambda: record_task(TagCoding, [".-.-.", "-....", "...--"], WITH_EMBEDDING),
    "series": lambda: series_task([], False, WITHOUT_EMBEDDING),
    "series with target": lambda: series_task(["b"], False, WITHOUT_EMBEDDING),
    "series with labels": lambda: series_task(["c"], True, WITHOUT_EMBEDDING),
}


def test_every_task_is_covered():
    """Those of the tasks with an encoder and a decoder are tested in test_encoder_decoder.py."""
    assert {name.split()[0] for name in TASKS} | {"translate", "transcribe", "caption"} == set(MODELS)


@cells
@pytest.mark.parametrize("name", TASKS)
def test_the_checkpoint_of_every_task_loads_strictly_and_computes_the_same(cell, name, tmp_path):
    from safetensors.torch import load_file

    architecture, task, batch = TASKS[name]()
    architecture = replace(architecture, cell=cell)
    flat = np.random.default_rng(3).normal(0, 0.5, count_parameters(architecture.specs()))
    if architecture.ngram_size:
        named_views(architecture.specs(), flat)["ngrams.weight"][0] = 0  # n-gram 0 means "none"
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(architecture, task, flat))
    module = Module(architecture).double()
    module.load_state_dict(load_file(tmp_path / "best.safetensors"), strict=True)
    model = load_model(tmp_path / "best.safetensors")
    assert model.task == name.split()[0]

    heads, _ = module(batch)
    outputs = sum(share * output for share, output in heads).detach().numpy().reshape(-1, architecture.output_size)
    streams = batch.x.shape[1]
    grads = np.empty_like(flat)
    network = Network(model.architecture, model.parameters, streams, len(batch.x), grads)
    state = np.zeros(architecture.state_shape(streams))
    num_rows = 0
    for rows, row_outputs in network.outputs(batch, state.copy()):
        np.testing.assert_allclose(row_outputs, outputs[rows.places], rtol=0, atol=1e-10)
        num_rows += len(row_outputs)
    assert num_rows == batch.num_scored

    expected = sum(share * mean_loss(output, batch, architecture.loss) for share, output in heads)
    expected.backward()
    loss = network.loss_and_gradient(batch, state, 1 / batch.num_scored)
    assert loss == pytest.approx(expected.item(), abs=1e-10)
    expected_grads = {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
    for name, gradient in named_views(architecture.specs(), grads).items():
        np.testing.assert_allclose(gradient, expected_grads[name], rtol=0, atol=1e-10, err_msg=name)


@cells
@embeddings
def test_the_score_of_a_text_is_the_loss_that_pytorch_computes(cell, embedding_size, tmp_path):
    architecture, task, batch = language_task(ModelOptions(cell, hidden_size=6, embedding_size=embedding_size))
    flat = np.random.default_rng(3).normal(0, 0.5, count_parameters(architecture.specs()))
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(architecture, task, flat))
    module = Module(architecture).double()
    weights = {name: torch.from_numpy(view) for name, view in named_views(architecture.specs(), flat).items()}
    module.load_state_dict(weights, strict=True)
    ((_, outputs),), _ = module(batch)
    text = "the quick brown fox\n" * 3
    expected = mean_loss(outputs, batch, "softmax").item()
    assert load_model(tmp_path / "best.safetensors").score(text) == pytest.approx(expected, abs=1e-10)


@cells
def test_a_single_step_from_the_zero_state_equals_the_equations_of_the_cell(cell):
    """The equations are written with PyTorch's functions."""
    architecture = Architecture(cell=cell, hidden_size=4, input_size=2, output_size=2)
    specs = architecture.specs()
    flat = np.random.default_rng(5).normal(0, 0.5, count_parameters(specs))
    named = {name: torch.from_numpy(view) for name, view in named_views(specs, flat).items()}
    a = named["rnn.weight_ih_l0"][:, 1] + named["rnn.bias_ih_l0"]
    b = named["rnn.bias_hh_l0"]
    if cell == "rnn":
        h = torch.tanh(a + b)
    elif cell == "lstm":
        i, _, g, o = (a + b).chunk(4)
        h = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g))
    else:
        a_r, a_z, a_n = a.chunk(3)
        b_r, b_z, b_n = b.chunk(3)
        r = torch.sigmoid(a_r + b_r)
        z = torch.sigmoid(a_z + b_z)
        h = (1 - z) * torch.tanh(a_n + r * b_n)
    expected = (named["head.weight"] @ h + named["head.bias"]).numpy()
    network = Network(architecture, flat, 3, 1)
    x = np.ones((1, 3), int)
    hidden = network.forward_hidden(Batch(x, x), np.zeros(architecture.state_shape(3)))
    np.testing.assert_allclose(network.head_outputs(hidden, None), np.tile(expected, (3, 1)), rtol=0, atol=1e-12)
