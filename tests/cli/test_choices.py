"""What a run chooses, and that it chooses only what was left open."""

import json

import pytest

from charrnn.training import sizing
from charrnn.training.sizing import EFFICIENCY


@pytest.fixture
def fast(monkeypatch):
    """A machine on which 0.01 minutes are worth 384 units, and each step costs nothing."""
    monkeypatch.setattr(sizing, "product_rate", lambda: 6 * 15 * 650_000**2 / (EFFICIENCY * 0.6))


def config_of(folder):
    return json.loads((folder / "r" / "config.json").read_text())


def test_a_budget_of_minutes_alone_chooses_the_size_and_a_resume_keeps_it(charrnn, corpus, tmp_path, fast, monkeypatch):
    outcome = charrnn("train", corpus, "--run", "r", "--max-minutes", "0.01", "--workers", "1")
    assert "hidden size 384: fits these minutes on this machine; --hidden-size overrules" in outcome.err
    assert config_of(tmp_path)["model"]["hidden_size"] == 384
    assert config_of(tmp_path)["train"]["learning_rate"] == pytest.approx(8e-3 * 256 / 384, abs=1e-6)
    monkeypatch.setattr(sizing, "product_rate", lambda: 1e20)
    assert charrnn("train", "--resume", "r", "--max-steps", "20").code == 0
    assert config_of(tmp_path)["model"]["hidden_size"] == 384


@pytest.mark.parametrize("options", [("--hidden-size", "16"), ("--max-steps", "2"), ("--max-epochs", "0.1")])
def test_a_given_size_and_other_budgets_leave_it_alone(charrnn, corpus, tmp_path, fast, options):
    outcome = charrnn("train", corpus, "--run", "r", "--max-minutes", "0.01", "--workers", "1", *options)
    assert "hidden size" not in outcome.err
    assert config_of(tmp_path)["model"]["hidden_size"] == (16 if options[0] == "--hidden-size" else 256)


def test_dropout_follows_the_budget_that_ends_first(charrnn, corpus, tmp_path):
    rates = []
    for budget in (("--max-epochs", "1"), ("--max-epochs", "1", "--max-steps", "3"), ("--max-epochs", "8")):
        folder = f"r{len(rates)}"
        charrnn(
            "train", corpus, "--run", folder, *budget, "--hidden-size", "8", "--batch-size", "4", "--seq-length", "8"
        )
        rates.append(json.loads((tmp_path / folder / "config.json").read_text())["train"]["dropout"])
    assert rates[1] < rates[0] < rates[2]
    assert rates[2] == pytest.approx(2 * rates[0], abs=0.011)


def test_dropout_that_is_given_is_kept(charrnn, corpus, tmp_path):
    charrnn("train", corpus, "--run", "r", "--max-steps", "1", "--hidden-size", "8", "--recurrent-dropout", "0")
    settings = config_of(tmp_path)["train"]
    assert settings["recurrent_dropout"] == 0
    assert 0 < settings["dropout"] <= 0.4
