"""The specification of the file formats: its programs run, and its tables and examples list what the code writes."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import charrnn
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import FORMAT, load_checkpoint
from charrnn.runs.directory import Run
from charrnn.runs.reports import Metrics, Result, read_config
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import END
from charrnn.tasks.transcribe.matrices import read_matrix
from charrnn.training.start import new_run

ROOT = Path(__file__).parents[2]
README = (ROOT / "charrnn" / "runs" / "README.md").read_text()
TASK_OPTIONS = {
    "lm": ("fables.txt", {}),
    "classify": ("kinds.tsv", {"task": "classify"}),
    "tag": ("syllables.tsv", {"task": "tag", "embedding_size": 4}),
    "translate": ("dates.tsv", {"task": "translate"}),
    "caption": ("shapes.txt", {"features": str(ROOT / "data" / "shapes.csv")}),
    "series": ("season.csv", {"task": "series"}),
}
NO_ENCODER = [task for task in TASK_OPTIONS if task not in ("translate", "caption")]


def section(title):
    """The text below a heading, up to the next heading of the same or a higher level."""
    (level,) = re.findall(rf"^(#+) {re.escape(title)}$", README, re.MULTILINE)
    _, _, text = README.partition(f"{level} {title}\n")
    return re.split(rf"^#{{1,{len(level)}}} ", text, flags=re.MULTILINE)[0]


def table(title, column=0):
    """The names in a column of all tables of a section."""
    rows = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [row.strip("|").split("|")[column] for row in rows]
    return re.findall(r"`([^`]+)`", " ".join(cells))


def block(title, language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", section(title), re.DOTALL)
    return text


def train(task, path, **options):
    """A finished run of a few steps."""
    file, task_options = TASK_OPTIONS[task]
    budget = {"max_steps": 3, "hidden_size": 6, "workers": 1, "eval_every": 2}
    config = RunConfig.from_options([str(ROOT / "data" / file)], budget | task_options | options)
    for _ in new_run(path, config).run():
        pass
    return Run(path)


@pytest.fixture(scope="module")
def task_run(tmp_path_factory):
    """A finished run of a task."""
    folder = tmp_path_factory.mktemp("runs")
    return functools.cache(lambda task: train(task, folder / task))


@pytest.fixture
def language_run(task_run):
    return task_run("lm")


def test_the_table_of_the_run_directory_lists_all_files(language_run):
    optional = {"samples.jsonl", "logs.json", "live.html", "tensorboard/", "wandb/", "data/"}
    assert {path.name for path in language_run.path.iterdir()} == set(table("Run directory")) - optional


def test_the_example_of_a_configuration_is_valid_and_complete(tmp_path):
    (tmp_path / "config.json").write_text(block("config.json", "json"))
    values = json.loads(block("config.json", "json"))
    assert read_config(tmp_path / "config.json").to_dict() == values


def test_the_tables_of_metrics_and_result_list_all_values(language_run):
    assert table("metrics.jsonl") == Metrics.names()
    assert set(table("result.json")) == set(Result.names())
    first_line = language_run.metrics.read_text().splitlines()[0]
    assert list(json.loads(first_line)) == Metrics.names()
    assert list(json.loads(language_run.result.read_text())) == Result.names()


def test_the_tables_of_the_checkpoint_list_all_metadata(language_run):
    with safe_open(language_run.last, framework="numpy") as file:
        (entry,) = file.metadata().items()
    assert entry[0] == "charrnn"
    metadata = json.loads(entry[1])
    assert metadata["format"] == FORMAT
    assert f"| `format` | {FORMAT}, the number of this format" in README
    top_level = section("Checkpoints").partition("###")[0]
    assert re.findall(r"^\| `(\w+)`", top_level, re.MULTILINE) == list(metadata)
    assert table("architecture") == list(metadata["architecture"])
    assert table("training") == list(metadata["training"])
    assert set(load_checkpoint(language_run.best).training) == {"step"}


@pytest.mark.parametrize("task", TASK_OPTIONS)
def test_the_tables_list_the_metadata_and_the_tensors_of_each_task(task, task_run):
    run = task_run(task)
    checkpoint = load_checkpoint(run.last)
    (keys,) = re.findall(rf"^\| `{task}` \| (.*?) \|", section("task"), re.MULTILINE)
    assert ["name", *re.findall(r"`(\w+)`", keys)] == list(checkpoint.task)
    listed = table("Tensors")
    names = [re.sub("_l[0-9]+$", "_l0", name) for name in load_file(run.last)]
    assert set(names) <= set(listed)
    flat_order = [spec.name for spec in checkpoint.architecture.specs()]
    assert flat_order == [name for name in listed if name in flat_order], "the order of training.parameters"


def test_the_program_for_the_checksum_computes_the_checksum(language_run):
    names = {}
    exec(block("Checksum", "python"), names)
    for path in (language_run.best, language_run.last):
        with safe_open(path, framework="numpy") as file:
            expected = json.loads(file.metadata()["charrnn"])["sha256"]
        assert names["checksum"](path) == expected


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding_size", [0, 4])
def test_the_pytorch_module_computes_the_losses_of_the_model(cell, embedding_size, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    monkeypatch.chdir(tmp_path)
    options = {"cell": cell, "num_layers": 2, "embedding_size": embedding_size}
    run = train("lm", Path("runs/fables-001"), **options)
    names = {}
    exec(block("Weights in PyTorch", "python"), names)
    model = charrnn.load(run.path)
    ids = torch.from_numpy(model.prepend_start(model.vocabulary.encode("The Fox said nothing.")))[:, None]
    logits, _ = names["model"](ids[:-1])
    loss = torch.nn.functional.cross_entropy(logits[:, 0], ids[1:, 0])
    assert loss.item() == pytest.approx(model.score("The Fox said nothing."), abs=1e-5)


def test_the_additions_to_the_pytorch_module_hold_the_weights_of_each_task(task_run):
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    names = {}
    exec(block("Weights in PyTorch", "python").partition("\npath = ")[0], names)
    text = section("Weights in PyTorch")
    for task in NO_ENCODER:
        checkpoint = load_checkpoint(task_run(task).best)
        architecture = checkpoint.architecture.to_dict()
        module = names["LanguageModel"](**architecture)
        for attribute, expression in re.findall(rf"^- `{task}` adds `self\.(\w+) = (.*?)`", text, re.MULTILINE):
            setattr(module, attribute, eval(expression, {"nn": torch.nn, **architecture}))
        weights = {name: torch.tensor(weight) for name, weight in checkpoint.weights.items()}
        module.load_state_dict(weights, strict=True)


def check_encoder_decoder(run, pairs):
    """Compares the losses of pairs in one batch, computed by the module of README.md, with those of the model."""
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    pad = torch.nn.utils.rnn.pad_sequence
    names = {}
    exec(block("Encoder and decoder in PyTorch", "python"), names)
    model = charrnn.load(run.path)
    records = model.coding.records([SourceRecord(*pair) for pair in pairs])
    sources = [torch.tensor(source if source.ndim == 2 else source.astype(int)) for source in records.sources]
    targets = [torch.tensor([*target.tolist(), END]) for target in records.targets]
    ids = pad([torch.tensor([END, *target.tolist()]) for target in records.targets])
    logits = names["model"](pad(sources), torch.tensor(records.source_lengths), ids)
    for n, (target, pair) in enumerate(zip(targets, pairs, strict=True)):
        loss = torch.nn.functional.cross_entropy(logits[: len(target), n], target)
        assert loss.item() == pytest.approx(model.score(*pair), abs=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize("attention", [False, True])
def test_the_pytorch_module_computes_the_losses_of_a_translator(cell, embedding_size, attention, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"cell": cell, "num_layers": 2, "hidden_size": 7, "embedding_size": embedding_size}
    run = train("translate", Path("runs/dates-001"), attention=attention, **options)
    check_encoder_decoder(run, [("17 Mar 1950", "1950-03-17"), ("January 31, 1905", "1905-01-31")])


def test_the_pytorch_module_computes_the_losses_of_a_transcriber(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for name, rows in (("a.npy", 5), ("b.npy", 9)):
        np.save(name, rng.normal(7, 3, (rows, 2)))
    Path("clips.tsv").write_text("a.npy\tone\nb.npy\tthree\n" * 5)
    monkeypatch.setitem(TASK_OPTIONS, "transcribe", (tmp_path / "clips.tsv", {"task": "transcribe", "subsample": 2}))
    run = train("transcribe", Path("runs/dates-001"), embedding_size=4)
    check_encoder_decoder(run, [(read_matrix("a.npy"), "one"), (read_matrix("b.npy"), "three")])


def test_the_program_for_onnx_writes_text(language_run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from charrnn.runs.onnx import save_onnx

    checkpoint = load_checkpoint(language_run.best)
    monkeypatch.chdir(tmp_path)
    save_onnx(Path("fables.onnx"), checkpoint)
    exec(block("ONNX files", "python"), {})
    text = capsys.readouterr().out.removesuffix("\n")
    assert len(text) == 200
    assert set(text) <= set(map(chr, checkpoint.task["vocabulary"]))


def test_the_tables_of_onnx_files_list_all_inputs_and_outputs(task_run):
    pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    from charrnn.runs.onnx import ports, to_onnx

    inputs, _, outputs = section("ONNX files").partition("| output |")
    actual_inputs = set()
    actual_outputs = set()
    for task in NO_ENCODER:
        graph = to_onnx(load_checkpoint(task_run(task).best))[""].graph
        actual_inputs |= {(port["name"], port["type"]) for port in ports(graph.input)}
        actual_outputs |= {(port["name"], port["type"]) for port in ports(graph.output)}
    assert set(re.findall(r"^\| `(\w+)` \| (\w+) \|", inputs, re.MULTILINE)) == actual_inputs
    assert set(re.findall(r"^\| `(\w+)` \| (\w+) \|", outputs, re.MULTILINE)) == actual_outputs
