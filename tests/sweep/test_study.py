"""The study and its trials: whose they are, how many there are, what they leave behind."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from charrnn.errors import RunError, StorageError, UsageError  # noqa: E402
from charrnn.runs.directory import Run, list_runs, newest_run  # noqa: E402
from charrnn.sweep.events import TrialEnded, TrialEvaluated  # noqa: E402
from charrnn.sweep.search import Search, check  # noqa: E402
from charrnn.sweep.space import Plan, parse_space  # noqa: E402
from charrnn.sweep.storage import JOURNAL, load_study, open_storage  # noqa: E402
from charrnn.sweep.study import Study, rows  # noqa: E402

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
OPTIONS = {"hidden_size": 8, "batch_size": 8, "seq_length": 16, "max_steps": 20, "eval_every": 2, "warmup_steps": 0}
SEARCH = ["lr=log:0.001:0.1", "cell=choice:lstm,gru,rnn"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(TEXT)
    return str(path)


def make_plan(corpus, search=(), grid=(), trials=4, jobs=1, prune=False, **options):
    options = OPTIONS | options
    space = parse_space(list(grid), list(search), options)
    return Plan((corpus,), options, space, bool(grid), "study", trials, jobs, prune)


def run(plan, folder, storage=None):
    search = Search(plan, folder, storage)
    events = list(search.run())
    return search.rows(), events


@pytest.fixture(scope="module")
def swept(corpus, tmp_path_factory):
    """The folder, rows and events of a search of 8 trials, two at a time, pruned."""
    folder = tmp_path_factory.mktemp("swept") / "study"
    return folder, *run(make_plan(corpus, SEARCH, trials=8, jobs=2, prune=True), folder)


def test_each_trial_is_a_run_like_any_other(swept):
    folder, trials, _ = swept
    assert sorted(row["number"] for row in trials) == list(range(8))
    assert [run.path.name for run in list_runs(folder)] == [f"{n:03d}" for n in range(8)]
    for row in trials:
        run = Run(folder / f"{row['number']:03d}")
        config = run.read_config()
        assert row["run"] == str(run.path)
        assert config.train.learning_rate == row["params"]["learning_rate"]
        assert config.model.cell == row["params"]["cell"]
        status = json.loads(run.result.read_text())["status"]
        assert (row["state"], status) in [("completed", "completed"), ("pruned", "interrupted")]


def test_the_value_of_a_trial_is_its_best_validation_loss(swept):
    _, trials, _ = swept
    complete = [row for row in trials if row["state"] == "completed"]
    assert len(complete) >= 5  # none is pruned before as many are finished
    for row in complete:
        assert row["value"] == json.loads(Path(row["run"], "result.json").read_text())["best_val_loss"]
    assert [row["value"] for row in complete] == sorted(row["value"] for row in complete)
    assert trials[: len(complete)] == complete


def test_a_loss_of_exactly_zero_is_the_best_of_all(tmp_path):
    study = optuna.create_study()
    for value in (0.5, 0.0):
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs={"state": "completed"}))
    assert [row["value"] for row in rows(study, tmp_path)] == [0.0, 0.5]


def test_every_trial_tells_how_it_goes_and_how_it_ends(swept):
    _, trials, events = swept
    assert {(e.number, e.state) for e in events if isinstance(e, TrialEnded)} == {
        (row["number"], row["state"]) for row in trials
    }
    assert {e.number for e in events if isinstance(e, TrialEvaluated)} == set(range(8))


def test_two_trials_at_a_time_share_the_cores(swept):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for run in list_runs(swept[0]):
        assert run.read_config().train.workers <= max(1, cores // 2)


def test_a_study_that_is_full_is_left_alone(swept, corpus):
    folder, trials, _ = swept
    again, events = run(make_plan(corpus, SEARCH, trials=8, jobs=2, prune=True), folder)
    assert (again, events) == (trials, [])


@pytest.mark.parametrize(
    ("change", "what"),
    [({"search": SEARCH[:1]}, "search space"), ({"seed": 2}, "options"), ({"clip_norm": 2.0}, "options")],
)
def test_a_study_goes_on_only_with_what_it_was_begun_with(change, what, swept, corpus):
    plan = make_plan(corpus, **{"search": SEARCH, "trials": 9} | change)
    with pytest.raises(RunError, match=f"not the {what} that it was begun with"):
        Search(plan, swept[0])


def test_a_study_goes_on_only_with_its_corpus(swept, corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(TEXT + "!")
    with pytest.raises(RunError, match="not the corpus that it was begun with"):
        Search(make_plan(str(other), SEARCH), swept[0])


def test_one_job_with_a_seed_draws_the_same_values_again(corpus, tmp_path):
    plan = make_plan(corpus, SEARCH, trials=2, max_steps=2)
    values = [[row["params"] for row in run(plan, tmp_path / name)[0]] for name in ("a", "b")]
    assert values[0] == values[1]
    others, _ = run(replace(plan, options=plan.options | {"seed": 2}), tmp_path / "c")
    assert values[0] != [row["params"] for row in others]


def test_a_grid_is_run_point_by_point_and_can_be_widened(corpus, tmp_path):
    plan = make_plan(corpus, grid=["cell=gru,rnn", "num_layers=1,2"], trials=3, max_steps=2)
    first, _ = run(plan, tmp_path / "study")
    assert len(first) == 3
    trials, _ = run(replace(plan, trials=4), tmp_path / "study")
    points = [row["params"] for row in sorted(trials, key=lambda row: row["number"])]
    assert points == list(plan.points())


def test_each_point_is_trained_with_several_seeds_and_the_median_judges(corpus, tmp_path):
    plan = replace(make_plan(corpus, grid=["cell=gru,rnn"], trials=2, seed=5), repeats=3)
    trials, events = run(plan, tmp_path / "study")
    assert [row["state"] for row in trials] == ["completed", "completed"]
    for row in trials:
        name = f"{row['number']:03d}"
        results = [
            json.loads((tmp_path / "study" / run / "result.json").read_text())
            for run in (name, f"{name}-2", f"{name}-3")
        ]
        assert [result["config"]["train"]["seed"] for result in results] == [5, 6, 7]
        assert row["value"] == sorted(result["best_val_loss"] for result in results)[1]
    progress = [event.progress for event in events if isinstance(event, TrialEvaluated) and event.number == 0]
    assert progress == sorted(progress) and progress[-1] == 1
    again = Search(plan, tmp_path / "study")
    assert list(again.run()) == [] and again.rows() == trials
    with pytest.raises(RunError, match="options"):
        Search(replace(plan, repeats=2), tmp_path / "study")


def test_a_search_never_trains_a_point_twice(corpus, tmp_path):
    search = ["cell=choice:lstm,gru,rnn", "num_layers=int:1:3"]
    trials, _ = run(make_plan(corpus, search, trials=9, max_steps=2), tmp_path / "study")
    points = [tuple(row["params"].values()) for row in trials]
    assert len(points) == len(set(points)) == 9


def test_a_diverged_trial_counts_and_the_sweep_goes_on(corpus, tmp_path):
    plan = make_plan(corpus, grid=["lr=1e38,0.01"], trials=2, optimizer="sgd", clip_norm=0.0, max_steps=6)
    trials, _ = run(plan, tmp_path / "study")
    assert [(row["number"], row["state"]) for row in trials] == [(1, "completed"), (0, "diverged")]


def test_a_hopeless_trial_is_ended_saved_and_can_be_resumed(corpus, tmp_path):
    """After five trials that learn, one that cannot: sgd with a rate of 0."""
    rates = ["lr=0.05,0.04,0.03,0.02,0.01,0"]
    plan = make_plan(corpus, grid=rates, trials=5, jobs=2, prune=True, max_steps=200, eval_every=10)
    run(plan, tmp_path / "study")
    trials, _ = run(replace(plan, trials=6), tmp_path / "study")
    assert [row["state"] for row in trials] == ["completed"] * 5 + ["pruned"]
    hopeless = Run(tmp_path / "study" / "005")
    stopped = json.loads(hopeless.result.read_text())["steps"]
    assert 50 <= stopped < 200  # not in the first quarter of its budget
    subprocess.run([sys.executable, "-m", "charrnn", "train", "--resume", str(hopeless.path), "-q"], check=True)
    assert json.loads(hopeless.result.read_text())["steps"] == 200


def test_what_would_end_a_trial_is_found_before_there_is_one(corpus, tmp_path):
    plan = make_plan(corpus, grid=["weight-decay=0,0.1"], optimizer="sgd")
    with pytest.raises(UsageError, match="--weight-decay goes with"):
        Search(plan, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_without_text_to_validate_on_there_is_nothing_to_compare(corpus):
    with pytest.raises(UsageError, match="no text to validate on"):
        check(make_plan(corpus, SEARCH, val_fraction=0.0))


# several processes


@pytest.fixture
def studies(corpus, tmp_path):
    """Two processes' views of one study of two trials."""
    plan = make_plan(corpus, SEARCH, trials=2)
    return [Study(plan, tmp_path / "study", None, "fingerprint") for _ in range(2)]


def test_no_trial_is_given_out_twice_and_none_beyond_the_number(studies):
    first, second = studies
    with first, second:
        trials = [study.next_trial() for study in (first, second, first, second)]
    assert [trial and trial.number for trial in trials] == [0, 1, None, None]


def test_a_dead_owners_trial_is_taken_over_once_with_its_values(studies):
    first, second = studies
    with first:
        dead = first.next_trial()
        dead.report(0.25, 3.0)
        with second:
            assert second.next_trial().number == 1
            assert second.next_trial() is None
    third = Study(second.plan, second.folder, None, "fingerprint")
    with second, third:
        taken = [study.next_trial() for study in (second, third, second, third)]
        (again,) = (trial for trial in taken if trial)
        assert (again.number, again.params, again.known) == (0, dead.params, {5: 3.0})
        again.report(0.25, 2.0)  # what has been reported stands
        again.report(0.4, 2.5)
    reported = load_study(str(second.folder), None).trials[0].intermediate_values
    assert reported == {5: 3.0, 6: 3.0, 7: 3.0, 8: 2.5}


def test_a_trial_whose_process_outlives_its_owner_is_waited_for(studies):
    first, second = studies
    with first:
        first.next_trial()
        child = os.dup(first.owner_fd)
    with second:
        assert second.next_trial().number == 1
        assert second.next_trial() is None
        assert second.others_running()
        os.close(child)
        assert second.next_trial().number == 0
        assert not second.others_running()


def test_of_two_machines_that_both_begin_the_last_trial_one_gives_way(corpus, tmp_path):
    """Each has a folder of its own, and both see a study that lacks one."""
    plan, journal = make_plan(corpus, SEARCH, trials=1), str(tmp_path / "shared.journal")
    first, second = (Study(plan, tmp_path / name, journal, "fingerprint") for name in ("a", "b"))
    with first, second:
        born, real = [], second.trials

        def trials_just_before():
            second.trials = real
            trials = real()
            born.append(first.next_trial())
            return trials

        second._running = list
        second.trials = trials_just_before
        assert second.next_trial() is None
        assert born[0].number == 0
        assert [trial.number for trial in second.trials()] == [0]
        assert len(rows(second.study, second.folder)) == 1


def test_trials_of_another_folder_are_left_alone(corpus, tmp_path):
    plan, journal = make_plan(corpus, SEARCH, trials=2), str(tmp_path / "shared.journal")
    first, second = (Study(plan, tmp_path / name, journal, "fingerprint") for name in ("a", "b"))
    with first:
        first.next_trial()
    with second:
        assert second.next_trial().number == 1
        assert second.next_trial() is None


def test_two_machines_may_begin_a_study_at_the_same_moment(corpus, tmp_path, monkeypatch):
    """The second begins when the first has seen an empty study and not yet written to it."""
    plan, journal = make_plan(corpus, SEARCH), str(tmp_path / "shared.journal")
    set_user_attr = optuna.Study.set_user_attr

    def let_the_second_go_first(study, *attribute):
        monkeypatch.setattr(optuna.Study, "set_user_attr", set_user_attr)
        Study(plan, tmp_path / "b", journal, "fingerprint")
        study.set_user_attr(*attribute)

    monkeypatch.setattr(optuna.Study, "set_user_attr", let_the_second_go_first)
    Study(plan, tmp_path / "a", journal, "fingerprint")
    for name in ("a", "b"):  # both go on
        Study(plan, tmp_path / name, journal, "fingerprint")


def test_a_folder_that_holds_other_runs_is_not_used(corpus, tmp_path, swept):
    plan = make_plan(corpus, SEARCH)
    (tmp_path / "study" / "000").mkdir(parents=True)
    (tmp_path / "study" / "000" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="holds runs that are not of this study"):
        Study(plan, tmp_path / "study", None, "fingerprint")
    with pytest.raises(RunError, match="holds runs that are not of this study"):  # its journal is gone
        Study(plan, swept[0], str(tmp_path / "other.journal"), "fingerprint")


def test_a_run_is_not_taken_for_a_study(swept, corpus):
    with pytest.raises(RunError, match="000: is a run"):
        Study(make_plan(corpus, SEARCH), swept[0] / "000", None, "fingerprint")
    assert len(list_runs(swept[0])) == 8


def test_a_study_of_another_program_is_left_alone(corpus, tmp_path):
    journal = str(tmp_path / "shared.journal")
    optuna.create_study(storage=open_storage(journal), study_name="study").ask()
    with pytest.raises(RunError, match="not begun by charrnn"):
        Study(make_plan(corpus, SEARCH), tmp_path / "study", journal, "fingerprint")


def test_owners_leave_no_files(studies):
    first, second = studies
    with first, second:
        while trial := first.next_trial():
            trial.tell("failed")
    assert [path.name for path in first.owners.iterdir()] == ["id"]


# storage


def test_a_line_that_a_kill_cut_off_is_dropped(studies):
    first, _ = studies
    journal = first.folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker_id"')
    with first:
        assert first.next_trial().number == 0
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    assert journal.read_bytes().startswith(whole)
    assert len(load_study(str(first.folder), "study").trials) == 1


def test_what_is_no_journal_is_left_as_it_is(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("some text")
    with pytest.raises(RunError, match="not the journal of a study"):
        open_storage(str(path))
    assert path.read_text() == "some text"


def test_a_storage_that_cannot_be_reached_is_one_line_without_its_password():
    with pytest.raises(StorageError) as error:
        open_storage("nosuchdatabase://me:secret@host/x")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_sqlite_keeps_a_study_that_two_folders_share(corpus, tmp_path):
    plan, url = make_plan(corpus, SEARCH, trials=2, max_steps=2), f"sqlite:///{tmp_path}/study.db"
    run(plan, tmp_path / "a", url)
    trials, _ = run(replace(plan, trials=3), tmp_path / "b", url)
    assert sorted(row["number"] for row in trials) == [0, 1, 2]
    assert [path.name for path in sorted((tmp_path / "b").glob("0*"))] == ["002"]


# children


def test_children_save_and_end_when_their_parent_is_killed_and_the_sweep_goes_on(corpus, tmp_path):
    arguments = ["sweep", corpus, "--search", SEARCH[0], "--trials", "2", "--jobs", "2", "--study", "study"]
    arguments += ["--max-steps", "100000", "--hidden-size", "8", "--workers", "1", "--eval-every", "10"]
    environment = os.environ | {"CHARRNN_RUNS": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-m", "charrnn", *arguments], env=environment)
    try:
        runs = [Run(tmp_path / "study" / name) for name in ("000", "001")]
        while not all(run.metrics.exists() for run in runs):
            assert parent.poll() is None
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    while any(run.locked for run in runs):
        pass
    assert [json.loads(run.result.read_text())["status"] for run in runs] == ["interrupted"] * 2


def test_the_newest_run_is_not_looked_for_in_a_sweep(swept, monkeypatch):
    monkeypatch.setenv("CHARRNN_RUNS", str(swept[0].parent))
    with pytest.raises(RunError, match="no runs under"):
        newest_run()
    assert list_runs(swept[0].parent) == []
