"""charrnn info: the content of runs and checkpoints."""

import json
import re

from charrnn.runs.checkpoint import load_checkpoint


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
    charrnn("info", trained, "--json", "--toml").fails(2, "--json", "--toml", "exclude")
