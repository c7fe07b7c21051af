"""charrnn train: what it prints and writes, its data, its budgets and its defaults."""

import gzip
import json
import math
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.reports import Metrics, Result
from charrnn.training import sizing
from charrnn.training.sizing import EFFICIENCY

from .conftest import DATA, SMALL, TEXT, command, on_terminal

CELLS = ("rnn", "lstm", "gru")


def read_config(run="r"):
    return json.loads(Path(run, "config.json").read_text())


def weights(path):
    return load_checkpoint(Path(path)).weights


def are_equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def is_same_run(result, other):
    """Whether two results are those of bit-identical runs."""
    names = {*Result.names()} - {"run", "seconds", "chars_per_second", "config"}
    return all(result[name] == other[name] for name in names)


def train_on_small_batches(charrnn, *arguments):
    sizes = ["--batch-size", "8", "--seq-length", "16", "--workers", "1", "--json", "--quiet"]
    return charrnn("train", *arguments, *sizes).json


# what it prints and writes


def test_json_is_the_content_of_the_result_file(charrnn, corpus):
    result = charrnn("train", corpus, *SMALL, "--run", "r", "--max-steps", "12", "--lr", "0.02", "--json").json
    assert [*result] == Result.names()
    assert result == json.loads(Path("r/result.json").read_text())
    assert (result["run"], result["status"], result["steps"]) == ("r", "completed", 12)
    assert (result["chars"], result["workers"], result["vocabulary_size"]) == (12 * 8 * 16, 1, 29)
    assert result["best_val_bpc"] == pytest.approx(result["best_val_loss"] / math.log(2))
    assert result["best_val_loss"] < math.log(29)
    assert result["test_loss"] is None
    assert result["config"] == read_config()
    assert result["parameters"] == sum(array.size for array in weights("r/best.safetensors").values())


def test_a_run_directory_has_five_files_and_a_lock(train, corpus):
    train(corpus, "--run", "r", "--max-steps", "4")
    names = {".lock", "config.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "result.json"}
    assert {path.name for path in Path("r").iterdir()} == names


def test_the_metrics_file_has_a_line_for_each_evaluation(train, corpus):
    train(corpus, "--run", "r", "--max-steps", "20", "--eval-every", "6")
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6, 12, 18, 20]
    assert all([*row] == Metrics.names() for row in rows)
    assert all(row["chars"] == row["step"] * 128 for row in rows)
    assert all(row["val_bpc"] == pytest.approx(row["val_loss"] / math.log(2)) for row in rows)


def test_progress_is_a_plain_line_for_each_evaluation(process, corpus):
    outcome = process("train", corpus, *SMALL, "--run", "r", "--max-steps", "20", "--eval-every", "6")
    assert (outcome.code, outcome.out) == (0, "")
    lines = outcome.err.splitlines()
    pattern = r"step (\d+)  epoch [\d.]+  train [\d.]+  val [\d.]+ \([\d.]+ bpc\)  \d+:\d\d  [\d.]+k/s"
    evaluations = [re.fullmatch(pattern, line) for line in lines if line.startswith("step")]
    assert [int(match[1]) for match in evaluations] == [6, 12, 18, 20]
    assert "\x1b" not in outcome.err and "\r" not in outcome.err
    assert lines[-1].endswith(": charrnn sample --run r")


def test_a_terminal_shows_a_progress_bar_below_the_lines(corpus):
    words = ["train", corpus, *SMALL, "--run", "r", "--max-steps", "40", "--json"]
    shown, out = on_terminal(*words, columns=100, stream="stderr")
    assert json.loads(out)["steps"] == 40
    assert "%|" in shown and "step 40  epoch" in shown and "charrnn sample --run r" in shown
    last_line = shown.rstrip("\r").rpartition("\r")[2]
    assert not last_line.strip()  # the bar has been removed


def test_the_first_line_states_the_default_budget(charrnn, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.training.defaults.DEFAULT_MINUTES", 0.001)
    outcome = charrnn("train", corpus, *SMALL)
    assert outcome.code == 0
    assert "0.001 minutes" in outcome.err.splitlines()[0]


def test_quiet_prints_nothing(process, corpus):
    outcome = process("train", corpus, *SMALL, "--max-steps", "4", "--quiet", "--sample-every", "2")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_samples_during_training_go_to_stderr(charrnn, corpus):
    outcome = charrnn("train", corpus, *SMALL, "--max-steps", "4", "--sample-every", "2", "--json")
    assert outcome.json["steps"] == 4
    assert outcome.err.count("--- sample ---") == 2


# the data


def test_files_gzip_and_standard_input_are_the_same_corpus(train, corpus):
    text = corpus.read_text()
    Path("a.txt").write_text(text[:500])
    Path("b.txt").write_text(text[500:])
    Path("c.txt.gz").write_bytes(gzip.compress(text.encode()))
    Path("d.txt.gz").write_bytes(gzip.compress(text[:9].encode()) + gzip.compress(text[9:].encode()))
    plain = train(corpus, "--max-steps", "8")
    assert plain["config"]["corpus"] == [str(corpus.absolute())]
    for file in ("c.txt.gz", "d.txt.gz"):
        assert is_same_run(train(file, "--max-steps", "8"), plain)
    assert is_same_run(train("-", "--max-steps", "8", stdin=text), plain)
    parts = train("a.txt", "b.txt", "--max-steps", "8")
    assert not is_same_run(parts, plain)  # the state is reset at the start of b.txt
    assert not is_same_run(train("b.txt", "a.txt", "--max-steps", "8"), parts)
    names = sorted(path.name for path in Path("runs").iterdir())
    assert names == ["a-001", "b-001", "c-001", "corpus-001", "d-001", "stdin-001"]


def test_any_file_trains_as_bytes(charrnn, train):
    data = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8).tobytes()
    Path("data.bin").write_bytes(data)
    result = train("data.bin", "--bytes", "--max-steps", "4", "--run", "r")
    assert (result["vocabulary_size"], result["config"]["data"]["bytes"]) == (256, True)
    sampled = subprocess.run(
        command("sample", "--run", "r", "-n", "50", "--prime", "é", "--seed", "1"), capture_output=True, check=True
    )
    assert sampled.stdout.startswith("é".encode()) and len(sampled.stdout) == 2 + 50 + 1  # prime, sample, line feed
    assert charrnn("eval", "data.bin", "--run", "r", "--json").json["chars"] == 3000
    assert len(charrnn("info", "r", "--json").json["vocabulary"]) == 256


@pytest.mark.parametrize("largest", ["ÿ", "—", "\uffff", "\U0001f600"])
def test_texts_with_small_and_large_code_points_can_be_joined(train, charrnn, largest):
    Path("plain.txt").write_text("a-b " * 100)
    Path("rich.txt").write_text(f"a{largest}b " * 100, encoding="utf-8")
    result = train("plain.txt", "rich.txt", "plain.txt", "--run", "r", "--max-steps", "2")
    assert result["vocabulary_size"] == 6  # with the line feed between the files
    assert charrnn("eval", "plain.txt", "--run", "r", "--json").json["chars"] == 400
    assert charrnn("eval", "rich.txt", "--run", "r", "--json").json["chars"] == 400
    assert charrnn("sample", "--run", "r", "--prime", "a-b", "-n", "2").code == 0


def test_encoding_is_that_of_the_option(train, charrnn):
    Path("c.txt").write_bytes("café ".encode("latin-1") * 100)
    assert train("c.txt", "--encoding", "latin-1", "--run", "r", "--max-steps", "2")["vocabulary_size"] == 5
    assert charrnn("sample", "--run", "r", "--prime", "é", "-n", "3").out.startswith("é")


def test_lines_are_separate_records(train, charrnn):
    Path("names.txt").write_text("anna\nbert\ncarl\ndora\n" * 40)
    result = train("names.txt", "--lines", "--run", "r", "--max-steps", "300", "--lr", "0.02", "--warmup-steps", "0")
    assert result["config"]["data"]["lines"] is True
    options = ["--run", "r", "-n", "5", "--num-samples", "20", "--seed", "1"]
    texts = [row["text"] for row in charrnn("sample", *options, "--json").rows]
    names = {"anna", "bert", "carl", "dora"}
    assert sum(text in names for text in texts) > 15  # each sample starts at the start of a record
    assert len(names & set(texts)) > 1
    assert charrnn("sample", *options).out == "".join(f"{text}\n" for text in texts)  # no rulers
    Path("two.txt").write_text("anna\nbert\n")
    Path("swapped.txt").write_text("bert\nanna\n")
    losses = [charrnn("eval", name, "--run", "r", "--json").json for name in ("two.txt", "swapped.txt")]
    assert losses[0]["chars"] == 10  # the first character is predicted too
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-5)


def test_the_parts_are_contiguous_train_validation_test(charrnn):
    """Each part has its own characters, so that a part that is not trained on scores far worse than chance."""
    Path("c.txt").write_text("ab" * 320 + "cd" * 40 + "ef" * 40)
    outcome = charrnn(
        *["train", "c.txt", *SMALL, "--run", "r", "--max-steps", "60", "--lr", "0.02"],
        *["--val-fraction", "0.1", "--test-fraction", "0.1", "--json"],
    )
    result = outcome.json
    assert "6 distinct characters, 640 to train on, 80 to validate, 80 to test" in outcome.err
    val, test = (charrnn("eval", "-", "--run", "r", "--json", stdin=text * 40).json["loss"] for text in ("cd", "ef"))
    assert result["train_loss"] < 0.5 * min(val, test)
    assert result["best_val_loss"] == pytest.approx(val, rel=1e-5)
    assert result["test_loss"] == pytest.approx(test, rel=1e-5)


def test_a_validation_file_leaves_the_whole_corpus_for_training(charrnn, corpus):
    Path("val.txt").write_text("the lazy dog jumps.\n" * 5)
    outcome = charrnn("train", corpus, *SMALL, "--max-steps", "4", "--val-file", "val.txt", "--run", "r", "--json")
    assert "1,350 to train on, 100 to validate, 0 to test" in outcome.err
    loss = charrnn("eval", "val.txt", "--run", "r", "--json").json["loss"]
    assert outcome.json["best_val_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_validation_loss_is_that_of_eval_on_the_same_text(train, charrnn, corpus):
    result = train(corpus, "--max-steps", "10", "--run", "r")
    Path("tail.txt").write_text(corpus.read_text()[-135:])
    loss = charrnn("eval", "tail.txt", "--run", "r", "--json").json["loss"]
    assert loss == pytest.approx(result["best_val_loss"], rel=1e-5)


@pytest.mark.parametrize("seq_length", [1, 16, 63, 64, 65, 200])
def test_every_sequence_length_trains_and_validates(charrnn, corpus, seq_length):
    sizes = ["--hidden-size", "8", "--batch-size", "4", "--seq-length", seq_length, "--workers", "1"]
    result = charrnn("train", corpus, *sizes, "--max-steps", "2", "--json", "--quiet").json
    assert result["best_val_loss"] == pytest.approx(math.log(29), rel=0.1)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_a_word_of_five_characters(charrnn, cell):
    outcome = charrnn("train", DATA / "hello.txt", "--cell", cell, "--max-steps", "300", "--run", "r", "--json")
    assert outcome.json["status"] == "completed"
    assert any("5 characters" in line and "validate" in line for line in outcome.err.splitlines())
    assert (outcome.json["best_val_loss"], outcome.json["val_loss"]) == (None, None)
    assert charrnn("sample", "--run", "r", "--prime", "h", "--greedy", "-n", "4").out == "hello\n"


def test_a_text_that_is_not_ascii_needs_no_locale(process):
    Path("c.txt").write_text("жé漢\U0001f600 " * 100, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= {"LC_ALL": "C"}
    assert process("train", "c.txt", *SMALL, "--run", "r", "--max-steps", "3", "--quiet", env=environment).code == 0
    options = ["--run", "r", "--prime", "é漢", "-n", "5", "--seed", "1"]
    outcome = process("sample", *options, env=environment)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch("é漢[жé漢\U0001f600 ]{5}\n", outcome.out)


# the run, its budget and its options


def test_the_default_run_directory_has_the_next_unused_number(train, corpus, monkeypatch):
    Path("runs/corpus-007").mkdir(parents=True)
    assert train(corpus, "--max-steps", "1")["run"] == "runs/corpus-008"
    assert train(corpus, "--max-steps", "1")["run"] == "runs/corpus-009"
    monkeypatch.setenv("CHARRNN_RUNS", "elsewhere")
    assert train(corpus, "--max-steps", "1")["run"] == "elsewhere/corpus-001"


def test_the_same_seed_gives_the_same_bits(train, corpus):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        train(corpus, "--max-steps", "6", "--run", name, "--seed", seed, "--dropout", "0.3")
    first, same, other = (weights(f"{name}/last.safetensors") for name in "abc")
    assert are_equal(first, same)
    assert not are_equal(first, other)


def test_the_first_budget_that_is_reached_ends_the_run(train, corpus):
    assert train(corpus, "--max-steps", "3", "--max-epochs", "100", "--max-minutes", "10")["steps"] == 3
    result = train(corpus, "--max-epochs", "2", "--max-steps", "1000")
    assert 2 <= result["epochs"] < 2.2
    result = train(corpus, "--max-minutes", "0.01", "--max-steps", "100000000")
    # the run ends early enough for its last validation, which takes longer on a busy machine
    assert (result["status"], 0.2 <= result["seconds"] < 5) == ("completed", True)


def test_the_command_line_overrides_the_options_of_a_file(train, corpus):
    Path("options.toml").write_text("cell = 'gru'\nnum_layers = 2\nlearning_rate = 1\nmax_steps = 3\ndropout = 0\n")
    config = train(corpus, "--config", "options.toml", "--max-steps", "2")["config"]
    assert (config["model"]["cell"], config["model"]["num_layers"], config["train"]["dropout"]) == ("gru", 2, 0)
    assert (config["train"]["learning_rate"], config["train"]["max_steps"]) == (1, 2)


@pytest.mark.parametrize(
    ("toml", "has_effect"),
    [
        ("lr = 0.5", lambda outcome: read_config("runs/corpus-001")["train"]["learning_rate"] == 0.5),
        ("run = 'named'", lambda outcome: Path("named/result.json").exists()),
        ("json = true", lambda outcome: json.loads(outcome.out)["steps"] == 1),
        ("quiet = true", lambda outcome: outcome.err == ""),
        ("task = 'series'\ntarget = 'b'\ncorpus = 'ab.csv'", lambda outcome: "predicts b" in outcome.err),
    ],
    ids=["lr", "run", "json", "quiet", "target"],
)
def test_a_file_can_contain_every_option(charrnn, corpus, toml, has_effect):
    Path("options.toml").write_text(toml)
    Path("ab.csv").write_text("a,b\n" + "1,2\n3,4\n" * 20)
    words = [] if "corpus" in toml else [corpus]
    outcome = charrnn("train", *words, "--hidden-size", "4", "--max-steps", "1", "--config", "options.toml")
    assert outcome.code == 0, outcome.err
    assert has_effect(outcome)


def test_init_from_copies_the_weights_and_extends_the_vocabulary(charrnn, trained):
    Path("same.txt").write_bytes((trained.parent / "corpus.txt").read_bytes())
    Path("new.txt").write_text("the quick brown föx jumps over the läzy dog.\n" * 30)
    source = charrnn("info", trained, "--json").json
    copied = train_on_small_batches(charrnn, "same.txt", "--max-steps", "0", "--init-from", trained, "--run", "a")
    assert copied["best_val_loss"] == pytest.approx(source["training"]["best_val_loss"], rel=1e-5)
    assert are_equal(weights("a/best.safetensors"), weights(trained / "best.safetensors"))
    options = ["--max-steps", "0", "--init-from", trained / "best.safetensors", "--run", "b"]
    extended = train_on_small_batches(charrnn, "new.txt", *options)
    assert extended["vocabulary_size"] == source["vocabulary_size"] + 2
    assert extended["best_val_loss"] < 0.7 * math.log(31)
    fresh = train_on_small_batches(charrnn, "new.txt", "--max-steps", "0", "--run", "c")
    assert fresh["best_val_loss"] > 0.9 * math.log(31)
    assert charrnn("sample", "--run", "b", "--prime", "fö", "-n", "3").out.startswith("fö")


def test_a_run_with_an_extended_vocabulary_can_be_resumed(charrnn, trained):
    Path("new.txt").write_text("the quick brown föx jumps over the läzy dog.\n" * 30)
    started = train_on_small_batches(charrnn, "new.txt", "--max-steps", "2", "--init-from", trained, "--run", "a")
    resumed = charrnn("train", "--resume", "a", "--max-steps", "4", "--json", "--quiet").json
    assert (resumed["steps"], resumed["vocabulary_size"]) == (4, started["vocabulary_size"])


def test_init_from_does_not_set_dropout(charrnn, trained):
    words = ["--init-from", trained, "--max-steps", "1", "--dropout", "0.25", "--recurrent-dropout", "0.4"]
    result = charrnn("train", trained.parent / "corpus.txt", *words, "--run", "r", "--json", "--quiet").json
    assert (result["config"]["train"]["dropout"], result["config"]["train"]["recurrent_dropout"]) == (0.25, 0.4)


# defaults


@pytest.fixture
def fast_machine(monkeypatch):
    """A machine on which 0.01 minutes are worth 384 units and each step costs nothing."""
    monkeypatch.setattr(sizing, "product_rate", lambda: 6 * 15 * 650_000**2 / (EFFICIENCY * 0.6))


def test_a_budget_of_minutes_sets_the_hidden_size_and_a_resume_keeps_it(charrnn, fast_machine, monkeypatch):
    Path("large.txt").write_text(TEXT * 20)  # a small text has a small network in any time
    outcome = charrnn("train", "large.txt", "--run", "r", "--max-minutes", "0.01", "--workers", "1")
    assert any("384" in line and "--hidden-size" in line for line in outcome.err.splitlines())
    assert read_config()["model"]["hidden_size"] == 384
    assert read_config()["train"]["learning_rate"] == pytest.approx(8e-3 * 256 / 384, abs=1e-6)
    monkeypatch.setattr(sizing, "product_rate", lambda: 1e20)
    assert charrnn("train", "--resume", "r", "--max-steps", "20").code == 0
    assert read_config()["model"]["hidden_size"] == 384


@pytest.mark.parametrize("options", [("--hidden-size", "16"), ("--max-steps", "2"), ("--max-epochs", "0.1")])
def test_a_given_size_or_another_budget_does_not_set_the_hidden_size(charrnn, fast_machine, options):
    Path("large.txt").write_text(TEXT * 20)
    outcome = charrnn("train", "large.txt", "--run", "r", "--max-minutes", "0.01", "--workers", "1", *options)
    assert "hidden size" not in outcome.err
    assert read_config()["model"]["hidden_size"] == (16 if options[0] == "--hidden-size" else 256)


def test_dropout_depends_on_the_budget_that_ends_first(charrnn, corpus):
    rates = []
    for budget in (("--max-epochs", "1"), ("--max-epochs", "1", "--max-steps", "3"), ("--max-epochs", "8")):
        run = f"r{len(rates)}"
        sizes = ("--hidden-size", "8", "--batch-size", "4", "--seq-length", "8")
        charrnn("train", corpus, "--run", run, *budget, *sizes)
        rates.append(read_config(run)["train"]["dropout"])
    assert rates[1] < rates[0] < rates[2]
    assert rates[2] == pytest.approx(2 * rates[0], abs=0.011)


def test_a_given_dropout_is_kept(charrnn, corpus):
    charrnn("train", corpus, "--run", "r", "--max-steps", "1", "--hidden-size", "8", "--recurrent-dropout", "0")
    options = read_config()["train"]
    assert options["recurrent_dropout"] == 0
    assert 0 < options["dropout"] <= 0.4


@pytest.mark.parametrize(
    ("criterion", "rank"),
    [("loss", lambda row: -row["val_loss"]), ("accuracy", lambda row: (row["val_accuracy"], -row["val_loss"]))],
    ids=["loss", "accuracy"],
)
def test_the_best_weights_have_the_lowest_loss_or_the_highest_accuracy(train, criterion, rank, tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{n:04}\t{n % 7}{n % 3}\n" for n in range(150)))
    options = ["--task", "translate", "--max-steps", "60", "--eval-every", "3", "--lr", "0.05"]
    result = train("pairs.tsv", *options, "--keep-best", criterion, "--run", "r")
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=rank)
    assert rank(best) > rank(rows[0])
    assert (result["best_step"], result["best_val_loss"]) == (best["step"], best["val_loss"])


def test_accuracy_is_refused_as_criterion_for_predictions_that_have_none(charrnn, corpus):
    charrnn("train", corpus, "--keep-best", "accuracy", *SMALL).fails(2, "--keep-best accuracy", "--keep-best loss")


def test_a_directory_of_documents_trains_and_a_sample_is_one_document(charrnn, train):
    for number in range(1, 12):
        Path(f"poems/{number}.txt").parent.mkdir(exist_ok=True)
        Path(f"poems/{number}.txt").write_text(f"poem\n{number}\n\nroses are red\n")
    result = train("poems", "--document-separator", r"\n%\n", "--max-steps", "2")
    assert result["run"].endswith("poems-001") and result["config"]["corpus"] == [str(Path("poems").absolute())]
    texts = [row["text"] for row in charrnn("sample", "-n", "300", "--num-samples", "9", "--json").rows]
    assert not any("\n%\n" in text for text in texts) and min(map(len, texts)) < 300
    assert charrnn("eval", "poems/1.txt", "--json").json["chars"] == 22
    Path("poems/12.txt").write_text("a new one")
    outcome = charrnn("train", "--resume", "poems-001", "--max-steps", "4", "--quiet")
    outcome.fails(4, "the corpus has changed", "--init-from", "poems-001", is_pinned=False)
