"""PyTorch as the judge: the same weights give the same outputs and gradients, and its modules load our files.

Skipped where PyTorch is not installed.
"""

import numpy as np
import pytest

import charrnn
from charrnn.corpus.batch import Batch
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.training.start import new_run

torch = pytest.importorskip("torch")

B, T, D, H, V = 2, 5, 3, 4, 7
LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

cells = pytest.mark.parametrize("cell", CELLS)
layer_counts = pytest.mark.parametrize("layers", [1, 2, 3])
embeddings = pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
precisions = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])


class CharRNN(torch.nn.Module):
    """What anyone would write who wants to use a checkpoint in PyTorch."""

    def __init__(self, cell, hidden_size, layers, embedding_size, vocabulary_size):
        super().__init__()
        self.vocabulary_size = vocabulary_size
        if embedding_size:
            self.embedding = torch.nn.Embedding(vocabulary_size, embedding_size)
        self.rnn = LAYERS[cell](embedding_size or vocabulary_size, hidden_size, layers)
        self.head = torch.nn.Linear(hidden_size, vocabulary_size)

    def forward(self, ids, state):
        x = (
            self.embedding(ids)
            if hasattr(self, "embedding")
            else torch.nn.functional.one_hot(ids, self.vocabulary_size)
        )
        y, state = self.rnn(x.to(self.head.weight.dtype), state)
        return self.head(y), state


class Pair:
    """Our model and PyTorch's, with the same weights, batch and non-zero state."""

    def __init__(self, cell, layers, embedding_size, dtype):
        rng = np.random.default_rng(layers)
        shape = {"cell": cell, "hidden_size": H, "num_layers": layers, "embedding_size": embedding_size}
        architecture = Architecture(**shape, input_size=V, output_size=V)
        specs = architecture.specs()
        flat = rng.normal(0, 0.5, count_parameters(specs)).astype(dtype)
        self.grads = np.full_like(flat, np.nan)
        self.ours = Network(architecture, flat, B, T, self.grads)
        self.named_grads = named_views(specs, self.grads)
        self.theirs = CharRNN(cell, H, layers, embedding_size, V).to(torch.from_numpy(flat).dtype)
        weights = {name: torch.from_numpy(view) for name, view in named_views(specs, flat).items()}
        self.theirs.load_state_dict(weights, strict=True)
        self.x, self.targets = rng.integers(0, V, (2, T, B))
        self.state = rng.normal(0, 0.5, architecture.state_shape(B)).astype(dtype)

    def torch_state(self):
        parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in self.state.swapaxes(0, 1)]
        return tuple(parts) if len(parts) > 1 else parts[0]


@cells
@layer_counts
@embeddings
@precisions
def test_outputs_and_final_state_equal_pytorch_s(cell, layers, embedding_size, dtype, tolerance):
    pair = Pair(cell, layers, embedding_size, dtype)
    state = pair.state.copy()
    logits = pair.ours.head(pair.ours.hidden(Batch(pair.x, pair.targets), state)).reshape(T, B, V)
    expected, final = pair.theirs(torch.from_numpy(pair.x), pair.torch_state())
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=0, atol=tolerance)
    parts = final if isinstance(final, tuple) else (final,)
    np.testing.assert_allclose(state.swapaxes(0, 1), torch.stack(parts).detach().numpy(), rtol=0, atol=tolerance)


@cells
@layer_counts
@embeddings
@precisions
def test_loss_and_gradients_equal_pytorch_s(cell, layers, embedding_size, dtype, tolerance):
    pair = Pair(cell, layers, embedding_size, dtype)
    loss = pair.ours.loss_and_gradient(Batch(pair.x, pair.targets), pair.state.copy(), 1 / (T * B))
    logits, _ = pair.theirs(torch.from_numpy(pair.x), pair.torch_state())
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.from_numpy(pair.targets).reshape(-1))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=tolerance)
    theirs = {name: p.grad.numpy() for name, p in pair.theirs.named_parameters()}
    assert set(theirs) == set(pair.named_grads)
    for name, gradient in pair.named_grads.items():
        np.testing.assert_allclose(gradient, theirs[name], rtol=0, atol=tolerance, err_msg=name)


@cells
@embeddings
def test_the_weights_of_best_safetensors_load_strictly_and_give_the_same_text_loss(cell, embedding_size, tmp_path):
    from safetensors.torch import load_file

    (tmp_path / "corpus.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 9)
    config = RunConfig(
        (str(tmp_path / "corpus.txt"),),
        ModelOptions(cell=cell, hidden_size=6, num_layers=2, embedding_size=embedding_size),
        DataOptions(),
        TrainingOptions(max_steps=3, batch_size=4, seq_length=8, workers=1),
    )
    list(new_run(tmp_path / "run", config).run())
    model = charrnn.load(tmp_path / "run")
    module = CharRNN(cell, 6, 2, embedding_size, len(model.vocabulary))
    module.load_state_dict(load_file(tmp_path / "run" / "best.safetensors"), strict=True)
    ids = torch.from_numpy(model.started(model.vocabulary.encode("The dog jumps.")).astype(np.int64))
    logits, _ = module(ids[:-1, None], None)
    expected = torch.nn.functional.cross_entropy(logits[:, 0], ids[1:]).item()
    assert model.score("The dog jumps.") == pytest.approx(expected, abs=1e-5)
