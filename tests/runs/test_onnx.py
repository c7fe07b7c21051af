"""ONNX export: for every cell and task, onnxruntime computes the outputs of the engine from the file alone."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.pairs import join_sources
from charrnn.corpus.tables import read_table
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import StorageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import Network
from charrnn.models.sampling import choose
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions, ModelOptions, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.classify.coding import LabelCoding
from charrnn.tasks.classify.model import Classifier
from charrnn.tasks.encoder_decoder.matrices import Matrix
from charrnn.tasks.encoder_decoder.symbols import END, Symbols
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.records import Pair
from charrnn.tasks.series.columns import Columns
from charrnn.tasks.series.model import Forecaster
from charrnn.tasks.tag.coding import TagCoding
from charrnn.tasks.tag.model import Tagger
from charrnn.tasks.transcribe.coding import TranscriptCoding
from charrnn.tasks.transcribe.model import Transcriber
from charrnn.tasks.translate.coding import TextPairCoding
from charrnn.tasks.translate.model import Translator

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
from charrnn.runs.onnx import ports, save_onnx, to_onnx  # noqa: E402 - it imports onnx

D = 3
H = 9
RANDOM = SamplingOptions(temperature=1.5)
DATA = DataOptions(task="tag", delay=2)
README = (Path(__file__).parents[2] / "charrnn" / "runs" / "README.md").read_text()
PAIRS = [Pair("abcde", "no"), Pair("badce", "yes"), Pair("ccabd", "no")]


def make_checkpoint(task, architecture, scale=0.8):
    """Random weights, large enough for outputs that differ clearly."""
    specs = architecture.specs()
    parameters = np.random.default_rng(5).normal(0, scale, count_parameters(specs)).astype(np.float32)
    if architecture.ngram_size:
        named_views(specs, parameters)["ngrams.weight"][0] = 0  # n-gram 0 means none
    return Checkpoint(architecture, task, parameters)


def language_model(cell="lstm", num_layers=2, embedding_size=0, is_bytes=False, lines=False):
    vocabulary = Vocabulary(np.array(sorted(map(ord, "\nabcdeé")), np.uint32), is_bytes)
    model = ModelOptions(cell=cell, hidden_size=H, num_layers=num_layers, embedding_size=embedding_size)
    size = len(vocabulary)
    architecture = Architecture.from_options(model, input_size=size, output_size=size)
    return make_checkpoint({"name": "lm", **vocabulary.to_dict(), "lines": lines}, architecture)


def record_model(coding_class, pairs, **model):
    coding = coding_class.from_records(pairs, DATA)
    architecture = Architecture.from_options(ModelOptions(hidden_size=H, num_layers=2, **model), **coding.sizes)
    return make_checkpoint({"name": coding.name, **coding.to_dict()}, architecture)


class ExportedModel:
    """A file as a program in another language uses it: with its inputs, outputs and metadata only."""

    def __init__(self, path, checkpoint):
        save_onnx(path, checkpoint)
        onnx.checker.check_model(str(path), full_check=True)
        self.session = onnxruntime.InferenceSession(path)
        entries = self.session.get_modelmeta().custom_metadata_map
        self.metadata = {name: json.loads(text) for name, text in entries.items()}
        self.state_ports = [port for port in self.session.get_inputs() if port.name in ("h", "c")]

    def zero_state(self, streams):
        return [np.zeros((port.shape[0], streams, port.shape[2]), np.float32) for port in self.state_ports]

    def run(self, first_input, state=None, **other_inputs):
        """ids (T, B) or rows (T, B, D), and a state -> outputs, and the next state."""
        if state is None:
            state = self.zero_state(first_input.shape[1])
        states = {port.name: array for port, array in zip(self.state_ports, state, strict=True)}
        first_name = self.session.get_inputs()[0].name
        outputs, *next_state = self.session.run(None, {first_name: first_input} | states | other_inputs)
        return outputs, next_state

    def ids(self, text):
        codes = self.metadata["task"]["vocabulary"]
        return np.array([[codes.index(ord(character))] for character in text], np.int64)

    def draw(self, ids, length, seed, **other_inputs):
        """The text that follows, drawn like the engine draws it with this seed."""
        rng = np.random.default_rng(seed)
        drawn = []
        state = None
        for _ in range(length):
            logits, state = self.run(ids, state, **other_inputs)
            chosen, _ = choose(logits[-1], RANDOM, rng.random(1))
            drawn.append(int(chosen[0]))
            ids = np.array([drawn[-1:]])
        return "".join(chr(self.metadata["task"]["vocabulary"][i]) for i in drawn)


@pytest.fixture
def export(tmp_path):
    return lambda checkpoint: ExportedModel(tmp_path / "model.onnx", checkpoint)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
@pytest.mark.parametrize("is_bytes", [False, True], ids=["characters", "bytes"])
def test_outputs_and_states_equal_the_engines_for_whole_and_for_split_sequences(
    cell, layers, embedding_size, is_bytes, export
):
    checkpoint = language_model(cell, layers, embedding_size, is_bytes)
    architecture = checkpoint.architecture
    exported = export(checkpoint)
    rng = np.random.default_rng(layers)
    for steps, streams in ((6, 2), (1, 3)):
        ids = rng.integers(0, architecture.input_size, (steps, streams))
        state = rng.normal(0, 0.5, architecture.state_shape(streams)).astype(np.float32)
        first_state = list(state.swapaxes(0, 1).copy())  # h, and c of an LSTM: (L, B, H) each
        network = Network(architecture, checkpoint.parameters, streams, steps)
        hidden = network.forward_hidden(Batch(ids, ids), state)
        expected = network.head_outputs(hidden, None).reshape(steps, streams, -1)

        logits, next_state = exported.run(ids, first_state)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(next_state, state.swapaxes(0, 1), rtol=0, atol=1e-5)

        pieces = []
        piece_state = first_state
        for start, stop in pairwise(sorted({0, min(1, steps), min(4, steps), steps})):
            logits, piece_state = exported.run(ids[start:stop], piece_state)
            pieces.append(logits)
        np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(piece_state, next_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_metadata_of_a_language_model_suffice_to_write_the_text_that_sample_writes(cell, lines, export):
    checkpoint = language_model(cell, lines=lines)
    exported = export(checkpoint)
    assert exported.metadata == {
        "task": checkpoint.task,
        "architecture": checkpoint.architecture.to_dict(),
        "start": 0,
    }
    expected = "".join(TextModel(checkpoint).sample(length=20, seed=7, temperature=1.5))
    drawn = exported.draw(np.array([[exported.metadata["start"]]]), 20, 7)
    if lines:  # a line ends at its line feed
        drawn = drawn.split("\n")[0]
        expected = expected.split("\n")[0]
    assert drawn == expected
    assert len(set(drawn)) > 1


def test_weights_in_double_precision_are_exported_in_single_precision(export):
    checkpoint = language_model()
    double = replace(checkpoint, parameters=checkpoint.parameters.astype(np.float64))
    ids = np.array([[1], [2], [3]])
    np.testing.assert_array_equal(export(double).run(ids)[0], export(checkpoint).run(ids)[0])


def test_the_checkpoint_is_not_changed_by_an_export(export):
    checkpoint = record_model(TagCoding, [Pair("abcde", "+-+.-"), Pair("badce", "..-++")])
    before = checkpoint.parameters.copy()
    export(checkpoint)
    np.testing.assert_array_equal(checkpoint.parameters, before)


def test_a_classifier_has_the_probabilities_of_the_labels_at_the_tab(export):
    checkpoint = record_model(LabelCoding, PAIRS, cell="gru")
    exported = export(checkpoint)
    logits, _ = exported.run(exported.ids("cab\t"))
    p = np.exp(logits[-1, 0] - logits[-1, 0].max())
    np.testing.assert_allclose(p / p.sum(), Classifier(checkpoint).probabilities(["cab"])[0], rtol=1e-5)
    assert exported.metadata["task"]["labels"] == ["no", "yes"]


@pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("delay", [0, 2, 5])
def test_the_program_for_a_tagger_writes_the_most_likely_tags(
    cell, embedding_size, delay, tmp_path, monkeypatch, capsys
):
    letters = "abnrtiul"
    pairs = [Pair("banatrailun"[n:], "+-.+-..-+.-"[n:]) for n in range(6)] * 3
    coding = TagCoding.from_records(pairs, DataOptions(task="tag", delay=delay))
    architecture = Architecture.from_options(
        ModelOptions(cell=cell, hidden_size=H, embedding_size=embedding_size), **coding.sizes
    )
    checkpoint = make_checkpoint({"name": "tag", **coding.to_dict()}, architecture)
    monkeypatch.chdir(tmp_path)
    ExportedModel(Path("tagger.onnx"), checkpoint)
    text = README.partition("## The ONNX file of a tagger\n")[2]
    variables = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], variables)
    tagger = Tagger(checkpoint)
    words = ["bana", "trailun"]
    expected = "".join(f"{word}\t{tags}\n" for word, tags in zip(words, tagger.tag(words), strict=True))
    assert capsys.readouterr().out == expected
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list(letters), length)) for length in (1, 2, 3, 9, 20)]
    assert [variables["tags_of"](text) for text in texts] == tagger.tag(texts)
    read = coding.records([Pair(text, "+" * len(text)) for text in texts]).x
    assert read.max() >= len(coding.vocabulary), "some steps read a symbol of several characters"


@pytest.mark.parametrize(
    ("targets", "history"),
    [([], True), (["b"], True), (["b"], False), (["c"], False)],
    ids=["next row", "target with history", "target", "labels"],
)
def test_a_series_has_rows_and_predictions_in_their_own_units(targets, history, export, tmp_path):
    third_column = ["y" if n % 3 == 0 else "x" for n in range(9)] if targets == ["c"] else ["1"] * 9
    # Column a is far from zero and varies little.
    lines = [f"{1.7e9 + n * n % 5 * 0.01},{n * n % 7},{third_column[n]}\n" for n in range(9)]
    (tmp_path / "t.csv").write_text("".join(["a,b,c\n", *lines]))
    table = read_table(str(tmp_path / "t.csv"), [], keep_texts=["c"])
    columns = Columns.from_tables([table], [9], table.names, targets, history=history)
    architecture = columns.architecture(ModelOptions(hidden_size=H))
    checkpoint = make_checkpoint({"name": "series", **columns.to_dict()}, architecture)
    exported = export(checkpoint)
    rows = table.numbers(columns.inputs)
    expected = Forecaster(checkpoint).predict_rows(rows)
    if history and targets:  # a step reads the other columns of a row and the target of the row before
        rows = np.concatenate([rows[1:, :2], rows[:-1, 2:]], axis=1)
        expected = expected[1:]
    outputs, _ = exported.run(rows[:, None])
    if targets == ["c"]:
        assert [columns.labels[n] for n in outputs[:, 0].argmax(axis=1)] == expected
    else:
        unit = columns.output_scale.std
        np.testing.assert_allclose(outputs[:, 0] / unit, expected / unit, rtol=0, atol=1e-5)
    first, state = exported.run(rows[:4, None])
    second, _ = exported.run(rows[4:, None], state)
    np.testing.assert_allclose(np.concatenate([first, second]), outputs, rtol=1e-15, atol=1e-5)


def test_ports_are_described_by_name_type_and_shape(tmp_path):
    path = tmp_path / "model.onnx"
    graph = save_onnx(path, language_model("lstm", num_layers=2))[path].graph
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


def test_a_network_that_is_too_large_for_an_onnx_file_is_refused(tmp_path):
    architecture = Architecture(hidden_size=16384, input_size=7, output_size=7)
    with pytest.raises(StorageError, match="4,297,785,372 bytes"):
        save_onnx(tmp_path / "model.onnx", Checkpoint(architecture, {"name": "lm"}, np.empty(0)))
    assert not list(tmp_path.iterdir())


def source_model(coding, scale=0.5, **model):
    """scale: of the weights. With large weights a vanilla RNN amplifies rounding errors; with small ones the targets of
    different sources are the same."""
    architecture = coding.architecture(ModelOptions(hidden_size=H, **model))
    return make_checkpoint({"name": coding.name, **coding.to_dict()}, architecture, scale)


def translator(**model):
    coding = TextPairCoding(Symbols(tuple("abcd")), Symbols(tuple("vwxyz")), 5)
    return source_model(coding, **model)


def transcriber(subsample=1, **model):
    scale = Standardizer(np.array([1.7e6, -3.0]), np.array([0.5, 40.0]))
    return source_model(TranscriptCoding(scale, subsample, Symbols(tuple("vwxyz")), 5), **model)


class ExportedPair:
    """The files of an encoder and a decoder as a program in another language uses them."""

    def __init__(self, path, checkpoint):
        files = list(save_onnx(path, checkpoint))
        assert [file.name for file in files] == ["model.encoder.onnx", "model.decoder.onnx"]
        for file in files:
            onnx.checker.check_model(str(file), full_check=True)
        self.encoder, self.decoder = map(onnxruntime.InferenceSession, files)

    def run(self, session, inputs):
        """inputs: by name. Returns the outputs by name."""
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def encode(self, name, sources):
        """sources: one array for each stream, (S,) or (S, D). name: of the input that reads them."""
        lengths = np.array([len(source) for source in sources])
        x = np.full((lengths.max(), len(sources), *sources[0].shape[1:]), 1, sources[0].dtype)
        for stream, source in enumerate(sources):
            x[: len(source), stream] = source
        return self.run(self.encoder, {name: x, "lengths": lengths})

    def decode(self, ids, memory, states):
        """ids: (T, B). memory: the inputs that all steps share. states: h, and c of an LSTM."""
        outputs = self.run(self.decoder, {"ids": ids} | memory | states)
        next_states = {name: outputs.pop(f"next_{name}") for name in states}
        return outputs, next_states


def check_pair(checkpoint, name, sources, encoded, path):
    """Compares all outputs of the exported graphs with those of the network, for unequal lengths.

    sources: what the encoder's graph reads. encoded: what the network reads.
    """
    architecture = checkpoint.architecture
    streams = len(sources)
    steps = 5
    ids = np.random.default_rng(1).integers(0, architecture.output_size, (steps, streams))
    source = join_sources(encoded, streams)
    network = Network(architecture, checkpoint.parameters, streams, steps, source_length=len(source.x))
    state = np.zeros(architecture.state_shape(streams), np.float32)
    memory = network.encode(source, state).copy()
    first_state = state.copy()
    hidden = network.forward_hidden(Batch(ids, ids, source=source), state)
    expected = network.head_outputs(hidden, None).reshape(steps, streams, -1)

    def assert_equal(actual, desired):
        np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-5)

    exported = ExportedPair(path, checkpoint)
    states = exported.encode(name, sources)
    shared = {}
    if architecture.attends:
        shared = {"memory": states.pop("memory"), "lengths": source.lengths}
        for stream, length in enumerate(source.lengths):  # the sources of the network end at the last step
            assert_equal(shared["memory"][stream, :length], memory[len(memory) - length :, stream])
    assert_equal(np.stack(list(states.values()), axis=1), first_state)
    outputs, next_states = exported.decode(ids, shared, states)
    assert_equal(outputs["logits"], expected)
    assert_equal(np.stack(list(next_states.values()), axis=1), state)
    assert set(outputs) == ({"logits", "alignment"} if architecture.attends else {"logits"})
    if architecture.attends:
        alignment = network.attention.alignment  # (B, T, S)
        for stream, length in enumerate(source.lengths):
            assert_equal(outputs["alignment"][stream, :, :length], alignment[stream, :, len(memory) - length :])
            assert not outputs["alignment"][stream, :, length:].any()
    for step in range(steps):
        outputs, states = exported.decode(ids[[step]], shared, states)
        assert_equal(outputs["logits"][0], expected[step])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attention", [False, True], ids=["no attention", "attention"])
@pytest.mark.parametrize("embedding_size", [0, D], ids=["one-hot", "embedding"])
def test_encoder_and_decoder_of_a_translator_equal_the_engine(cell, layers, attention, embedding_size, tmp_path):
    checkpoint = translator(cell=cell, num_layers=layers, attention=attention, embedding_size=embedding_size)
    rng = np.random.default_rng(layers)
    sources = [np.append(rng.integers(1, 5, length), END) for length in (3, 6, 0, 2)]
    check_pair(checkpoint, "ids", sources, [source.astype(np.uint32) for source in sources], tmp_path / "model.onnx")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", [False, True], ids=["no attention", "attention"])
@pytest.mark.parametrize("subsample", [1, 3])
def test_encoder_and_decoder_of_a_transcriber_read_rows_in_their_own_units(cell, attention, subsample, tmp_path):
    checkpoint = transcriber(subsample, cell=cell, num_layers=2, attention=attention, embedding_size=D)
    coding = TranscriptCoding.from_dict(checkpoint.task)
    rng = np.random.default_rng(subsample)
    matrices = [coding.scale.mean + coding.scale.std * rng.normal(size=(subsample * steps, 2)) for steps in (3, 1, 5)]
    sources = [matrix.reshape(-1, 2 * subsample) for matrix in matrices]
    encoded = [coding.encode_source(Matrix("a.npy", matrix)) for matrix in matrices]
    check_pair(checkpoint, "rows", sources, encoded, tmp_path / "model.onnx")


def test_encoder_and_decoder_have_the_metadata_of_the_checkpoint(tmp_path):
    checkpoint = translator()
    exported = ExportedPair(tmp_path / "model.onnx", checkpoint)
    for session in (exported.encoder, exported.decoder):
        metadata = session.get_modelmeta().custom_metadata_map
        assert {name: json.loads(text) for name, text in metadata.items()} == {
            "task": checkpoint.task,
            "architecture": checkpoint.architecture.to_dict(),
        }


def run_readme_program(number, path, checkpoint, monkeypatch, capsys):
    """Runs the program of README.md for an encoder and a decoder in a directory. Returns what it prints.

    number: of the last block: 1 for a translator, 2 for a transcriber.
    """
    monkeypatch.chdir(path)
    save_onnx(Path("model.onnx"), checkpoint)
    text = README.partition("## ONNX files of an encoder and a decoder\n")[2]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(blocks[0] + blocks[number], {})
    return capsys.readouterr().out.removesuffix("\n")


def most_likely(model, sources):
    return [target for [(target, _)] in model.rank(sources, beam=1)]


@pytest.mark.parametrize("separator", [None, " "], ids=["characters", "symbols"])
@pytest.mark.parametrize("attention", [False, True], ids=["no attention", "attention"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_program_for_a_translator_writes_the_most_likely_targets(
    cell, attention, separator, tmp_path, monkeypatch, capsys
):
    sources = ["3 May 2021", "12.11.98"]
    source = Symbols.from_texts(sources, separator)
    target = Symbols(tuple(ascii_lowercase), separator)
    checkpoint = source_model(TextPairCoding(source, target, 5), scale=0.7, cell=cell, attention=attention)
    expected = most_likely(Translator(checkpoint), sources)
    assert run_readme_program(1, tmp_path, checkpoint, monkeypatch, capsys) == str(expected)
    assert len(set(expected)) == 2


@pytest.mark.parametrize("subsample", [1, 3])
def test_the_program_for_a_transcriber_writes_the_most_likely_targets(subsample, tmp_path, monkeypatch, capsys):
    checkpoint = transcriber(subsample)
    coding = TranscriptCoding.from_dict(checkpoint.task)
    rng = np.random.default_rng(3)
    matrices = []
    for name, rows in (("first.npy", 10), ("second.npy", 5)):
        values = (coding.scale.mean + coding.scale.std * rng.normal(size=(rows, 2))).astype(np.float32)
        np.save(tmp_path / name, values)
        matrices.append(Matrix(name, values))
    expected = most_likely(Transcriber(checkpoint), matrices)
    assert run_readme_program(2, tmp_path, checkpoint, monkeypatch, capsys) == str(expected)
    assert len(set(expected)) == 2


def test_readme_lists_the_inputs_and_outputs_of_an_encoder_and_a_decoder():
    text = README.partition("## ONNX files of an encoder and a decoder\n")[2]
    models = [to_onnx(checkpoint) for checkpoint in (translator(), transcriber())]
    for side in ("input", "output"):
        for part in ("encoder", "decoder"):
            table = text.partition(f"| {side} of the {part} |")[2].partition("\n\n")[0]
            listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE)
            actual = [port for model in models for port in ports(getattr(model[part].graph, side))]
            assert set(listed) == {(port["name"], port["type"]) for port in actual}
