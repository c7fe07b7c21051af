"""--device: the other engine at the command line, and what is said where it is not there."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import SMALL, TEXT

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the extra `torch` is not installed")
needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="the extra `sweep` is not installed")
STEPS = ("--max-steps", "20", "--lr", "0.02")
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(autouse=True)
def _corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "corpus.txt", "--device", "torch"],
        ["train", "--resume", "run", "--device", "cuda"],
        ["eval", "corpus.txt", "--run", "run", "--device", "torch"],
        ["bench", "--seconds", "0.1", "--device", "torch"],
        pytest.param(["sweep", "corpus.txt", "--grid", "cell=gru", "--device", "torch"], marks=needs_optuna),
    ],
    ids=" ".join,
)
def test_without_pytorch_each_command_says_how_to_install_it(words, charrnn, train, monkeypatch):
    train("corpus.txt", "--run", "run", *STEPS)
    monkeypatch.setitem(sys.modules, "torch", None)
    charrnn(*words).fails(2, f"torch, of the extra torch, is not installed ({sys.executable} -m pip install torch)")
    assert sorted(os.listdir()) == ["corpus.txt", "run"]


def test_pytorch_is_not_imported_where_no_device_asks_for_it(tmp_path):
    command = f"train corpus.txt --max-steps 1 --run run {' '.join(SMALL)}".split()
    script = f"import sys; sys.modules['torch'] = None; from charrnn.cli.app import main; main({command})"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)


@needs_torch
def test_a_device_that_is_not_there_is_named_with_those_that_are(charrnn, train):
    train("corpus.txt", "--run", "run", *STEPS)
    for words in (
        ["train", "corpus.txt"],
        ["train", "--resume", "run"],
        ["eval", "corpus.txt", "--run", "run"],
        ["bench"],
        ["sweep", "corpus.txt", "--grid", "cell=gru"],
    ):
        ended = charrnn(*words, "--device", "cuda:9")
        assert ended.code == 2
        assert ended.err.startswith("charrnn: error: --device cuda:9: not there (there are cpu, torch")
    assert sorted(os.listdir()) == ["corpus.txt", "run"]


@needs_torch
def test_a_run_resumes_on_the_device_that_is_named(charrnn, train):
    assert train("corpus.txt", "--run", "run", "--device", "torch", *STEPS)["config"]["train"]["device"] == "torch"
    result = charrnn("train", "--resume", "run", "--device", "cpu", "--max-steps", "30", "--json", "-q").json
    assert (result["status"], result["steps"], result["config"]["train"]["device"]) == ("completed", 30, "cpu")
    assert "device" in charrnn("info", "run", "--json").out


@needs_torch
def test_the_first_lines_say_that_pytorch_trains(charrnn):
    ended = charrnn("train", "corpus.txt", "--run", "run", "--device", "torch", *STEPS, *SMALL)
    assert "training: 8 streams x 16 characters, PyTorch on the CPU, learning rate" in ended.err


@needs_torch
def test_eval_and_predict_say_the_same_on_either(charrnn, train):
    train("corpus.txt", "--run", "run", *STEPS)
    losses = [
        charrnn("eval", "corpus.txt", "--run", "run", "--device", device, "--json").json["loss"]
        for device in ("cpu", "torch")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    for task, name in (("classify", "kinds.tsv"), ("tag", "syllables.tsv"), ("series", "season.csv")):
        lines = (DATA / name).read_text().splitlines(keepends=True)[:80]
        Path(name).write_text("".join(lines))
        words = ["--task", task, "--run", task, "--hidden-size", "8", "--workers", "1", "--quiet", *STEPS]
        assert charrnn("train", name, *words).code == 0
        inputs = "".join(lines) if task == "series" else "".join(line.split("\t")[0] + "\n" for line in lines)
        cpu, torch = (
            charrnn("predict", "-", "--run", task, "--device", device, "--json", stdin=inputs).rows
            for device in ("cpu", "torch")
        )
        for one, other in zip(cpu, torch, strict=True):
            for key, value in one.items():
                assert other[key] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value)


@needs_torch
def test_bench_times_the_device(charrnn):
    result = charrnn("bench", "--device", "torch", "--seconds", "0.3", "--json", *SMALL).json
    assert result["chars_per_second"] > 0 and result["sgemm_gflops"] > 0 and result["config"]["device"] == "torch"


@needs_torch
@needs_optuna
def test_a_sweep_trains_its_trials_on_the_device_and_goes_on_with_another(charrnn):
    words = ["sweep", "corpus.txt", "--grid", "cell=lstm,gru", "--jobs", "2", *STEPS, *SMALL[:-2], "--json", "-q"]
    first = charrnn(*words, "--device", "torch").json
    assert [trial["state"] for trial in first["trials"]] == ["completed"] * 2
    for number in ("000", "001"):
        assert json.loads(Path(f"runs/corpus/{number}/config.json").read_text())["train"]["device"] == "torch"
    assert charrnn(*words).json["trials"] == first["trials"]
