"""The comparisons with PyTorch run. Their figures are in README.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def output_of(script, *arguments):
    command = [sys.executable, str(HERE / script), *arguments, "--seconds", "0.05", "--rounds", "1"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_training_and_sampling_are_compared():
    (row,) = json.loads(output_of("compare_torch.py", "--cells", "gru", "--shapes", "1x256", "--json"))
    assert row["cell"] == "gru"
    assert all(row[kind][side] > 0 for kind in ("train", "sample") for side in ("numpy", "torch"))


def test_encoders_and_decoders_are_compared(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\t{n * n}\n" for n in range(100)))
    output = output_of("compare_torch_pairs.py", str(tmp_path / "pairs.tsv"))
    assert "gru" in output.lower()
