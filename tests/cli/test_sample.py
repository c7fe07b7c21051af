"""charrnn sample: texts, seeds, primes, stop texts, captions and copied passages."""

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli import sample
from charrnn.cli.app import main
from charrnn.runs.directory import Run
from charrnn.tasks.caption.vectors import to_matrices
from charrnn.tasks.registry import load_model, read_run_task

from .conftest import TEXT, command, error_cases, on_terminal

COPIES = ("sample", "--run", "run", "--seed", "3", "--greedy", "--length", "120", "--copies")


def test_the_output_is_the_prime_the_characters_and_a_line_feed(charrnn, trained):
    options = ["--run", trained, "--prime", "the q", "-n", "20", "--seed", "1"]
    outcome = charrnn("sample", *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch(r"the q[\s\S]{20}\n", outcome.out)
    assert charrnn("sample", *options, "--hide-prime").out == outcome.out.removeprefix("the q")


def test_json_is_a_line_for_each_sample(charrnn, trained):
    options = ["--run", trained, "--prime", "the ", "-n", "30", "--temperature", "1.5", "--json"]
    rows = charrnn("sample", *options, "--num-samples", "3", "--seed", "5").rows
    assert [row["seed"] for row in rows] == [5, 6, 7]
    assert all(row.keys() == {"prime", "text", "seed", "nats"} for row in rows)
    assert all((row["prime"], len(row["text"])) == ("the ", 30) for row in rows)
    assert len({row["text"] for row in rows}) == 3
    single = charrnn("sample", *options, "--seed", "7").json
    assert (single["text"], single["nats"]) == (rows[2]["text"], pytest.approx(rows[2]["nats"], rel=1e-4))


def test_the_nats_of_a_sample_are_its_loss_in_eval(charrnn, trained):
    options = ["-n", "40", "--seed", "1", "--temperature", "1.5", "--top-k", "20", "--json"]
    row = charrnn("sample", "--run", trained, "--prime", "the ", *options).json
    chars = charrnn("eval", "-", "--run", trained, "--per-char", "--json", stdin=row["prime"] + row["text"]).rows
    assert row["nats"] == pytest.approx(np.mean([char["loss"] for char in chars[4:]]), rel=1e-4)


def test_a_seed_repeats_a_sample_and_without_a_seed_samples_differ(charrnn, trained):
    options = ["--run", trained, "-n", "80"]
    first, same, other = (charrnn("sample", *options, "--seed", seed).out for seed in (3, 3, 4))
    assert first == same != other
    assert charrnn("sample", *options).out != charrnn("sample", *options).out


def test_greedy_can_be_written_in_several_ways(charrnn, trained):
    ways = (["--greedy"], ["--temperature", "0"], ["--top-k", "1"], ["--top-p", "0"], ["--min-p", "1"])
    outputs = {charrnn("sample", "--run", trained, "--prime", "th", "-n", "60", *way).out for way in ways}
    assert len(outputs) == 1
    assert outputs.pop()[:2] == "th"


def test_samples_are_separated_by_a_line_of_dashes(charrnn, trained):
    options = ["--run", trained, "--prime", "fox", "-n", "10", "--seed", "1", "--num-samples", "3"]
    texts = ["fox" + row["text"] for row in charrnn("sample", *options, "--json").rows]
    parts = re.split(r"^-{3,}\n", charrnn("sample", *options).out, flags=re.MULTILINE)
    assert parts == [text + "\n" for text in texts]


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_sample_ends_before_a_stop_text(charrnn, trained, count):
    """Although the stop text is generated character by character."""
    options = ["--run", trained, "-n", "200", "--seed", "2", "--json", "--num-samples", count]
    whole = charrnn("sample", *options).rows[0]["text"]
    for stop in (whole[60], whole[60:62], whole[60:70], whole[60:70] + "\n\n\n"):
        assert charrnn("sample", *options, "--stop", stop).rows[0]["text"] == whole.partition(stop)[0]
    first, second = whole[90:95], whole[40:47]
    both = charrnn("sample", *options, "--stop", first, "--stop", second).rows[0]["text"]
    assert both == min(whole.partition(first)[0], whole.partition(second)[0], key=len)


def test_no_part_of_a_stop_text_is_printed(charrnn, trained):
    options = ["--run", trained, "-n", "200", "--seed", "2"]
    whole = charrnn("sample", *options).out
    stop = whole[60:70]
    assert charrnn("sample", *options, "--stop", stop).out == whole.partition(stop)[0] + "\n"
    # The start of a stop text that is not continued is printed, also at the end.
    assert charrnn("sample", *options, "--stop", whole[195:200] + "zzz").out == whole


def test_the_prime_can_come_from_a_file_or_standard_input(charrnn, trained):
    options = ["--run", trained, "-n", "9", "--seed", "1"]
    Path("prime.txt").write_text("the fox\n")
    expected = charrnn("sample", *options, "--prime", "the fox\n").out
    assert expected.startswith("the fox\n")
    assert charrnn("sample", *options, "--prime-file", "prime.txt").out == expected
    assert charrnn("sample", *options, "--prime-file", "-", stdin="the fox\n").out == expected


def test_the_newest_run_is_the_default(charrnn, train, trained, monkeypatch):
    for letters in ("xy", "qr"):
        Path(f"{letters}.txt").write_text(letters * 200)
        train(f"{letters}.txt", "--max-steps", "1")
        assert re.fullmatch(f"[{letters}]{{20}}\n", charrnn("sample", "-n", "20").out)
    monkeypatch.setenv("CHARRNN_RUNS", str(trained.parent))
    assert charrnn("sample", "-n", "5", "--prime", "lazy").out.startswith("lazy")


def test_the_default_is_the_newest_run_whose_model_generates_text(charrnn, train):
    Path("xy.txt").write_text("xy" * 200)
    train("xy.txt", "--max-steps", "1")
    Path("kinds.tsv").write_text("a b\tx\nc d\ty\n" * 20)
    train("kinds.tsv", "--task", "classify", "--max-steps", "1")
    assert re.fullmatch("[xy]{20}\n", charrnn("sample", "-n", "20").out)
    assert charrnn("predict", stdin="a b\n").out[0] in "xy"


def test_a_copy_of_a_checkpoint_file_is_enough(charrnn, trained):
    shutil.copy(trained / "best.safetensors", "copy.safetensors")
    options = ["-n", "30", "--seed", "1"]
    outcome = charrnn("sample", "--model", "copy.safetensors", *options)
    assert (outcome.code, outcome.out) == (0, charrnn("sample", "--run", trained, *options).out)


def test_a_terminal_shows_which_model_is_used(trained):
    shown, out = on_terminal("sample", trained, "-n", "5", "--seed", "1", stream="stderr")
    assert "best.safetensors" in shown and len(out) == 6


@error_cases(
    ("--beam 4 --temperature 1", 2, "--beam", "--prime and --length"),
    ("--prime foxÉ", 3, "'É' (U+00C9)", "position 3", "--on-unknown skip"),
    ("--prime-file none.txt", 3, "none.txt", "No such file"),
    ("--temperature -1", 2, "--temperature -1", "at least 0"),
    ("--temperature nan", 2, "--temperature nan", "finite"),
    ("--top-k -1", 2, "--top-k -1", "at least 0"),
    ("--top-p 1.5", 2, "--top-p 1.5", "at most 1"),
    ("--min-p 2", 2, "--min-p 2", "at most 1"),
    ("--checkpoint middle", 2, "--checkpoint middle", "best, last"),
    ("--on-unknown ignore", 2, "--on-unknown ignore", "error, skip"),
    ("-n 0 --num-samples 2", 2, "--length 0", "--num-samples"),
    ("-n 0 --json", 2, "--length 0", "--json"),
    ("-n 0 --copies", 2, "--length 0", "--copies"),
    ("--stop ''", 2, "--stop", "empty"),
    ("--features f.npy", 2, "--features", "trained without features"),
    ("corpus-001", 2, "corpus-001", "two runs"),
)
def test_a_mistake_is_named(charrnn, trained, arguments, code, facts):
    outcome = charrnn("sample", "--run", trained, *arguments)
    outcome.fails(code, *facts)
    assert outcome.out == ""


def test_an_unknown_byte_is_named_as_a_byte(charrnn, train):
    Path("data.bin").write_bytes(b"abab" * 100)
    train("data.bin", "--bytes", "--run", "r", "--max-steps", "1")
    charrnn("sample", "--run", "r", "--prime", "aé", "-n", "3").fails(3, "byte 0xc3", "position 1")


def test_a_model_of_bytes_reads_and_writes_any_bytes(charrnn, train, monkeypatch):
    data = bytes(range(256)) * 4
    Path("data.bin").write_bytes(data)
    train("data.bin", "--bytes", "--run", "r", "--max-steps", "1")
    Path("prime.bin").write_bytes(b"\xff\x00\xc3")
    options = ("--run", "r", "--prime-file", "prime.bin", "-n", "50", "--seed", "1", "--temperature", "1")
    row = charrnn("sample", *options, "--json").json
    written = base64.b64decode(row["base64"])
    assert len(written) == 50 and row["text"] == written.decode("utf-8", "replace")
    with monkeypatch.context() as patch:
        stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit):
            main(["sample", *options])
        assert stdout.buffer.getvalue() == b"\xff\x00\xc3" + written + b"\n"
    rows = charrnn("eval", "data.bin", "--run", "r", "--per-line", "--json").rows
    assert b"\n".join(base64.b64decode(row["base64"]) for row in rows) == data


def test_unknown_characters_of_the_prime_can_be_skipped(charrnn, trained):
    options = ["--run", trained, "--seed", "1", "-n", "20", "--hide-prime"]
    outcome = charrnn("sample", *options, "--on-unknown", "skip", "--prime", "fÉox\t")
    assert (outcome.code, outcome.out) == (0, charrnn("sample", *options, "--prime", "fox").out)


# captions


def test_a_caption_is_generated_for_each_vector(task_runs, charrnn):
    words = ["sample", "--run", "runs/caption", "--features", "shapes.csv", "--seed", "1"]
    outcome = charrnn(*words)
    assert outcome.out.count("\n") == 80
    assert charrnn(*words).out == outcome.out
    rows = charrnn(*words, "--json").rows
    assert rows[0].keys() == {"prime", "text", "seed", "nats"}
    assert "".join(row["text"] + "\n" for row in rows) == outcome.out
    model = load_model("runs/caption")
    matrices = to_matrices(np.loadtxt("shapes.csv", delimiter=","), "shapes.csv")
    whole = [n for n, row in enumerate(rows) if len(row["text"]) < 80]
    assert whole
    for n in whole[:5]:
        assert model.score(matrices[n], rows[n]["text"]) == pytest.approx(rows[n]["nats"], abs=1e-4)


@error_cases(
    ("--run runs/classify", 2, "--task classify", "--task lm"),
    ("--run runs/caption", 2, "--features"),
    ("--run runs/caption --features few.csv", 3, "2 columns", "7 columns"),
    ("--run runs/caption --features shapes.csv --copies", 2, "--features", "--copies"),
    ("--run runs/caption --features shapes.csv --num-samples 2", 2, "--features", "--num-samples"),
)
def test_the_options_must_fit_the_model(task_runs, charrnn, tmp_path, arguments, code, facts):
    (tmp_path / "few.csv").write_text("1,2\n3,4\n")
    charrnn("sample", *(tmp_path / word if word == "few.csv" else word for word in arguments)).fails(code, *facts)


# --copies


@pytest.fixture
def trained_here(trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    return trained.parent


def test_the_longest_copied_passage_is_reported_with_its_place(trained_here, charrnn):
    outcome, corpus = charrnn(*COPIES), Path("corpus.txt").read_text()
    (row,) = charrnn(*COPIES, "--json").rows
    assert row["text"] == outcome.out[:-1]
    share, length, text, offset, line = (row["copies"][key] for key in ("share", "length", "text", "offset", "line"))
    assert length >= 30 and share >= length / 120
    assert corpus[offset : offset + length] == text and text in row["text"]
    assert line == 1 + corpus[:offset].count("\n")
    (report,) = outcome.err.splitlines()
    shown = text[:30].replace("\n", "\\n")
    for fact in (f"{share:.1%}", f"{length} characters", f"offset {offset}", f"line {line}", f'"{shown}'):
        assert fact in report


def test_the_copies_of_several_samples_are_separate_as_json_and_merged_as_text(trained_here, charrnn):
    words = [word for word in COPIES if word != "--greedy"] + ["--temperature", "0.9", "--num-samples", "3"]
    outcome = charrnn(*words, "--json")
    copies = [row["copies"] for row in outcome.rows]
    assert outcome.err == "" and len({each["length"] for each in copies}) > 1
    (report,) = charrnn(*words).err.splitlines()
    assert f"{sum(each['share'] for each in copies) / 3:.1%}" in report
    assert f"{max(each['length'] for each in copies)} characters" in report


def test_copies_are_searched_in_the_training_part_only(train, corpus):
    train(corpus, "--run", "r", "--max-steps", "2", "--val-fraction", "0.3", "--test-fraction", "0.1")
    data = read_run_task(Run(Path("r"))).corpus
    end = len(TEXT) - int(len(TEXT) * 0.3) - int(len(TEXT) * 0.1)
    assert data.vocabulary.decode(data.train) == "\n" + TEXT[:end]  # with the start symbol


def test_copies_are_reported_on_request_only(trained_here, charrnn):
    assert charrnn(*COPIES[:-1]).err == ""
    assert "copies" not in charrnn(*COPIES[:-1], "--json").json


def test_an_empty_sample_has_no_copies(trained_here, charrnn):
    options = ["--prime", "the quic", "--stop", "k"]
    outcome = charrnn(*COPIES, *options, "--hide-prime")
    assert outcome.out == "\n" and "nothing" in outcome.err
    assert charrnn(*COPIES, *options, "--json").json["copies"]["share"] is None


@pytest.mark.parametrize("option", ["--bytes", "--lines"])
def test_copies_of_models_of_bytes_and_of_lines(option, charrnn, train, corpus):
    train(corpus, option, "--run", "r", "--max-steps", "4")
    copies = charrnn("sample", "--run", "r", "--copies", "--json", "--prime", "th", "--seed", "1").json["copies"]
    assert TEXT[copies["offset"] :].startswith(copies["text"])
    assert len(copies["text"]) == copies["length"]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("gone.txt", ["gone.txt", "No such file"]),
        ("other.txt", ["run: ", "changed", "other.txt"]),
        ("bad.txt.gz", ["bad.txt.gz: damaged gzip file"]),
    ],
)
def test_copies_need_the_corpus_of_the_run(name, facts, trained, charrnn, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"corpus": [str(tmp_path / name)]}))
    Path("other.txt").write_text("something else entirely\n" * 9)
    Path("bad.txt.gz").write_bytes(gzip.compress(b"cut short" * 99)[:-9])
    outcome = charrnn(*COPIES)
    outcome.fails(3, *facts, is_pinned=name != "bad.txt.gz")
    assert outcome.out == ""


def test_copies_need_a_run_and_a_corpus_from_a_file(charrnn, train, trained_here):
    charrnn("sample", "--model", "run/best.safetensors", "--copies").fails(
        2, "--copies", "--model", "cannot be used together"
    )


def test_copies_need_a_corpus_that_was_kept(charrnn, train):
    train("-", "--run", "r", "--max-steps", "2", stdin=TEXT)
    charrnn("sample", "--run", "r", "--copies").fails(3, "r: ", "standard input")


def test_a_backslash_and_n_are_a_line_feed_in_prime_and_stop(charrnn, trained):
    options = ["--run", trained, "-n", "60", "--greedy", "--json"]
    (row,) = charrnn("sample", *options, "--prime", r"dog.\nthe", "--stop", r"\n").rows
    assert row["prime"] == "dog.\nthe" and "\n" not in row["text"]
    Path("prime.txt").write_text(r"a\nb")
    assert charrnn("sample", *options, "--prime-file", "prime.txt", "--on-unknown", "skip").rows[0]["prime"] == r"a\nb"


def test_more_samples_than_are_generated_at_the_same_time_have_consecutive_seeds(charrnn, trained, monkeypatch):
    options = ["--run", trained, "-n", "5", "--seed", "3", "--num-samples", "5", "--json"]
    at_once = charrnn("sample", *options).rows
    monkeypatch.setattr(sample, "MAX_STREAMS", 2)
    rows = charrnn("sample", *options).rows
    assert [row["seed"] for row in rows] == [3, 4, 5, 6, 7]
    assert [row["text"] for row in rows] == [row["text"] for row in at_once]


def test_unique_samples_differ(charrnn, trained):
    options = ["--run", trained, "-n", "1", "--seed", "1", "--temperature", "2", "--json", "--num-samples"]
    texts = [row["text"] for row in charrnn("sample", *options, "12").rows]
    unique = [row["text"] for row in charrnn("sample", *options, "12", "--unique").rows]
    assert len(set(texts)) < 12 == len(set(unique))
    assert unique[: len(set(texts))] == list(dict.fromkeys(texts))
    outcome = charrnn("sample", *options, "100", "--unique")
    assert len(outcome.rows) < 100
    assert "different samples" in outcome.err


def test_no_ngram_of_the_given_length_is_repeated(charrnn, trained):
    options = ["--run", trained, "-n", "200", "--seed", "1", "--json", "--prime", "the quick brown fox"]
    for choice in (["--greedy"], ["--temperature", "0.5", "--num-samples", "3"]):
        plain = charrnn("sample", *options, *choice).rows
        guarded = charrnn("sample", *options, *choice, "--no-repeat-ngram", "6").rows
        for row, has_repetition in [*((row, True) for row in plain), *((row, False) for row in guarded)]:
            text = row["prime"] + row["text"]
            ngrams = [text[n : n + 6] for n in range(len(text) - 5)]
            assert (len(set(ngrams)) < len(ngrams)) == has_repetition


def test_a_model_of_lines_writes_on_if_the_length_is_0(train, corpus):
    train(corpus, "--lines", "--run", "r", "--max-steps", "60", "--lr", "0.02")
    with subprocess.Popen(command("sample", "--run", "r", "-n", "0"), stdout=subprocess.PIPE) as child:
        lines = [child.stdout.readline() for _ in range(3)]
        child.terminate()
    assert all(line.endswith(b"\n") for line in lines)
