"""Directories as corpora: which files are read, and in which order."""

import pytest

from charrnn.corpus.files import find_files
from charrnn.errors import CorpusError, UsageError


@pytest.fixture
def folder(tmp_path):
    for name in ("part10.txt", "part2.txt", "sub/a.txt", ".hidden.txt", ".git/b.txt", "notes.md", "more.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(folder, glob=None):
    return [path.removeprefix(f"{folder}/") for path in find_files([str(folder)], glob)]


def test_a_directory_stands_for_its_visible_text_files_in_natural_order(folder):
    assert names(folder) == ["part2.txt", "part10.txt", "sub/a.txt"]
    assert names(folder, "*.md") == ["more.md", "notes.md"]


def test_files_are_not_changed_and_keep_their_place(folder):
    assert find_files(["-", "z.txt", "a.txt"], None) == ["-", "z.txt", "a.txt"]
    assert find_files(["z", str(folder / "sub"), "a"], None) == ["z", str(folder / "sub" / "a.txt"), "a"]


def test_a_directory_without_matching_files_is_an_error_that_names_a_pattern(folder):
    with pytest.raises(CorpusError, match=r"match \*\.csv .*--glob '\*\*/\*\.txt' matches 3 files"):
        find_files([str(folder)], "*.csv")
    (folder / "empty").mkdir()
    with pytest.raises(CorpusError, match="contains no files"):
        find_files([str(folder / "empty")], None)


@pytest.mark.parametrize("glob", ["", "/etc/*", "**a", "a\0"])
def test_an_invalid_pattern_is_refused_in_one_line(folder, glob):
    with pytest.raises((UsageError, CorpusError)):
        find_files([str(folder)], glob)


def test_a_pattern_needs_a_directory(folder):
    with pytest.raises(UsageError, match="not a directory"):
        find_files(["a.txt"], "*.txt")
