"""A large text in a cache file gives the same corpus as a text in memory."""

import dataclasses
import errno
import gzip
import io
import os
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.cli.app import main
from charrnn.corpus import reading
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, StorageError
from charrnn.options import DataOptions
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.tasks.language import cache
from charrnn.tasks.language import corpus as corpus_module
from charrnn.tasks.language.corpus import load_corpus

TEXT = "the quick brown fox\njumps over the lazy dog\n" * 40
OPTIONS = [
    {},
    {"lines": True},
    {"bytes": True},
    {"normalize": "NFD"},
    {"normalize": "none", "newline": "keep"},
    {"document_separator": "ab"},
    {"test_fraction": 0.3},
]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """The directory of cache files. Texts of more than four bytes are cached, in small chunks."""
    monkeypatch.setenv("CHARRNN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(reading, "CHUNK_SIZE", 5)
    monkeypatch.setattr(corpus_module, "SEARCHED", 3)
    monkeypatch.setattr(cache, "BLOCK", 3)
    for module in (cache, corpus_module):
        monkeypatch.setattr(module, "MAX_TEXT_IN_MEMORY", 4)
    return tmp_path / "runs" / ".cache"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


def contents(corpus):
    """All fields of a corpus as values that can be compared."""
    values = {spec.name: getattr(corpus, spec.name) for spec in dataclasses.fields(corpus)}
    values["vocabulary"] = corpus.vocabulary.to_dict()
    values["types"] = [corpus.train.dtype, corpus.val.dtype, corpus.test.dtype]
    count = values.pop("train_start_symbols")
    assert count in (None, np.count_nonzero(corpus.train == corpus.vocabulary.start))
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def load(*paths, cached=True, **options):
    return load_corpus(list(map(str, paths)), DataOptions(**options), cache=cached)


def outcome(*paths, cached=True, more=None, **options):
    """The content of a corpus, or the message of the error. more: further characters of the vocabulary."""
    try:
        corpus = load(*paths, cached=cached, **options)
    except CorpusError as error:
        return str(error)
    if more:
        corpus = corpus.with_vocabulary_of(Vocabulary.of_texts([more]), cache=cached)
    return contents(corpus)


def cache_files(directory):
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abc\n\ré—😀")), min_size=1, max_size=4),
    st.sampled_from(OPTIONS),
    st.one_of(st.none(), st.text("ab—", max_size=9)),
    st.text("\nAb", max_size=2),
)
def test_a_cached_corpus_equals_the_corpus_in_memory(tmp_path, texts, options, val_text, more):
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    if val_text is not None:
        (tmp_path / "val").write_text(val_text)
        options = options | {"val_file": str(tmp_path / "val")}
    if options.get("bytes"):
        more = ""
    expected = outcome(*paths, cached=False, more=more, **options)
    assert outcome(*paths, more=more, **options) == expected  # writes the cache
    assert outcome(*paths, more=more, **options) == expected  # reads the cache


@pytest.mark.parametrize("num_symbols", [256, 257, 65_537])
def test_ids_of_each_type_are_cached(num_symbols, path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_SIZE", 50_000)
    monkeypatch.setattr(cache, "BLOCK", 50_000)
    codes = [code for code in range(32, num_symbols + 0x900) if not 0xD800 <= code < 0xE000][:num_symbols]
    path.write_text("".join(map(chr, codes)))
    expected = outcome(path, cached=False, normalize="none", more="\n")
    assert outcome(path, normalize="none", more="\n") == outcome(path, normalize="none", more="\n") == expected


def test_the_files_are_not_read_again(path, caches, monkeypatch):
    expected = contents(load(path, val_fraction=0.2))
    monkeypatch.setattr(cache, "make_reader", None)
    assert contents(load(path, val_fraction=0.2)) == expected
    assert contents(load(path, lines=True)) != expected  # the split is not a part of the cache
    assert len(cache_files(caches)) == 1


def test_a_small_text_and_the_option_no_cache_write_no_file(path, caches):
    load(path, cached=False)
    path.write_text("abcd")
    load(path)
    assert cache_files(caches) == []


def test_a_file_with_the_same_size_and_another_time_is_read_again(path, caches):
    load(path)
    before = cache_files(caches)
    path.write_text(TEXT.replace("fox", "cat"))
    os.utime(path, ns=(1, 1))
    assert contents(load(path)) == contents(load(path, cached=False))
    assert len(cache_files(caches)) == 1 and cache_files(caches) != before  # the old file is deleted


def test_a_file_that_changes_while_it_is_read_leaves_no_cache(path, caches):
    with cache.reporting(lambda *_: os.utime(path, ns=(1, 1))):
        assert contents(load(path)) == contents(load(path, cached=False))
    assert cache_files(caches) == []


def test_a_corpus_outlives_its_cache_file(path, caches):
    corpus = load(path)
    (file,) = caches.iterdir()
    file.unlink()
    assert contents(corpus) == contents(load(path, cached=False))
    assert contents(load(path)) == contents(corpus)
    assert file.exists()


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[1:], lambda data: b"9" * 20]
)
def test_a_damaged_cache_is_replaced(damage, path, caches):
    expected = contents(load(path))
    (file,) = caches.iterdir()
    intact = file.read_bytes()
    file.write_bytes(damage(intact))
    assert contents(load(path)) == expected
    assert file.read_bytes() == intact


def test_two_processes_that_write_the_same_cache_get_the_same_text(path, caches, monkeypatch):
    others = []

    def write_in_another_process(_):
        monkeypatch.undo()
        monkeypatch.setenv("CHARRNN_RUNS", str(caches.parent))
        monkeypatch.setattr(cache, "MAX_TEXT_IN_MEMORY", 4)
        others.append(load(path))

    monkeypatch.setattr(cache, "sync_file", write_in_another_process)
    corpus = load(path)
    assert contents(corpus) == contents(others[0]) == contents(load(path, cached=False))
    assert len(cache_files(caches)) == 1


def test_a_gzip_file_is_cached(path, tmp_path, caches):
    packed = tmp_path / "corpus.txt.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert contents(load(packed)) == contents(load(path, cached=False))
    assert len(cache_files(caches)) == 1


def test_standard_input_leaves_no_file(path, caches, monkeypatch):
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        corpus = load("-")
    assert contents(corpus) == contents(load(path, cached=False))
    assert cache_files(caches) == []


def test_temporary_files_of_killed_processes_are_deleted(path, caches):
    caches.mkdir(parents=True)
    for name, age in ((".old.tmp", 2 * cache.ABANDONED_SECONDS), (".new.tmp", 0)):
        (caches / name).touch()
        os.utime(caches / name, (0, (caches / name).stat().st_mtime - age))
    load(path)
    assert ".old.tmp" not in cache_files(caches)
    assert ".new.tmp" in cache_files(caches)


def test_the_share_of_the_work_that_is_done_rises_to_one(path):
    reports = []
    with cache.reporting(lambda share, symbols: reports.append((share, symbols))):
        load(path)
        assert reports == sorted(reports)
        assert reports[-1] == (1.0, len(TEXT))
        reports.clear()
        load(path)  # from the cache
        load(path, cached=False)
    assert reports == []


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile(io.FileIO):
    write = no_space


def open_full(path, mode):
    return (FullFile if "w" in mode else io.FileIO)(path, mode)


FAULTS = {  # what fails -> (object, name, replacement)
    "creating the directory": (cache.Path, "mkdir", no_space),
    "creating the temporary file": (cache.tempfile, "TemporaryFile", no_space),
    "writing codes": (cache.tempfile, "TemporaryFile", lambda dir: FullFile(os.open(os.devnull, os.O_WRONLY), "w")),
    "writing ids": (cache, "open", open_full),
    "syncing": (cache, "sync_file", no_space),
    "renaming": (cache, "replace_file", no_space),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_no_file(fault, path, caches, monkeypatch, capsys):
    monkeypatch.setattr(*FAULTS[fault], raising=False)
    with pytest.raises(StorageError, match=r"cannot write .*cache: No space left on device \(.*--no-cache\)"):
        load(path)
    assert contents(load(path, cached=False))
    with pytest.raises(SystemExit) as exit_:
        main(["train", str(path), "--max-steps", "1", "--quiet"])
    assert exit_.value.code == 6
    assert "--no-cache" in capsys.readouterr().err
    assert cache_files(caches) == cache_files(caches.parent)[1:] == []


SMALL = ["--hidden-size", "4", "--batch-size", "2", "--seq-length", "8", "--workers", "1", "--quiet"]


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(list(map(str, arguments)))
    assert exit_.value.code == 0


def test_training_and_resume_do_not_depend_on_the_cache(path, tmp_path, caches):
    runs = [tmp_path / "cached", tmp_path / "in-memory"]
    for directory, option in zip(runs, ["--cache", "--no-cache"], strict=True):
        run("train", path, "--run", directory, option, "--max-steps", 4, *SMALL)
    assert len(cache_files(caches)) == 1
    run("train", "--resume", runs[0], "--max-steps", 8, "--quiet", "--no-cache")
    run("train", "--resume", runs[1], "--max-steps", 8, "--quiet", "--cache")
    cached, in_memory = (load_checkpoint(directory / "last.safetensors") for directory in runs)
    assert cached.parameters.tobytes() == in_memory.parameters.tobytes()
    assert cached.tensors.keys() == in_memory.tensors.keys()
    assert all(cached.tensors[name].tobytes() == in_memory.tensors[name].tobytes() for name in cached.tensors)
    assert cached.training["corpus"] == in_memory.training["corpus"]
