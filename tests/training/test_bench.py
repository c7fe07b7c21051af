"""The benchmark and the phases of a run. No timing is tested."""

import dataclasses

import pytest

from charrnn.options import ModelOptions, RunConfig, TrainingOptions
from charrnn.tasks.registry import read_task
from charrnn.training import bench
from charrnn.training.phases import measure_phases

MODEL = ModelOptions(hidden_size=8)
TRAIN = TrainingOptions(batch_size=4, seq_length=6, workers=2, dropout=0.2, recurrent_dropout=0.2)


@pytest.fixture
def small_products(monkeypatch):
    monkeypatch.setattr(bench, "SGEMM_SIZE", 64)


def test_the_benchmark_measures_training_products_and_sampling(small_products):
    result, options = bench.measure(bench.random_text(seed=1), MODEL, TRAIN, seconds=0.3)
    assert all(value > 0 for value in result.values())
    assert result["fraction_of_peak"] == pytest.approx(result["gflops"] / result["sgemm_gflops"])
    assert result["workers"] == 2
    assert (options["hidden_size"], options["batch_size"]) == (8, 4)


def test_a_model_that_does_not_write_text_has_no_sampling_speed(small_products, tmp_path):
    (tmp_path / "s.csv").write_text("a,b\n" + "1,2\n3,1\n5,2\n" * 30)
    task = read_task(RunConfig.from_options([str(tmp_path / "s.csv")], {"task": "series"}))
    result, _ = bench.measure(task, MODEL, TRAIN, seconds=0.3)
    assert result["sample_chars_per_second"] is None


def test_the_phases_of_a_run_add_up_to_its_time():
    train = dataclasses.replace(TRAIN, max_minutes=2.0)
    phases = measure_phases(bench.random_text(seed=1), MODEL, train, seconds=0.3)
    assert len({phase.name for phase in phases}) == len(phases) == 10
    assert sum(phase.seconds * phase.times for phase in phases) == pytest.approx(120)
