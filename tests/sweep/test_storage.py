"""The storage of a study."""

import json

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from charrnn.errors import RunError, StorageError  # noqa: E402
from charrnn.sweep.storage import load_study, open_storage  # noqa: E402


def new_study(storage, name):
    """A study of charrnn without trials."""
    study = optuna.create_study(storage=storage, study_name=name)
    study.set_user_attr("charrnn", {"search space": [{"name": "cell", "kind": "choice"}]})
    return study


def test_an_incomplete_last_line_of_a_journal_is_removed(tmp_path):
    journal = tmp_path / "study.journal"
    new_study(open_storage(str(journal)), "study")
    complete = journal.read_bytes()
    journal.write_bytes(complete + b'{"op_code":4,"worker_id"')
    load_study(str(journal), "study").set_user_attr("name", "value")
    assert journal.read_bytes().startswith(complete)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    assert load_study(str(journal), "study").user_attrs["name"] == "value"


def test_a_file_that_is_not_a_journal_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("some text")
    with pytest.raises(RunError, match="not the journal of a study"):
        open_storage(str(path))
    assert path.read_text() == "some text"


@pytest.mark.parametrize(
    "url",
    [
        "nosuchdatabase://me:secret@host/x",
        "nosuchdatabase://me:sec@ret/@host/x",
        "nosuchdatabase://host/x?user=me&password=secret&a=b",
        "postgresql://me:secret@host:port/x",
        "://me:secret@host/x",
    ],
)
def test_an_unreachable_database_is_one_line_without_its_password(url):
    for use in (open_storage, lambda url: load_study(url, None)):
        with pytest.raises(StorageError) as error:
            use(url)
        message = str(error.value)
        assert "host" in message
        assert "sec" not in message and "\n" not in message


def test_a_study_is_found_by_its_name(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(RunError, match="contains no study"):
        load_study(url, None)
    storage = open_storage(url)
    new_study(storage, "first")
    assert load_study(url, None).study_name == load_study(url, "first").study_name == "first"
    with pytest.raises(RunError, match=r"--study .*\(first\)"):
        load_study(url, "second")
    new_study(storage, "second")
    assert load_study(url, "second").study_name == "second"
    with pytest.raises(RunError, match=r"--study .*\(first, second\)"):
        load_study(url, None)
