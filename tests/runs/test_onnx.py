"""ONNX files, computed by onnxruntime: for every cell and task what the engine says, by what the file says alone."""

import json
from itertools import pairwise

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.corpus.numbers import Standard, Table
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import StorageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.models.sampling import choose
from charrnn.nn.parameters import count_parameters, flatten, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions, RunConfig, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.caption.task import CaptionCoding, Captioner
from charrnn.tasks.classify.model import Classes, Classifier
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.records import Pair
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster
from charrnn.tasks.tag.model import Tagger, Tags
from charrnn.tasks.translate.model import Pairs, Translator

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
from charrnn.runs.onnx import ports, save_onnx  # noqa: E402 - where onnx is

D, H = 3, 9
LIVELY = SamplingOptions(temperature=1.5)
TEXT = RunConfig.from_options([], {"task": "tag", "delay": 2}).text
PAIRS = [Pair("abcde", "no"), Pair("badce", "yes"), Pair("ccabd", "no")]


def checkpoint(task, architecture, dtype=np.float32):
    """Random weights, large enough that outputs are far from each other."""
    specs = architecture.specs()
    named = named_views(specs, np.random.default_rng(5).normal(0, 0.8, count_parameters(specs)).astype(dtype))
    if architecture.direct_size:
        named["direct.weight"][0] = 0  # of none
    return Checkpoint(architecture, task, named)


def language(cell="lstm", num_layers=2, embedding_size=0, is_bytes=False, lines=False):
    vocabulary = Vocabulary(np.array(sorted(map(ord, "\nabcdeé")), np.uint32), is_bytes)
    size = len(vocabulary)
    shape = {"cell": cell, "hidden_size": H, "num_layers": num_layers, "embedding_size": embedding_size}
    task = {"name": "lm", **vocabulary.to_dict(), "lines": lines}
    return checkpoint(task, Architecture(**shape, input_size=size, output_size=size))


class Exported:
    """A file as a program of another language would use it: by its inputs, outputs and metadata."""

    def __init__(self, path, checkpoint):
        save_onnx(path, checkpoint)
        onnx.checker.check_model(str(path), full_check=True)
        self.session = onnxruntime.InferenceSession(path)
        about = self.session.get_modelmeta().custom_metadata_map
        self.about = {name: json.loads(text) for name, text in about.items()}
        self.states = [port for port in self.session.get_inputs() if port.name in "hc"]

    def zeros(self, streams):
        return [np.zeros((port.shape[0], streams, port.shape[2]), np.float32) for port in self.states]

    def __call__(self, first, state=None, **others):
        """ids (T, B) or rows (T, B, D), and a state -> outputs, and the state behind them."""
        state = self.zeros(first.shape[1]) if state is None else state
        given = {port.name: array for port, array in zip(self.states, state, strict=True)}
        outputs, *state = self.session.run(None, {self.session.get_inputs()[0].name: first} | given | others)
        return outputs, state

    def ids(self, text):
        return np.array([[self.about["task"]["vocabulary"].index(ord(c))] for c in text], np.int64)

    def draw(self, ids, length, seed, **others):
        """The text that follows, as the engine draws it with such a seed."""
        rng, written, state = np.random.default_rng(seed), [], None
        for _ in range(length):
            logits, state = self(ids, state, **others)
            written += choose(logits[-1], LIVELY, rng.random(1))[0].tolist()
            ids = np.array([written[-1:]])
        return "".join(chr(self.about["task"]["vocabulary"][i]) for i in written)


@pytest.fixture
def exported(tmp_path):
    return lambda checkpoint: Exported(tmp_path / "model.onnx", checkpoint)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
@pytest.mark.parametrize("is_bytes", [False, True], ids=["characters", "bytes"])
def test_outputs_and_states_equal_the_engine_s_at_once_and_piece_by_piece(
    cell, layers, embedding_size, is_bytes, exported
):
    model = language(cell, layers, embedding_size, is_bytes)
    file, rng, shape = exported(model), np.random.default_rng(layers), model.architecture
    flat = flatten(shape.specs(), model.weights)
    for steps, streams in ((6, 2), (1, 3)):
        ids = rng.integers(0, shape.input_size, (steps, streams))
        state = rng.normal(0, 0.5, shape.state_shape(streams)).astype(np.float32)
        parts = list(state.swapaxes(0, 1).copy())  # h, and c: (L, B, H) each
        network = Network(shape, flat, streams, steps)
        expected = network.head(network.hidden(Batch(ids, ids), state)).reshape(steps, streams, -1)
        logits, after = file(ids, parts)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(after, state.swapaxes(0, 1), rtol=0, atol=1e-5)
        pieces = []
        for start, stop in pairwise(sorted({0, min(1, steps), min(4, steps), steps})):
            logits, parts = file(ids[start:stop], parts)
            pieces.append(logits)
        np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(parts, after, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_metadata_are_enough_to_write_what_sample_writes(cell, lines, exported):
    model = language(cell, lines=lines)
    file = exported(model)
    assert file.about == {"task": model.task, "architecture": model.architecture.to_dict(), "start": 0}
    expected = "".join(TextModel(model).sample(length=20, seed=7, temperature=1.5))
    written = file.draw(np.array([[file.about["start"]]]), 20, 7)
    if lines:  # a record ends at its line feed
        written, expected = written.split("\n")[0], expected.split("\n")[0]
    assert written == expected and len(set(written)) > 1


def test_weights_in_double_precision_are_written_in_single(exported):
    model = language()
    double = Checkpoint(model.architecture, model.task, {n: w.astype(np.float64) for n, w in model.weights.items()})
    ids = np.array([[1], [2], [3]])
    np.testing.assert_array_equal(exported(double)(ids)[0], exported(model)(ids)[0])


def record_model(kind, pairs, **shape):
    coding = kind.of(pairs, TEXT)
    architecture = Architecture.of(ModelOptions(hidden_size=H, num_layers=2, **shape), **coding.sizes)
    return checkpoint({"name": kind.name, **coding.to_dict()}, architecture)


def test_a_classifier_says_the_probabilities_at_the_tab(exported):
    model = record_model(Classes, PAIRS, cell="gru")
    file = exported(model)
    logits, _ = file(file.ids("cab\t"))
    p = np.exp(logits[-1, 0] - logits[-1, 0].max())
    np.testing.assert_allclose(p / p.sum(), Classifier(model).probabilities(["cab"])[0], rtol=1e-5)
    assert file.about["task"]["labels"] == ["no", "yes"]


def test_a_tagger_says_each_tag_after_its_delay(exported):
    model = record_model(Tags, [Pair("abcde", "+-+.-"), Pair("badce", "..-++")], embedding_size=D)
    file = exported(model)
    task, width = file.about["task"], file.about["architecture"]["direct_at_once"]
    text, delay, features = "dabcebb", task["delay"], {}
    for length, its in enumerate(task["strings"], 1):  # each ends at a character, or 1 to its length behind it
        for n in range(0, len(its), length):
            for behind in range(min(length, delay) + 1):
                features[its[n : n + length], behind] = 1 + len(features)
    direct = np.zeros((len(text) + delay, 1, width), np.int64)
    for place in range(len(text)):
        for n, (length, behind) in enumerate(dict.fromkeys((len(its), behind) for its, behind in features)):
            string = ("\t" * length + text + "\t" * delay)[: length + place + 1 + behind][-length:]
            direct[place + delay, 0, n] = features.get((string, behind), 0)
    logits, _ = file(file.ids(text + "\t" * delay), direct=direct)
    tags = "".join(task["labels"][n] for n in logits[task["delay"] :, 0].argmax(axis=1))
    assert [tags] == Tagger(model).predict(["dabcebb"])


def test_a_translator_goes_on_behind_the_tab(exported):
    model = record_model(Pairs, [Pair("abcde", "edcba"), Pair("cab", "bac")])
    file = exported(model)
    sources, limit = ["badc", "a", "ddd"], 2 * model.task["longest"] + 10
    answers = [answer for answer, _ in Translator(model).draw(sources, LIVELY, 1)]
    assert [file.draw(file.ids(f"{s}\t"), limit, (1, k)).split("\n")[0] for k, s in enumerate(sources)] == answers
    assert len(set(answers)) == 3


def test_a_caption_begins_with_its_vector_where_the_id_is_minus_1(exported):
    vectors = np.random.default_rng(1).normal(7, 3, (3, 4))
    coding = CaptionCoding(Pairs.of(PAIRS, TEXT).vocabulary, Standard.of(vectors), 6)
    for embedding_size in (0, D):
        architecture = coding.architecture(ModelOptions(hidden_size=H, num_layers=2, embedding_size=embedding_size))
        model = checkpoint(coding.to_dict(), architecture)
        file = exported(model)
        expected = [text for text, _ in Captioner(model).write(vectors, LIVELY, [1, 2, 3])]
        drawn = [file.draw(np.array([[-1]]), 22, 1 + n, features=vectors[[n]]) for n in range(3)]
        assert [text.split("\n")[0] for text in drawn] == expected
        assert len(set(expected)) == 3
        # Streams may begin at different steps, each with its own vector.
        ids = np.array([[-1, 2], [3, -1], [4, 5]])
        logits, _ = file(ids, features=vectors[:2])
        alone, _ = file(ids[:, :1], features=vectors[:1])
        np.testing.assert_allclose(logits[:, :1], alone, rtol=0, atol=1e-5)
        first, _ = file(ids[1:, 1:], file(ids[:1, 1:], features=vectors[1:2])[1], features=vectors[1:2])
        np.testing.assert_allclose(logits[1:, 1:], first, rtol=0, atol=1e-5)


@pytest.mark.parametrize("targets", [[], ["b"], ["c"]], ids=["next row", "target", "labels"])
def test_a_series_is_read_and_predicted_in_its_own_units_as_predict_does(targets, exported):
    cells = [[str(1.7e9 + n * 0.01), str(n * n % 7), "xy"[n % 3 == 0]] for n in range(9)]  # far from zero
    if targets != ["c"]:
        cells = [[*row[:2], "1"] for row in cells]
    table = Table("t.csv", ("a", "b", "c"), cells)
    columns = Columns.of([table], [9], targets)
    model = checkpoint({"name": "series", **columns.to_dict()}, columns.architecture(ModelOptions(hidden_size=H)))
    file, rows = exported(model), table.numbers(columns.inputs)
    outputs, state = file(rows[:, None])
    expected = Forecaster(model).predict(rows)
    if targets == ["c"]:
        assert [columns.labels[n] for n in outputs[:, 0].argmax(axis=1)] == expected
    else:
        unit = columns.output_scale.std
        np.testing.assert_allclose(outputs[:, 0] / unit, expected / unit, rtol=0, atol=1e-5)
    first, state = file(rows[:4, None])
    second, _ = file(rows[4:, None], state)
    np.testing.assert_allclose(np.concatenate([first, second]), outputs, rtol=1e-15, atol=1e-5)


def test_ports_have_names_types_and_shapes(tmp_path):
    model = language("lstm", num_layers=2)
    graph = save_onnx(tmp_path / "model.onnx", model).graph
    state = {"type": "float32", "shape": [2, "B", H]}
    assert ports(graph.input) == [
        {"name": "ids", "type": "int64", "shape": ["T", "B"]},
        {"name": "h"} | state,
        {"name": "c"} | state,
    ]
    assert ports(graph.output) == [
        {"name": "logits", "type": "float32", "shape": ["T", "B", 7]},
        {"name": "next_h"} | state,
        {"name": "next_c"} | state,
    ]


def test_a_network_that_no_onnx_file_can_hold_is_refused(tmp_path):
    large = Architecture(hidden_size=16384, input_size=7, output_size=7)
    with pytest.raises(StorageError, match="weights of 4,297,785,372 bytes"):
        save_onnx(tmp_path / "model.onnx", Checkpoint(large, {"name": "lm"}, {}))
    assert not list(tmp_path.iterdir())
