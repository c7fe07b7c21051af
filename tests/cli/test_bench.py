"""charrnn bench: speeds, and the phases of a run."""

import pytest

from .conftest import SMALL, task_arguments


def test_speeds_of_training_sampling_and_products_are_measured(charrnn):
    result = charrnn("bench", "--seconds", "0.1", "--json", *SMALL).json
    for name in ("chars_per_second", "gflops", "sgemm_gflops", "sample_chars_per_second", "peak_rss_mb"):
        assert result[name] > 0
    assert result["fraction_of_peak"] == pytest.approx(result["gflops"] / result["sgemm_gflops"])
    assert (result["workers"], result["config"]["hidden_size"], result["config"]["dropout"]) == (1, 8, 0)
    assert "chars_per_second" in charrnn("bench", "--seconds", "0.1", *SMALL).out


@pytest.mark.parametrize("task", ["classify", "translate", "series"])
def test_a_task_is_timed_on_its_data(task, task_runs, charrnn):
    words = [*task_arguments(task), "--hidden-size", "8", "--workers", "1", "--seconds", "0.1", "--json"]
    result = charrnn("bench", *words).json
    assert result["chars_per_second"] > 0 and result["sample_chars_per_second"] is None


def test_an_option_of_the_data_needs_a_corpus(charrnn):
    charrnn("bench", "--task", "classify").fails(2, "--task", "corpus")


def test_the_phases_of_a_run_add_up_to_its_budget(charrnn, corpus):
    words = ["bench", corpus, "--hidden-size", "8", "--batch-size", "2", "--workers", "2", "--seconds", "0.1"]
    phases = {
        phase["name"]: phase for phase in charrnn(*words, "--phases", "--json", "--dropout", "0.5").json["phases"]
    }
    total = sum(phase["seconds"] * phase["times"] for phase in phases.values())
    assert total == pytest.approx(300, rel=0.01)  # the default budget is 5 minutes
    assert phases["start"]["times"] == 1 and phases["evaluation"]["times"] <= 20 < phases["gradient"]["times"]
    assert all(phases[name]["seconds"] > 0 for name in ("gradient", "update", "masks", "evaluation", "save"))
    assert "evaluation" in charrnn(*words, "--phases").out
    charrnn(*words, "--phases", "--device", "torch").fails(2, "--phases", "--device cpu")
