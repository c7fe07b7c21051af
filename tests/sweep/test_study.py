"""The trials of a study: who owns them, how many exist, and which studies and folders are refused."""

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from charrnn.errors import RunError  # noqa: E402
from charrnn.runs.directory import list_runs  # noqa: E402
from charrnn.sweep.locks import lock_child  # noqa: E402
from charrnn.sweep.space import grid_points  # noqa: E402
from charrnn.sweep.storage import load_study, open_storage  # noqa: E402
from charrnn.sweep.study import Study  # noqa: E402
from charrnn.sweep.trials import log_scale_options, trial_rows  # noqa: E402

SEARCH = ["lr=log:0.001:0.1", "cell=choice:lstm,gru,rnn"]


@pytest.fixture
def open_study(make_plan, tmp_path):
    """Opens a study as one process does: a search for two trials, unless a plan is given."""
    default_plan = make_plan(SEARCH, trials=2)

    def open_it(plan=default_plan, folder="study", storage=None, fingerprint="fingerprint"):
        return Study(plan, tmp_path / folder, storage, fingerprint)

    return open_it


@pytest.fixture
def journal(tmp_path):
    """The journal that several folders share."""
    return str(tmp_path / "shared.journal")


def take_all(study):
    trials = []
    while trial := study.next_trial():
        trials.append(trial)
    return trials


# which trials exist


def test_a_trial_has_one_owner_and_the_number_of_trials_is_limited(open_study):
    first = open_study()
    second = open_study()
    with first, second:
        trials = [study.next_trial() for study in (first, second, first, second)]
    assert [trial and trial.number for trial in trials] == [0, 1, None, None]


def test_a_grid_is_trained_in_order_and_can_be_extended(open_study, make_plan):
    grid = ["cell=gru,rnn", "num_layers=1,2"]
    points = list(grid_points(make_plan(grid=grid).space))
    with open_study(make_plan(grid=grid, trials=3)) as study:
        assert [trial.params for trial in take_all(study)] == points[:3]
    with open_study(make_plan(grid=grid, trials=4)) as study:
        for trial in take_all(study):
            trial.finish("failed")
        assert [trial.params for trial in study.trials()] == points


def test_a_search_tries_no_point_twice(open_study, make_plan):
    search = ["cell=choice:lstm,gru,rnn", "num_layers=int:1:3"]
    with open_study(make_plan(search, trials=9)) as study:
        for n in range(9):
            study.next_trial().finish("completed", loss=float(n % 4))
        points = {tuple(trial.params.values()) for trial in study.trials()}
    assert len(points) == 9


def test_tpe_prefers_values_near_the_best_ones(open_study, make_plan):
    with open_study(make_plan(["dropout=float:0:0.9"], trials=60)) as study:
        for _ in range(60):
            trial = study.next_trial()
            trial.finish("completed", loss=abs(trial.params["dropout"] - 0.3))
        errors = [abs(trial.params["dropout"] - 0.3) for trial in study.trials()]
    assert sorted(errors[40:])[10] < 0.5 * sorted(errors[:10])[5]  # medians: of the last 20, of the random start


def test_the_same_seed_draws_the_same_values(open_study, make_plan):
    def values(folder, seed):
        with open_study(make_plan(SEARCH, trials=12, seed=seed), folder) as study:
            for n in range(12):
                study.next_trial().finish("completed", loss=float(n))
            return [trial.params for trial in study.trials()]

    assert values("a", seed=1) == values("b", seed=1)
    assert values("a2", seed=1) != values("c", seed=2)


# owners


def test_the_trial_of_a_dead_owner_is_taken_over_once_with_its_values(open_study):
    first = open_study()
    second = open_study()
    with first:
        lost = first.next_trial()
        lost.report_progress(0.25, 3.0)
        with second:
            assert second.next_trial().number == 1
            assert second.next_trial() is None
    second = open_study()
    third = open_study()
    with second, third:
        taken = [trial for study in (second, third, second, third) if (trial := study.next_trial())]
    assert [(trial.number, trial.params) for trial in taken] == [(0, lost.params), (1, taken[1].params)]


def test_a_resumed_trial_keeps_the_losses_that_it_reported(open_study, make_plan):
    plan = make_plan(SEARCH, trials=1)
    with open_study(plan) as first:
        first.next_trial().report_progress(0.25, 3.0)
    with open_study(plan) as second:
        trial = second.next_trial()
        assert trial.reported == {5: 3.0}
        trial.report_progress(0.25, 2.0)  # reported before, and not changed
        trial.report_progress(0.4, 2.5)
    saved = load_study(str(second.folder), None).trials[0].intermediate_values
    assert saved == {5: 3.0, 6: 3.0, 7: 3.0, 8: 2.5}


def test_a_trial_is_not_taken_over_while_its_child_process_is_alive(open_study):
    first = open_study()
    second = open_study()
    with first:
        first.next_trial()
        child_lock = lock_child(first.owners.owner_file)
    with second:
        assert second.next_trial().number == 1
        assert second.next_trial() is None
        assert second.other_owners_exist()
        child_lock.release()
        assert second.next_trial().number == 0
        assert not second.other_owners_exist()


def test_the_files_of_dead_owners_are_deleted(open_study):
    first = open_study()
    second = open_study()
    with first, second:
        for trial in take_all(first):
            trial.finish("failed")
    assert list(first.owners.directory.iterdir()) == []


def test_the_file_of_an_owner_stays_while_its_trial_can_be_resumed(open_study):
    with open_study() as first:
        first.next_trial()
    assert first.owners.owner_file.exists()


def test_a_child_whose_owner_was_killed_before_it_could_lock_its_file_does_not_train(open_study):
    with open_study() as first:
        first.next_trial()
        owner = first.owners.owner_file
    assert lock_child(owner) is None
    with open_study() as second:
        assert second.next_trial().number == 0


# several folders


def test_the_trials_of_another_folder_are_not_taken_over(open_study, journal):
    with open_study(folder="a", storage=journal) as first:
        first.next_trial()
    with open_study(folder="b", storage=journal) as second:
        assert second.next_trial().number == 1
        assert second.next_trial() is None
        assert not second.other_owners_exist()


@pytest.mark.parametrize("is_grid", [False, True])
def test_a_trial_that_two_machines_create_at_the_same_time_is_trained_once(
    open_study, make_plan, journal, is_grid, monkeypatch
):
    """Each machine has its own folder. Both see a study without trials and choose the first point."""
    plan = make_plan(grid=["lr=0.1,0.2"], trials=2) if is_grid else make_plan(SEARCH, trials=2)
    first = open_study(plan, "a", journal)
    second = open_study(plan, "b", journal)
    new_point = second._new_point
    created = []

    def new_point_while_the_first_machine_creates_a_trial():
        point = new_point()
        if not created:
            created.append(first.next_trial())
            assert created[0].params == point
        return point

    monkeypatch.setattr(second, "_new_point", new_point_while_the_first_machine_creates_a_trial)
    with first, second:
        created.append(second.next_trial())
        assert second.next_trial() is None
        assert first.next_trial() is None
    assert created[0].params != created[1].params
    assert [trial.number for trial in second.trials()] == [0, 2]  # trial 1 is surplus
    assert [row["number"] for row in trial_rows(second.study, second.folder)] == [0, 2]


def test_two_machines_that_create_the_last_trial_at_the_same_time_train_one(
    open_study, make_plan, journal, monkeypatch
):
    plan = make_plan(SEARCH, trials=1)
    first = open_study(plan, "a", journal)
    second = open_study(plan, "b", journal)
    new_point = second._new_point
    created = []

    def new_point_while_the_first_machine_creates_a_trial():
        point = new_point()
        created.append(first.next_trial())
        return point | {"learning_rate": 0.05}

    monkeypatch.setattr(second, "_new_point", new_point_while_the_first_machine_creates_a_trial)
    with first, second:
        assert second.next_trial() is None
    assert [trial.number for trial in created] == [0]
    assert [trial.number for trial in second.trials()] == [0]


def test_two_machines_can_start_a_study_at_the_same_time(open_study, journal, monkeypatch):
    """The second machine starts after the first has seen an empty study, and before the first has written to it."""
    set_user_attr = optuna.Study.set_user_attr

    def set_user_attr_after_the_second_machine(study, *attribute):
        monkeypatch.setattr(optuna.Study, "set_user_attr", set_user_attr)
        open_study(folder="b", storage=journal)
        study.set_user_attr(*attribute)

    monkeypatch.setattr(optuna.Study, "set_user_attr", set_user_attr_after_the_second_machine)
    open_study(folder="a", storage=journal)
    for folder in ("a", "b"):
        open_study(folder=folder, storage=journal)


# refusals


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"search": SEARCH[:1]}, "search space"),
        ({"seed": 2}, "options"),
        ({"clip_norm": 2.0}, "options"),
        ({"repeats": 2}, "options"),
    ],
)
def test_a_study_cannot_be_continued_with_another_plan(change, difference, open_study, make_plan):
    open_study()
    with pytest.raises(RunError, match=f"a different {difference}"):
        open_study(make_plan(**{"search": SEARCH} | change))


def test_a_study_cannot_be_continued_with_another_corpus(open_study):
    open_study()
    with pytest.raises(RunError, match="a different corpus"):
        open_study(fingerprint="another fingerprint")


def test_the_number_of_trials_and_options_of_the_machine_may_change(open_study, make_plan):
    open_study()
    open_study(make_plan(SEARCH, trials=9, jobs=2, prune=True, workers=1))


def test_a_folder_with_other_runs_is_refused(open_study, tmp_path):
    (tmp_path / "other" / "000").mkdir(parents=True)
    (tmp_path / "other" / "000" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="do not belong to this study"):
        open_study(folder="other")


def test_a_folder_whose_journal_was_replaced_is_refused(open_study, journal, tmp_path):
    open_study()
    (tmp_path / "study" / "000").mkdir()
    (tmp_path / "study" / "000" / "config.json").write_text("{}")
    open_study()
    with pytest.raises(RunError, match="do not belong to this study"):
        open_study(storage=journal)


def test_a_run_is_not_a_folder_for_a_study(open_study, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="is a run"):
        open_study(folder="run")
    assert [run.path.name for run in list_runs(tmp_path)] == ["run"]


def test_a_study_of_another_program_is_refused(open_study, journal):
    optuna.create_study(storage=open_storage(journal), study_name="study").ask()
    with pytest.raises(RunError, match="not created by charrnn"):
        open_study(storage=journal)


# rows


def test_a_loss_of_zero_is_the_best(tmp_path):
    study = optuna.create_study()
    for value in (0.5, 0.0):
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs={"state": "completed"}))
    assert [row["value"] for row in trial_rows(study, tmp_path)] == [0.0, 0.5]


def test_options_searched_on_a_logarithmic_scale_are_known(open_study):
    assert log_scale_options(open_study().study) == {"learning_rate"}
