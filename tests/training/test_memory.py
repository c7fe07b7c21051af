"""The memory that a run needs is compared with the available memory before anything is read or allocated."""

import os

import pytest

from charrnn.errors import OutOfMemoryError
from charrnn.options import RunConfig
from charrnn.training import memory, start
from charrnn.training.start import new_run


@pytest.mark.parametrize(
    ("task", "name", "required"),
    [("lm", "a.txt", "5 MB"), ("series", "a.csv", "16 MB"), ("classify", "a.tsv", "40 MB")],
)
def test_data_that_are_too_large_for_the_memory_are_not_read(task, name, required, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"a" * 2**20)
    config = RunConfig.from_options([str(tmp_path / name)], {"task": task})
    monkeypatch.setattr(memory, "memory_limit", lambda: 4 * 2**20)
    monkeypatch.setattr(start, "read_task", None)  # would be called to read the data
    with pytest.raises(OutOfMemoryError, match=f"1 MB of data need about {required} of memory; 4 MB is available"):
        new_run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_all_files_of_a_run_are_counted_and_streams_are_not(tmp_path, monkeypatch):
    for name in ("a.txt", "val.txt"):
        (tmp_path / name).write_bytes(b"a" * 2**20)
    monkeypatch.setattr(memory, "memory_limit", lambda: 9 * 2**20)
    with pytest.raises(OutOfMemoryError, match="2 MB of data need about 10 MB"):
        memory.check_data_memory(RunConfig.from_options([str(tmp_path)], {}))
    corpus = [str(tmp_path / "a.txt"), "-"]
    memory.check_data_memory(RunConfig.from_options(corpus, {}))
    with pytest.raises(OutOfMemoryError, match="2 MB of data need about 10 MB"):
        memory.check_data_memory(RunConfig.from_options(corpus, {"val_file": str(tmp_path / "val.txt")}))


def test_a_text_that_is_cached_needs_little_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.touch()
    os.truncate(path, 2**30)
    monkeypatch.setattr(memory, "memory_limit", lambda: 2**27)
    memory.check_data_memory(RunConfig.from_options([str(path)], {}))
    with pytest.raises(OutOfMemoryError, match=r"1.0 GB of data need about 5.0 GB"):
        memory.check_data_memory(RunConfig.from_options([str(path)], {"cache": False}))
