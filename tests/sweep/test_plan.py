"""The checks that a sweep makes before its first trial."""

import pytest

from charrnn.errors import CorpusError, UsageError

RECORDS = "".join(f"{a}{b}an\tCVVC\n" for a in "bcdfgklmnprst" for b in "aeiou")
SERIES = "wind,demand,price\n" + "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400))


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "tags.tsv"
    path.write_text(RECORDS)
    return str(path)


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "series.csv"
    path.write_text(SERIES)
    return str(path)


def test_invalid_combinations_of_options_are_found(make_plan):
    with pytest.raises(UsageError, match="--weight-decay"):
        make_plan(grid=["weight-decay=0,0.1"], optimizer="sgd").check()


def test_all_points_of_a_grid_are_checked(make_plan):
    make_plan(grid=["optimizer=adamw,sgd"]).check()
    with pytest.raises(UsageError, match="--weight-decay"):
        make_plan(grid=["optimizer=adamw,sgd"], weight_decay=0.1).check()


def test_a_corpus_without_validation_data_is_refused(make_plan):
    with pytest.raises(UsageError, match="validation"):
        make_plan(grid=["lr=0.1"], val_fraction=0.0).check()


def test_each_value_of_an_option_of_the_data_is_checked(make_plan):
    with pytest.raises(UsageError, match="validation"):
        make_plan(grid=["val-fraction=0.1,0"]).check()


def test_a_missing_corpus_has_the_name_that_the_user_gave(make_plan):
    with pytest.raises(CorpusError) as error:
        make_plan(grid=["lr=0.1"], corpus="missing.txt").check()
    assert error.value.message.startswith("missing.txt")


@pytest.mark.parametrize("delay", [{}, {"delay": 3}])
def test_a_tagger_can_be_swept(make_plan, records, delay):
    """A delayed tag is outside windows of one step, so has_validation must not depend on the sequence length."""
    make_plan(grid=["cell=gru,rnn"], corpus=records, task="tag", **delay).check()


def test_a_column_that_does_not_exist_is_found(make_plan, series):
    make_plan(grid=["target=demand,price"], corpus=series, task="series").check()
    with pytest.raises((CorpusError, UsageError), match="colour"):
        make_plan(grid=["target=demand,colour"], corpus=series, task="series").check()


def test_a_grid_over_the_target_varies_a_single_column(make_plan, series):
    plan = make_plan(grid=["target=demand,price"], corpus=series, task="series")
    assert plan.run_config({"target": "price"}).data.target == ["price"]


def test_the_runs_of_a_trial_have_consecutive_seeds(make_plan):
    plan = make_plan(grid=["lr=0.1"], seed=5, repeats=3)
    assert [plan.run_config({"learning_rate": 0.1}, repeat).train.seed for repeat in range(3)] == [5, 6, 7]
    assert make_plan(grid=["lr=0.1"]).run_config({"learning_rate": 0.1}).train.seed == 1


def test_the_task_chooses_only_options_that_are_neither_given_nor_varied(make_plan):
    plan = make_plan(grid=["cell=gru"])
    assert "cell" not in plan.unset_options({"cell": "gru"})
    assert "hidden_size" not in plan.unset_options({"cell": "gru"})
    assert "embedding_size" in plan.unset_options({"cell": "gru"})
    assert "embedding_size" not in make_plan(grid=["cell=gru"], embedding_size=4).unset_options({"cell": "gru"})
