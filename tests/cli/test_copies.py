"""charrnn sample --copies: what it says of a corpus all but learnt by heart, and where the corpus is not to be had."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from charrnn.runs.directory import Run
from charrnn.tasks.registry import task_of


@pytest.fixture
def at(trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    return trained.parent


SAMPLE = ("sample", "--run", "run", "--seed", "3", "--greedy", "--length", "120", "--copies")


def test_it_says_what_was_copied_and_where_it_stands(at, charrnn):
    outcome, corpus = charrnn(*SAMPLE), Path("corpus.txt").read_text()
    (row,) = charrnn(*SAMPLE, "--json").rows
    assert row["text"] == outcome.out[:-1]
    share, length, text, place, line = (row["copies"][name] for name in ("share", "length", "text", "offset", "line"))
    assert length >= 30 and share >= length / 120
    assert corpus[place : place + length] == text and text in row["text"]
    assert line == 1 + corpus[:place].count("\n")
    shown = text.replace("\n", "\\n")
    assert outcome.err == (
        f"copied word for word: {share:.1%} of it, in passages of 30 characters and more; the longest: "
        f'{length} characters, at offset {place} (line {line}) of the training text: "{shown}"\n'
    )


def test_each_of_several_samples_as_json_and_all_together_as_text(at, charrnn):
    words = [*SAMPLE, "--temperature", "0.9", "--num-samples", "3"]
    words.remove("--greedy")
    outcome = charrnn(*words, "--json")
    copies = [row["copies"] for row in outcome.rows]
    assert outcome.err == "" and len({each["length"] for each in copies}) > 1
    (line,) = charrnn(*words).err.splitlines()
    assert f"copied word for word: {sum(each['share'] for each in copies) / 3:.1%} of it" in line
    assert f"the longest: {max(each['length'] for each in copies)} characters" in line


def test_only_the_training_part_counts(train, corpus):
    """What is kept for validation and test, at the end, is not what it was trained on."""
    train(corpus, "--run", "r", "--max-steps", "2", "--val-fraction", "0.3", "--test-fraction", "0.1")
    text = task_of(Run(Path("r"))).corpus
    whole = corpus.read_text()
    trained = whole[: len(whole) - int(len(whole) * 0.3) - int(len(whole) * 0.1)]
    assert text.vocabulary.decode(text.train) == "\n" + trained  # the start symbol, which no copy counts


def test_without_it_nothing_is_said(at, charrnn):
    outcome = charrnn(*SAMPLE[:-1])
    assert outcome.err == ""
    assert "copies" not in charrnn(*SAMPLE[:-1], "--json").rows[0]


def test_a_sample_that_ends_at_once(at, charrnn):
    outcome = charrnn(*SAMPLE, "--prime", "the quic", "--stop", "k", "--hide-prime")
    assert (outcome.out, outcome.err) == ("\n", "copied word for word: nothing\n")
    assert charrnn(*SAMPLE, "--prime", "the quic", "--stop", "k", "--json").rows[0]["copies"]["share"] is None


@pytest.mark.parametrize("options", [("--bytes",), ("--lines",)])
def test_bytes_and_lines(options, charrnn, train, corpus):
    train(corpus, *options, "--run", "r", "--max-steps", "4")
    copies = charrnn("sample", "--run", "r", "--copies", "--json", "--prime", "th", "--seed", "1").rows[0]["copies"]
    place = copies["offset"]
    assert corpus.read_text()[place : place + copies["length"]] == copies["text"]


@pytest.mark.parametrize("change", ["gone", "changed", "gzip"])
def test_a_corpus_that_is_not_to_be_had(change, at, charrnn, tmp_path, monkeypatch):
    shutil.copytree(at / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    place = {"gone": "gone.txt", "changed": "other.txt", "gzip": "bad.txt.gz"}[change]
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"corpus": [str(tmp_path / place)]}))
    Path("other.txt").write_text("something else entirely\n" * 9)
    Path("bad.txt.gz").write_bytes(gzip.compress(b"cut short" * 99)[:-9])
    outcome = charrnn(*SAMPLE)
    damage = "damaged gzip file: Compressed file ended before the end-of-stream marker was reached"
    message = {
        "gone": f"{tmp_path}/gone.txt: No such file or directory",
        "changed": f"run: its corpus has changed since it was trained: {tmp_path}/other.txt",
        "gzip": f"{tmp_path}/bad.txt.gz: {damage}",
    }
    outcome.fails(3, message[change])
    assert outcome.out == ""


def test_a_corpus_from_standard_input(charrnn, train):
    train("-", "--run", "r", "--max-steps", "2", stdin="the quick brown fox jumps over the lazy dog.\n" * 9)
    charrnn("sample", "--run", "r", "--copies").fails(3, "r: its corpus came from standard input and was not kept")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--model", "run/best.safetensors"),
            "--copies and --model exclude each other (the corpus is that of a run)",
        ),
        (("--run", "run", "--length", "0"), "--length 0 goes with one sample, as text, without --copies"),
    ],
)
def test_what_does_not_go_with_it(arguments, message, at, charrnn):
    charrnn("sample", *arguments, "--copies").fails(2, message)
