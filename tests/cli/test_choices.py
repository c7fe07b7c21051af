"""The size of a model for a budget of minutes: its rule, and that it is chosen only where it was left open."""

import json

import pytest

from charrnn import pace
from charrnn.config import ModelConfig
from charrnn.pace import CHARS_PER_WEIGHT, EFFICIENCY, SIZES, affordable_size, parameters_in_products, product_rate
from charrnn.prepare import default_dropout


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_largest_size_whose_weights_see_enough_characters(cell, layers, monkeypatch):
    monkeypatch.setattr(pace, "product_rate", lambda: 1e11)
    for seconds in (0.01, 10, 100, 1000, 1e6):
        size = affordable_size(ModelConfig(cell=cell, num_layers=layers), 65, 2, seconds)

        def chars_per_weight(size, flops=2e11 * seconds * EFFICIENCY):
            recurrent = (1 + 2 * (layers - 1)) * {"lstm": 4, "gru": 3, "rnn": 1}[cell] * size**2
            return flops / (6 * (recurrent + 65 * size)) / recurrent

        assert size == SIZES[0] or chars_per_weight(size) >= CHARS_PER_WEIGHT
        assert all(chars_per_weight(larger) < CHARS_PER_WEIGHT for larger in SIZES if larger > size)


def test_parameters_in_products_leave_out_what_is_gathered():
    assert parameters_in_products(ModelConfig(cell="lstm", hidden_size=8), 11) == 4 * 8 * 8 + 11 * 8
    assert parameters_in_products(ModelConfig(cell="lstm", hidden_size=8), 0) == 4 * 8 * 8
    assert parameters_in_products(ModelConfig(cell="gru", hidden_size=8, embedding_size=5), 11) == (
        3 * 8 * 5 + 3 * 8 * 8 + 11 * 8
    )


def test_the_rate_of_a_product_is_that_of_a_processor():
    assert 1e8 < product_rate() < 1e13


@pytest.fixture
def fast(monkeypatch):
    """A machine on which 0.01 minutes are worth 384 units, and each step costs nothing."""
    monkeypatch.setattr(pace, "product_rate", lambda: 6 * 15 * 650_000**2 / (EFFICIENCY * 0.6))


def config_of(folder):
    return json.loads((folder / "r" / "config.json").read_text())


def test_a_budget_of_minutes_alone_chooses_the_size_and_a_resume_keeps_it(charrnn, corpus, tmp_path, fast, monkeypatch):
    outcome = charrnn("train", corpus, "--run", "r", "--max-minutes", "0.01", "--workers", "1")
    assert "hidden size 384: fits 0.01 minutes of this machine; --hidden-size overrules" in outcome.err
    assert config_of(tmp_path)["model"]["hidden_size"] == 384
    assert config_of(tmp_path)["train"]["learning_rate"] == pytest.approx(8e-3 * 256 / 384, abs=1e-6)
    monkeypatch.setattr(pace, "product_rate", lambda: 1e20)
    assert charrnn("train", "--resume", "r", "--max-minutes", "0.02").code == 0
    assert config_of(tmp_path)["model"]["hidden_size"] == 384


@pytest.mark.parametrize("options", [("--hidden-size", "16"), ("--max-steps", "2"), ("--max-epochs", "0.1")])
def test_a_given_size_and_other_budgets_leave_it_alone(charrnn, corpus, tmp_path, fast, options):
    outcome = charrnn("train", corpus, "--run", "r", "--max-minutes", "0.01", "--workers", "1", *options)
    assert "hidden size" not in outcome.err
    assert config_of(tmp_path)["model"]["hidden_size"] == (16 if options[0] == "--hidden-size" else 256)


def test_dropout_grows_with_the_model_and_the_epochs_and_falls_with_the_text():
    assert default_dropout(280_000, 1_000_000, 9) == pytest.approx(0.13, abs=0.01)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(560_000, 1_000_000, 9)
    assert default_dropout(280_000, 1_000_000, 9) < default_dropout(280_000, 1_000_000, 30)
    assert default_dropout(280_000, 100_000_000, 1) <= 0.01
    assert default_dropout(280_000, 4, 1000) == 0.4
    assert default_dropout(280_000, 1_000_000, 0) == 0


def test_dropout_follows_the_budget_that_ends_first(charrnn, corpus, tmp_path):
    rates = []
    for budget in (("--max-epochs", "1"), ("--max-epochs", "1", "--max-steps", "3"), ("--max-epochs", "8")):
        folder = f"r{len(rates)}"
        charrnn(
            "train", corpus, "--run", folder, *budget, "--hidden-size", "8", "--batch-size", "4", "--seq-length", "8"
        )
        rates.append(json.loads((tmp_path / folder / "config.json").read_text())["model"]["dropout"])
    assert rates[1] < rates[0] < rates[2]
    assert rates[2] == pytest.approx(2 * rates[0], abs=0.011)


def test_dropout_that_is_given_is_kept(charrnn, corpus, tmp_path):
    charrnn("train", corpus, "--run", "r", "--max-steps", "1", "--hidden-size", "8", "--recurrent-dropout", "0")
    model = config_of(tmp_path)["model"]
    assert model["recurrent_dropout"] == 0
    assert 0 < model["dropout"] <= 0.4
