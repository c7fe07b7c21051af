"""Files: JSON without NaN, appending, truncating and deleting, and reading regular files only."""

import json
import os
from pathlib import Path

import pytest

from charrnn.errors import StorageError
from charrnn.runs import files


def test_dump_json_writes_null_for_numbers_that_are_not_finite():
    values = {"a": [1, float("nan"), (float("inf"), {"b": float("-inf")})], "c": 0.1, "d": True, "e": "NaN"}
    expected = {"a": [1, None, [None, {"b": None}]], "c": 0.1, "d": True, "e": "NaN"}
    assert json.loads(files.dump_json(values)) == expected


def test_dump_json_keeps_every_float():
    values = [0.1, 1e-320, 1.7976931348623157e308, 2**53 + 1.0]
    assert json.loads(files.dump_json(values)) == values


def test_append_line_returns_the_size_to_which_the_file_can_be_truncated(tmp_path):
    path = tmp_path / "metrics.jsonl"
    size = files.append_line(path, "first")
    files.append_line(path, "second")
    assert path.read_text() == "first\nsecond\n"
    files.cut(path, size)
    assert path.read_text() == "first\n"
    files.cut(path, 1000)
    files.cut(tmp_path / "none", 0)
    assert path.read_text() == "first\n"


def test_remove_file_deletes_the_file_and_then_syncs_its_directory(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    path.touch()
    existed_at_sync = []
    monkeypatch.setattr(files, "sync_directory", lambda folder: existed_at_sync.append((folder, path.exists())))
    files.remove_file(path)
    assert existed_at_sync == [(tmp_path, False)]


def test_remove_file_accepts_a_missing_file_and_reports_any_other_problem(tmp_path):
    files.remove_file(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        files.remove_file(tmp_path / "folder")


@pytest.mark.parametrize("kind", ["directory", "fifo", "endless", "large"])
def test_read_regular_refuses_anything_but_a_small_regular_file(kind, tmp_path):
    path = tmp_path / "a"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"x" * 11)
    with pytest.raises((ValueError, OSError)):
        files.read_regular(path, 10)


def test_read_regular_reads_a_file_of_the_largest_size(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert files.read_regular(tmp_path / "a", 10) == b"x" * 10


def test_append_line_does_not_wait_for_the_reader_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StorageError, match="cannot write"):
        files.append_line(tmp_path / "fifo", "line")


def test_all_json_of_commands_and_files_is_written_by_dump_json():
    """`json.dumps` would write NaN and Infinity, which are not JSON."""
    root = Path(files.__file__).parents[1]
    users = {str(path.relative_to(root)) for path in root.rglob("*.py") if "json.dumps(" in path.read_text()}
    assert users == {
        "runs/files.py",
        "cli/info.py",  # a TOML file
        "engines/numpy/engine.py",  # the arguments of a worker
        "tasks/series/task.py",  # a checksum
    }


def test_a_device_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(StorageError, match=f"{name}: not a regular file"):
            files.write_atomically(tmp_path / name, b"text")
    assert (tmp_path / "pipe").is_fifo()
