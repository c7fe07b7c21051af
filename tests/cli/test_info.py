"""charrnn info: the content of runs and checkpoints, and the options of a run as a TOML file."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.cli.info import to_toml
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.checkpoint import load_checkpoint

floats = st.floats(0, 1e300) | st.floats(0, 1e-300)


def test_json_has_options_vocabulary_parameters_and_state(charrnn, trained):
    values = charrnn("info", trained, "--json").json
    assert (values["model"]["cell"], values["model"]["hidden_size"]) == ("lstm", 16)
    assert "".join(values["vocabulary"]) == "\n .abcdefghijklmnopqrstuvwxyz"
    assert values["vocabulary_size"] == 29
    assert (values["training"]["status"], values["training"]["steps"]) == ("completed", 80)
    assert values["training"]["config"]["train"]["batch_size"] == 8
    model = charrnn("info", trained / "best.safetensors", "--json").json
    assert (model["model"], model["vocabulary"]) == (values["model"], values["vocabulary"])
    result = json.loads((trained / "result.json").read_text())
    assert values["parameters"] == model["parameters"] == result["parameters"]


def test_the_table_has_all_parameters(charrnn, trained):
    outcome = charrnn("info", trained)
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    for name, array in load_checkpoint(trained / "best.safetensors").weights.items():
        shape = " x ".join(map(str, array.shape))
        assert re.search(rf"{re.escape(name)}\W+{shape}\W+{array.size:,}\W", outcome.out)


def test_json_and_toml_exclude_each_other(charrnn, trained):
    charrnn("info", trained, "--json", "--toml").fails(2, "--json", "--toml", "cannot be used together")


# --toml


def parameters_of(run):
    return load_checkpoint(Path(run) / "best.safetensors").parameters.tobytes()


def test_the_toml_of_a_run_trains_the_same_model(train, charrnn, corpus):
    train(corpus, "--run", "first", "--max-steps", "12", "--cell", "gru", "--dropout", "0.25", "--seed", "7", "--lines")
    text = charrnn("info", "first", "--toml").out
    Path("again.toml").write_text(text)
    assert text.splitlines()[:2] == ["# charrnn train --config FILE.toml", f'corpus = ["{corpus.resolve()}"]']
    assert charrnn("train", "--config", "again.toml", "--run", "second", "-q").code == 0
    assert parameters_of("second") == parameters_of("first")
    assert json.loads(Path("second/config.json").read_text()) == json.loads(Path("first/config.json").read_text())


def test_toml_needs_a_run(charrnn, trained):
    path = trained / "best.safetensors"
    charrnn("info", path, "--toml").fails(4, path, path.parent)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    learning_rate=floats,
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lines=st.booleans(),
    as_bytes=st.booleans(),
    minutes=st.none() | st.floats(0, 1e7),
)
def test_toml_contains_the_whole_configuration(seed, learning_rate, name, lines, as_bytes, minutes):
    data = DataOptions(lines=lines, bytes=as_bytes, val_file=f"/{name}" if len(name) % 2 else None)
    train = TrainingOptions(seed=seed, learning_rate=learning_rate, max_minutes=minutes)
    config = RunConfig(("/a",), ModelOptions(), data, train)
    options = tomllib.loads(to_toml(config))
    assert options == {"corpus": ["/a"], **config.to_options()}
    assert RunConfig.from_options(("/a",), options).train == train


def test_a_run_names_the_checkpoint_that_it_was_initialised_from(train, charrnn, corpus):
    train(corpus, "--run", "first", "--max-steps", "4")
    small = ("--max-steps", "4", "--batch-size", "8", "--seq-length", "16", "--workers", "1", "-q")
    assert charrnn("train", corpus, "--init-from", "first", *small, "--run", "second").code == 0
    file = Path("first/best.safetensors").resolve()
    origin = {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert json.loads(Path("second/config.json").read_text())["init_from"] == origin
    assert origin["sha256"][:12] in charrnn("info", "second").out
    Path("again.toml").write_text(charrnn("info", "second", "--toml").out)
    assert charrnn("train", "--config", "again.toml", "--run", "third", "-q").code == 0
    assert parameters_of("third") == parameters_of("second")
