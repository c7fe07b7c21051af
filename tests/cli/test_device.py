"""--device: PyTorch in the commands that compute."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import SMALL, task_inputs

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the extra `torch` is not installed")
needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="the extra `sweep` is not installed")
STEPS = ("--max-steps", "20", "--lr", "0.02")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "corpus.txt", "--device", "torch"],
        ["train", "--resume", "run", "--device", "cuda"],
        ["eval", "corpus.txt", "--run", "run", "--device", "torch"],
        ["predict", "corpus.txt", "--run", "run", "--device", "torch"],
        ["bench", "--seconds", "0.1", "--device", "torch"],
        pytest.param(["sweep", "corpus.txt", "--grid", "cell=gru", "--device", "torch"], marks=needs_optuna),
    ],
    ids=" ".join,
)
def test_without_pytorch_the_error_names_the_command_that_installs_it(words, charrnn, train, corpus, monkeypatch):
    train(corpus, "--run", "run", *STEPS)
    monkeypatch.setitem(sys.modules, "torch", None)
    charrnn(*words).fails(2, "torch", "not installed", f"{sys.executable} -m pip install torch")
    assert sorted(os.listdir()) == ["corpus.txt", "run"]


def test_the_default_device_does_not_import_pytorch(corpus):
    words = ["train", str(corpus), "--max-steps", "1", "--run", "run", *SMALL]
    script = f"import sys; sys.modules['torch'] = None; from charrnn.cli.app import main; main({words})"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)


@needs_torch
@pytest.mark.parametrize(
    "words",
    [
        ["train", "corpus.txt"],
        ["train", "--resume", "run"],
        ["eval", "corpus.txt", "--run", "run"],
        ["bench"],
        pytest.param(["sweep", "corpus.txt", "--grid", "cell=gru"], marks=needs_optuna),
    ],
    ids=" ".join,
)
def test_a_device_that_does_not_exist_is_named_with_those_that_do(words, charrnn, train, corpus):
    train(corpus, "--run", "run", *STEPS)
    outcome = charrnn(*words, "--device", "cuda:9")
    outcome.fails(2, "--device cuda:9", "not available", "cpu, torch", is_pinned=False)  # depends on the machine
    assert sorted(os.listdir()) == ["corpus.txt", "run"]


@needs_torch
def test_a_run_is_resumed_on_the_device_that_is_given(charrnn, train, corpus):
    assert train(corpus, "--run", "run", "--device", "torch", *STEPS)["config"]["train"]["device"] == "torch"
    result = charrnn("train", "--resume", "run", "--device", "cpu", "--max-steps", "30", "--json", "-q").json
    assert (result["status"], result["steps"], result["config"]["train"]["device"]) == ("completed", 30, "cpu")
    assert "device" in charrnn("info", "run", "--json").out


@needs_torch
def test_the_first_lines_name_the_device(charrnn, corpus):
    outcome = charrnn("train", corpus, "--run", "run", "--device", "torch", *STEPS, *SMALL)
    assert "training: 8 streams x 16 characters, PyTorch on the CPU, learning rate" in outcome.err


@needs_torch
def test_the_losses_of_characters_are_those_of_the_cpu(charrnn, trained):
    words = ["eval", "-", "--run", trained, "--json", "--per-char", "--top", "2"]
    cpu, torch = (charrnn(*words, "--device", device, stdin="the fox").rows for device in ("cpu", "torch"))
    for row, other in zip(cpu, torch, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], abs=1e-4)
        assert [symbol for symbol, _ in other["top"]] == [symbol for symbol, _ in row["top"]]


@needs_torch
def test_the_loss_of_a_text_is_that_of_the_cpu(charrnn, trained):
    words = ["eval", trained.parent / "corpus.txt", "--run", trained, "--json"]
    cpu, torch = (charrnn(*words, "--device", device).json["loss"] for device in ("cpu", "torch"))
    assert torch == pytest.approx(cpu, abs=1e-5)


@needs_torch
@pytest.mark.parametrize("task", ["classify", "tag", "translate", "series"])
def test_the_answers_are_those_of_the_cpu(task, task_runs, charrnn):
    inputs = Path("season.csv").read_text() if task == "series" else task_inputs(task)
    words = ["predict", "-", "--run", f"runs/{task}", "--json"]
    cpu, torch = (charrnn(*words, "--device", device, stdin=inputs).rows for device in ("cpu", "torch"))
    for row, other in zip(cpu, torch, strict=True):
        for key, value in row.items():
            assert other[key] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value)


@needs_torch
def test_bench_times_the_device(charrnn):
    result = charrnn("bench", "--device", "torch", "--seconds", "0.3", "--json", *SMALL).json
    assert result["chars_per_second"] > 0 and result["sgemm_gflops"] > 0 and result["config"]["device"] == "torch"


@needs_torch
@needs_optuna
def test_a_sweep_trains_its_trials_on_the_device_and_continues_on_another_one(charrnn, corpus):
    words = ["sweep", corpus, "--grid", "cell=lstm,gru", "--jobs", "2", *STEPS, *SMALL[:-2], "--json", "-q"]
    first = charrnn(*words, "--device", "torch").json
    assert [trial["state"] for trial in first["trials"]] == ["completed"] * 2
    for number in ("000", "001"):
        assert json.loads(Path(f"runs/corpus/{number}/config.json").read_text())["train"]["device"] == "torch"
    assert charrnn(*words).json["trials"] == first["trials"]
