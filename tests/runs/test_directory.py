"""Run directories: how they are created, locked, found and listed."""

import os
from pathlib import Path

import pytest

from charrnn.errors import RunError, StorageError
from charrnn.runs.directory import STUDY, Run, create_run, find_run, list_runs, newest_run

from .conftest import write_run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARRNN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_runs_without_a_name_are_numbered_after_the_highest_number(root):
    (root / "fables-007").mkdir(parents=True)
    (root / "fables-x").mkdir()
    (root / "fables-old-012").mkdir()
    assert create_run(None, "fables").path == root / "fables-008"
    assert create_run(None, "fables").path == root / "fables-009"


def test_the_name_of_a_corpus_may_contain_wildcards(root):
    assert create_run(None, "[a]*?").path == root / "[a]*?-001"
    assert create_run(None, "[a]*?").path == root / "[a]*?-002"


def test_an_existing_run_is_not_overwritten(tmp_path):
    write_run(tmp_path / "r")
    with pytest.raises(RunError, match="already exists"):
        create_run(tmp_path / "r", "fables")


@pytest.mark.parametrize("file", ["last.safetensors", ".0123456789abcdef.tmp"])
def test_a_directory_left_by_a_run_that_was_killed_at_its_start_is_used(tmp_path, file):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / file).touch()
    assert create_run(tmp_path / "r", "fables") == Run(tmp_path / "r")


def test_a_root_that_is_a_file_is_a_storage_error(root):
    root.touch()
    with pytest.raises(StorageError, match="Not a directory"):
        create_run(None, "fables")


def test_a_locked_run_cannot_be_locked_again(tmp_path):
    run = Run(tmp_path)
    with run.lock():
        assert run.locked
        with pytest.raises(RunError, match="another process is training this run"), run.lock():
            pass
    assert not run.locked


def test_removing_the_result_of_a_run_leaves_its_other_files(tmp_path):
    run = write_run(tmp_path / "r")
    run.result.touch()
    run.remove_result()
    run.remove_result()
    assert os.listdir(run.path) == ["config.json"]


def test_listed_are_directories_but_neither_studies_nor_hidden_ones(root):
    write_run(root / "b")
    (root / "a").mkdir()
    (root / ".hidden").mkdir()
    (root / "sweep").mkdir()
    (root / "sweep" / STUDY).touch()
    (root / "file").touch()
    assert [run.path.name for run in list_runs(root)] == ["a", "b"]
    assert list_runs(root / "none") == []


def test_a_study_is_not_read_as_a_run(root):
    run = write_run(root / "sweep")
    (run.path / STUDY).touch()
    with pytest.raises(RunError, match="is a sweep, not a run"):
        run.read_config()


def test_a_bare_name_is_found_under_the_root_unless_it_exists_here(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(root / "r")
    assert find_run(Path("r")) == root / "r"
    (tmp_path / "r").mkdir()
    assert str(find_run(Path("r"))) == "r"


def test_the_newest_run_is_the_last_one_that_fits(root):
    write_run(root / "a", time=1)
    write_run(root / "b", time=3, cell="gru")
    write_run(root / "c", time=2)
    assert newest_run().path.name == "b"
    assert newest_run(lambda config: config.model.cell == "lstm").path.name == "c"
    with pytest.raises(RunError, match="no run with a suitable task"):
        newest_run(lambda config: False)


def test_a_damaged_run_does_not_fit(root):
    write_run(root / "a", time=1)
    run = write_run(root / "damaged")
    run.config.write_text("{}")
    assert newest_run(lambda config: True).path.name == "a"
    (root / "a" / "config.json").unlink()
    with pytest.raises(RunError, match="no valid run under"):
        newest_run(lambda config: True)


def test_a_missing_run_is_refused_and_a_similar_name_is_suggested(root):
    write_run(root / "fables-001")
    with pytest.raises(RunError, match=r"fables-01: no such run \(did you mean fables-001\?\)"):
        Run(root / "fables-01").check_there()
    with pytest.raises(RunError, match=r"no such run \(charrnn runs lists all runs\)"):
        Run(root / "other").check_there()
    with pytest.raises(RunError, match=r"config\.json: is a file, not a run \(the run is .*fables-001; "):
        Run(root / "fables-001" / "config.json").check_there()


def test_a_file_that_its_reader_would_refuse_is_not_written(root, monkeypatch):
    monkeypatch.setattr("charrnn.runs.directory.MAX_SIZE", 100)
    run = create_run(None, "a")
    with pytest.raises(StorageError, match=r"result\.json: 1\d\d bytes is more than the limit of 100"):
        run.write_json(run.result, {"labels": "x" * 100})
    assert not run.result.exists()
