"""Several runs that are used as one model: predict, eval and sample with more than one --run."""

import pytest

from charrnn.tasks.registry import load_model

from .conftest import task_inputs

CORPORA = {"classify": "kinds.tsv", "tag": "syllables.tsv", "translate": "dates.tsv", "series": "season.csv"}


@pytest.mark.parametrize("task", CORPORA)
def test_a_run_that_is_given_twice_predicts_and_evaluates_as_once(charrnn, task_runs, tmp_path, task):
    inputs = tmp_path / "inputs.txt"
    inputs.write_text(task_inputs(task))
    file = CORPORA[task] if task == "series" else inputs
    once, twice = (charrnn("predict", file, *["--run", f"runs/{task}"] * n).out for n in (1, 2))
    assert once and twice == once
    expected, scores = (charrnn("eval", CORPORA[task], *["--run", f"runs/{task}"] * n, "--json").json for n in (1, 2))
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_two_runs_of_a_text_are_averaged(charrnn, train, corpus):
    for seed in ("1", "2"):
        train(corpus, "--max-steps", "30", "--seed", seed, "--run", f"r{seed}")
    losses = [charrnn("eval", corpus, *runs, "--json").json["loss"] for runs in (["--run", "r1"], ["--run", "r2"])]
    both = charrnn("eval", corpus, "--run", "r1", "--run", "r2", "--json").json["loss"]
    assert both < sum(losses) / 2  # the logarithm is concave
    texts = [charrnn("sample", *runs, "-n", "40", "--greedy").out for runs in (["r1"], ["--run", "r1", "--run", "r2"])]
    assert texts[0] != texts[1]


def test_runs_with_different_vocabularies_or_tasks_are_refused(charrnn, train, corpus, task_runs, tmp_path):
    charrnn("predict", "dates.tsv", "--run", "runs/translate", "--run", "runs/tag").fails(4, "runs/tag", "vocabulary")


def test_two_runs_of_captions_are_averaged(charrnn, task_runs):
    words = ["--features", "shapes.csv", "--greedy"]
    one = charrnn("sample", "--run", "runs/caption", *words).out
    assert charrnn("sample", "--run", "runs/caption", "--run", "runs/caption", *words).out == one


def test_runs_of_captions_with_different_seeds_are_averaged(charrnn, task_runs):
    """The seed determines which vectors are used for training, and thus the means and standard deviations."""
    train = ["train", "shapes.txt", "--task", "caption", "--features", "shapes.csv", "--hidden-size", "8"]
    for seed in ("1", "2"):
        assert charrnn(*train, "--max-steps", "5", "--seed", seed, "--run", f"seed{seed}").code == 0
    means = [load_model(f"seed{seed}").coding.scale.mean.tolist() for seed in "12"]
    assert means[0] != means[1]
    words = ["eval", "shapes.txt", "--features", "shapes.csv", "--json"]
    losses = [charrnn(*words, *runs).json["loss"] for runs in (["--run", "seed1"], ["--run", "seed2"])]
    assert charrnn(*words, "--run", "seed1", "--run", "seed2").json["loss"] < sum(losses) / 2


def test_a_named_run_and_another_one_are_refused(charrnn, trained):
    charrnn("sample", trained, "--run", trained).fails(2, "two runs", is_pinned=False)
