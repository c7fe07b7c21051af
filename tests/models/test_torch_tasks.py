"""PyTorch as the judge of the other topologies: the same records, one a stream, give the same outputs and gradients.

Skipped where PyTorch is not installed.
"""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.corpus.numbers import Standard, Table
from charrnn.corpus.windows import WindowPass, Windows
from charrnn.models.architecture import Architecture
from charrnn.models.network import DIRECT_SHARE, Network
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions, RunConfig
from charrnn.tasks.caption.task import Caption, CaptionCoding
from charrnn.tasks.classify.model import Classes
from charrnn.tasks.records import Pair
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.sequences import SequencePass
from charrnn.tasks.tag.model import Tags
from charrnn.tasks.translate.model import Pairs

torch = pytest.importorskip("torch")

LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
cells = pytest.mark.parametrize("cell", CELLS)


class Module(torch.nn.Module):
    """The same model as anyone would write it in PyTorch, its parameters by charrnn's names."""

    def __init__(self, shape):
        super().__init__()
        width = shape.embedding_size or shape.input_size
        if shape.embedding_size:
            self.embedding = torch.nn.Embedding(shape.input_size, width)
        self.rnn = LAYERS[shape.cell](width, shape.hidden_size, shape.num_layers)
        self.head = torch.nn.Linear(shape.hidden_size, shape.output_size)
        if shape.features:
            self.features = torch.nn.Linear(shape.features, width)
        if shape.direct_size:
            self.direct = torch.nn.EmbeddingBag(shape.direct_size, shape.output_size, mode="sum", padding_idx=0)
        self.shape = shape

    def forward(self, batch):
        """The outputs (T, B, V) of the network, and of direct features, if there are any."""
        x = torch.from_numpy(batch.x)
        if self.shape.input == "ids":
            one_hot = torch.nn.functional.one_hot
            x = self.embedding(x.long()) if self.shape.embedding_size else one_hot(x.long(), self.shape.input_size)
        x = x.double()
        if batch.features is not None:
            x = torch.cat([self.features(torch.from_numpy(batch.features).double())[None], x[1:]])
        outputs = [self.head(self.rnn(x)[0])]
        if batch.direct is not None:
            bags = torch.from_numpy(batch.direct.astype(np.int64)).flatten(0, 1)
            outputs.append(self.direct(bags).reshape(outputs[0].shape))
        return outputs


def loss_of(outputs, batch, shape):
    """The weighted mean, by PyTorch's own losses."""
    weights = torch.from_numpy(batch.weights)
    if shape.loss == "squared":
        losses = 0.5 * (outputs - torch.from_numpy(batch.targets).double()).square().mean(dim=2)
    else:
        targets = torch.from_numpy(batch.targets.astype(np.int64)).reshape(-1)
        losses = torch.nn.functional.cross_entropy(outputs.reshape(len(targets), -1), targets, reduction="none")
        losses = losses.reshape(weights.shape)
    return (losses * weights).sum() / weights.sum()


def one_a_stream(records, longest):
    """A batch of records side by side, each with a window of its own."""
    windows = Windows(records, longest)
    assert windows.number == len(records), "each fills more than half of its window"
    return WindowPass(windows, len(records)).batch(0)


TEXT = RunConfig.from_options([], {"task": "tag", "delay": 2}).text
SOURCES = ["abcde", "badce", "ccabd"]


def case(name):
    """(architecture, batch) of a small example of a task."""
    model = ModelOptions(hidden_size=4, num_layers=2, embedding_size=3 if name == "translate" else 0)
    if name == "features":
        texts = ["abc", "bad", "cab"]
        vectors = np.random.default_rng(1).standard_normal((3, 5))
        coding = CaptionCoding(Pairs.of([Pair("a", "bcd")], TEXT).vocabulary, Standard.of(vectors), 3)
        records = coding.records([Caption(n, text) for n, text in enumerate(texts)], vectors)
        return coding.architecture(model), one_a_stream(records, 4)
    if name.startswith("series"):
        cells = [[str(n), str(n * n % 7), "xy"[n % 3 == 0]] for n in range(9)]
        table = Table(
            "t.csv", ("a", "b", "c"), cells if name == "series of labels" else [[*row[:2], "1"] for row in cells]
        )
        targets = {"series": [], "series with a target": ["b"], "series of labels": ["c"]}[name]
        columns = Columns.of([table], [9], targets)
        records = columns.records([table, table], [slice(3, None), slice(None)])
        return columns.architecture(model), replace(SequencePass(records, 2, 20).batch(0), keep=None)
    outputs = {"classify": ["no", "yes", "no"], "tag": [".-.-.", "-....", "...--"], "translate": ["ab", "cd", "ba"]}
    pairs = [Pair(source, output) for source, output in zip(SOURCES, outputs[name], strict=True)]
    coding = {"classify": Classes, "tag": Tags, "translate": Pairs}[name].of(pairs, TEXT)
    records = coding.records(pairs)
    return Architecture.of(model, **coding.sizes), one_a_stream(records, int(records.lengths.max()))


@cells
@pytest.mark.parametrize(
    "name", ["classify", "tag", "translate", "features", "series", "series with a target", "series of labels"]
)
def test_outputs_loss_and_gradients_equal_pytorch_s(cell, name):
    architecture, batch = case(name)
    weights = np.ones(batch.x.shape[:2]) if batch.weights is None else batch.weights.astype(float)
    architecture, batch = replace(architecture, cell=cell), replace(batch, keep=None, weights=weights)
    specs = architecture.specs()
    flat = np.random.default_rng(3).normal(0, 0.5, count_parameters(specs))
    if architecture.direct_size:
        named_views(specs, flat)["direct.weight"][0] = 0
    grads = np.full_like(flat, np.nan)
    streams = batch.x.shape[1]
    network, zero = (
        Network(architecture, flat, streams, len(batch.x), grads),
        np.zeros(architecture.state_shape(streams)),
    )
    module = Module(architecture).double()
    module.load_state_dict({n: torch.from_numpy(view) for n, view in named_views(specs, flat).items()}, strict=True)
    outputs = module(batch)
    shares = [1 - DIRECT_SHARE, DIRECT_SHARE] if architecture.direct_size else [1]
    expected = sum(share * loss_of(its, batch, architecture) for share, its in zip(shares, outputs, strict=True))
    expected.backward()
    loss = network.loss_and_gradient(batch, zero.copy(), 1 / batch.scored)
    assert loss == pytest.approx(expected.item(), abs=1e-10)
    mean = sum(share * its for share, its in zip(shares, outputs, strict=True))
    theirs = mean.detach().numpy().reshape(-1, architecture.output_size)
    for rows, _, ours in network.outputs(batch, zero.copy()):
        np.testing.assert_allclose(ours, theirs[rows], rtol=0, atol=1e-10)
    theirs = dict(module.named_parameters())
    for name, gradient in named_views(specs, grads).items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


@cells
def test_records_of_one_step_are_the_feed_forward_network_that_they_are(cell):
    """One to one: a step from the zero state, against the cell's equations written out with PyTorch's functions."""
    records = Classes.of([Pair("", "no"), Pair("a", "yes")], TEXT).records([Pair("", "no")] * 3)
    assert records.lengths.tolist() == [1, 1, 1]
    batch = WindowPass(Windows(records, 1), 3).batch(0)
    architecture = Architecture(cell=cell, hidden_size=4, input_size=2, output_size=2)
    specs = architecture.specs()
    flat = np.random.default_rng(5).normal(0, 0.5, count_parameters(specs))
    named = {name: torch.from_numpy(view) for name, view in named_views(specs, flat).items()}
    a = named["rnn.weight_ih_l0"][:, int(batch.x[0, 0])] + named["rnn.bias_ih_l0"]
    b = named["rnn.bias_hh_l0"]
    if cell == "rnn":
        h = torch.tanh(a + b)
    elif cell == "lstm":
        i, _, g, o = (a + b).chunk(4)
        h = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g))
    else:
        (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
        h = (1 - torch.sigmoid(az + bz)) * torch.tanh(an + torch.sigmoid(ar + br) * bn)
    expected = (named["head.weight"] @ h + named["head.bias"]).numpy()
    network = Network(architecture, flat, 3, 1)
    outputs = network.head(network.hidden(batch, np.zeros(architecture.state_shape(3))))
    np.testing.assert_allclose(outputs, np.tile(expected, (3, 1)), rtol=0, atol=1e-12)
