"""What version 1 wrote is still read: `version1` holds a run of it, stopped after 20 of 40 steps, and its corpus."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run

OLD = Path(__file__).parent / "version1"
# What that version made of it.
SAMPLE = "dy y26r4e nc n 9 4 !n c—yic  yd gnet a7 hrg rdan rhn n  sssa"
LOSS_OF_CORPUS = 2.9014387693970547
LOSSES_OF_40_STEPS = {"train_loss": 2.5770902417600157, "val_loss": 2.5180132574752854}


@pytest.fixture
def run(tmp_path):
    shutil.copytree(OLD, tmp_path / "run")
    return tmp_path / "run"


def test_a_configuration_of_version_1_is_read():
    config = Run(OLD).read_config()
    assert (config.model.cell, config.model.embedding_size) == ("lstm", 3)
    assert (config.train.dropout, config.train.recurrent_dropout) == (0.2, 0.3)


def test_a_checkpoint_of_version_1_writes_and_scores_as_it_did():
    model = charrnn.load(OLD)
    assert "".join(model.sample(length=60, seed=1, temperature=1.0)) == SAMPLE
    assert model.score((OLD / "corpus.txt").read_text()) == pytest.approx(LOSS_OF_CORPUS, abs=1e-6)


def test_a_run_of_version_1_goes_on_as_it_would_have_gone(run):
    from dataclasses import replace

    from charrnn.training.start import resumed_run

    config = Run(run).read_config()
    config = replace(config, corpus=(str(run / "corpus.txt"),), train=replace(config.train, max_steps=40))
    list(resumed_run(Run(run), config).run())
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 40
    assert {name: last[name] for name in LOSSES_OF_40_STEPS} == pytest.approx(LOSSES_OF_40_STEPS, abs=1e-5)
    resaved = load_checkpoint(run / "last.safetensors")
    assert resaved.training["standing"]["step"] == 40
    assert all(np.isfinite(array).all() for array in resaved.weights.values())
