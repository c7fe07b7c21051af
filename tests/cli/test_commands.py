"""The commands at work: what each prints and leaves behind, as CLI.md says."""

import contextlib
import csv
import fcntl
import gzip
import io
import itertools
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli.app import COMMANDS
from charrnn.runs.checkpoint import load_checkpoint

HELLO = Path(__file__).parents[2] / "data" / "hello.txt"
CELLS = "rnn", "lstm", "gru"
SMALL = ("--hidden-size", "8", "--batch-size", "8", "--seq-length", "16", "--workers", "1")
RESULT = {
    *("run", "status", "steps", "epochs", "chars", "seconds", "chars_per_second", "train_loss", "val_loss"),
    *("best_val_loss", "best_val_bpc", "best_step", "test_loss", "parameters", "vocabulary_size", "workers", "config"),
    *("val_accuracy", "val_rmse", "test_metrics"),
}
METRICS = {
    *("step", "epoch", "chars", "seconds", "train_loss", "val_loss", "val_bpc", "learning_rate", "grad_norm"),
    *("chars_per_second", "val_accuracy", "val_rmse"),
}
TRAIN_OPTIONS = """--run --resume --init-from --bytes --encoding --lines --val-fraction --test-fraction --val-file
--task --features --delay --target
--cell --hidden-size --num-layers --embedding-size --dropout --recurrent-dropout
--batch-size --seq-length --optimizer --learning-rate --lr
--schedule --warmup-steps --weight-decay --clip-norm --clip-value --max-epochs --max-steps --max-minutes --patience
--seed --workers --device --precision --eval-every --save-every --sample-every --json --quiet --config"""
SAMPLE_OPTIONS = """--run --model --checkpoint --prime --prime-file --length -n --temperature --top-k --top-p --min-p
--greedy --num-samples --seed --stop --hide-prime --copies --on-unknown --features --json"""


def shell(script, **options):
    """A bash script in which `charrnn` is the command under test."""
    preamble = f'set -eo pipefail; charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", preamble + script], capture_output=True, text=True, check=False, timeout=60, **options
    )


def same(result, other):
    """Whether two results are of bit-identical runs."""
    keys = RESULT - {"run", "seconds", "chars_per_second", "config"}
    return {key: result[key] for key in keys} == {key: other[key] for key in keys}


def weights(path):
    return load_checkpoint(Path(path)).weights


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# help


@pytest.mark.parametrize(("command", "options"), [("train", TRAIN_OPTIONS), ("sample", SAMPLE_OPTIONS)])
def test_help_lists_every_option_of_the_contract(charrnn, command, options):
    outcome = charrnn(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    words = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", outcome.out))
    assert not set(options.split()) - words


IMPORTED = """if True:
    import atexit, sys
    atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
    from charrnn.cli.app import main
    main(sys.argv[1:])
"""


def imported(*words):
    """The modules that a command has imported at its end."""
    command = [sys.executable, "-c", IMPORTED, *words]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()[-1].split())


def test_the_list_of_commands_imports_no_command_and_nothing_heavy():
    modules = imported("--help")
    assert not modules & {"typer.rich_utils", "tqdm", "numpy", "optuna", "matplotlib"}
    assert {name for name in modules if name.startswith("charrnn")} <= {
        *("charrnn", "charrnn.cli", "charrnn.cli.app", "charrnn.cli.terminal", "charrnn.errors")
    }


def test_a_command_imports_only_its_own(trained):
    modules = imported("sample", "--run", str(trained), "--length", "3")
    assert not modules & {"typer.rich_utils", "rich", "tqdm", "optuna", "matplotlib"}
    ours = {name for name in modules if name.startswith("charrnn.")}
    assert not {name for name in ours if name.startswith(("charrnn.training", "charrnn.sweep", "charrnn.pictures"))}
    assert {name for name in ours if name.startswith("charrnn.cli.")} <= {
        *("charrnn.cli.app", "charrnn.cli.arguments", "charrnn.cli.sample", "charrnn.cli.terminal")
    }


def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(charrnn):
    for name, (_, summary) in COMMANDS.items():
        assert summary in " ".join(charrnn(name, "--help").out.split())


def test_version(charrnn):
    assert re.fullmatch(r"charrnn \d+\.\d+\.\d+\n", charrnn("--version").out)


# train: what it prints


def test_train_json_is_the_result_file_and_holds_exactly_the_fields_of_the_contract(charrnn, corpus):
    result = charrnn("train", corpus, *SMALL, "--run", "r", "--max-steps", "12", "--lr", "0.02", "--json").json
    assert result.keys() == RESULT
    assert result == json.loads(Path("r/result.json").read_text())
    assert (result["run"], result["status"], result["steps"]) == ("r", "completed", 12)
    assert (result["chars"], result["workers"], result["vocabulary_size"]) == (12 * 8 * 16, 1, 29)
    assert result["best_val_bpc"] == pytest.approx(result["best_val_loss"] / math.log(2))
    assert result["best_val_loss"] < math.log(29)
    assert result["test_loss"] is None
    assert result["config"] == json.loads(Path("r/config.json").read_text())
    assert result["parameters"] == sum(w.size for w in weights("r/best.safetensors").values())


def test_run_directory_holds_what_the_contract_says(train, corpus):
    train(corpus, "--run", "r", "--max-steps", "4")
    names = {"config.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "result.json"}
    assert {path.name for path in Path("r").iterdir()} == names


def test_metrics_have_a_line_for_each_evaluation(train, corpus):
    train(corpus, "--run", "r", "--max-steps", "20", "--eval-every", "6")
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6, 12, 18, 20]
    assert all(row.keys() == METRICS for row in rows)
    assert all(row["chars"] == row["step"] * 128 for row in rows)
    assert all(row["val_bpc"] == pytest.approx(row["val_loss"] / math.log(2)) for row in rows)


def test_progress_is_one_plain_line_for_each_evaluation(process, corpus):
    outcome = process("train", corpus, *SMALL, "--run", "r", "--max-steps", "20", "--eval-every", "6")
    assert (outcome.code, outcome.out) == (0, "")
    lines = outcome.err.splitlines()
    pattern = r"step (\d+)  epoch [\d.]+  train [\d.]+  val [\d.]+ \([\d.]+ bpc\)  \d+:\d\d  [\d.]+k/s"
    evaluations = [re.fullmatch(pattern, line) for line in lines if line.startswith("step")]
    assert [int(match[1]) for match in evaluations] == [6, 12, 18, 20]
    assert "\x1b" not in outcome.err
    assert "\r" not in outcome.err
    assert lines[-1] == "sample: charrnn sample --run r"


def test_progress_bar_only_on_a_terminal(process, corpus):
    """The terminal gets the bar, and stdout is still only JSON."""
    parent, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        str(corpus),
        *SMALL,
        "--run",
        "r",
        "--max-steps",
        "40",
        "--json",
    ]
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal) as child:
        os.close(terminal)
        with contextlib.suppress(OSError):  # a terminal without a writer ends in EIO
            while data := os.read(parent, 1 << 16):
                shown += data
        out, _ = child.communicate(timeout=30)
    os.close(parent)
    assert json.loads(out)["steps"] == 40
    assert b"%|" in shown
    assert b"step 40  epoch" in shown  # the history stands above the bar
    assert b"sample: charrnn sample --run r" in shown
    assert not shown.rstrip(b"\r").rpartition(b"\r")[2].strip()  # and the bar is gone


def test_default_budget_is_stated_in_the_first_line(charrnn, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.training.defaults.DEFAULT_MINUTES", 0.001)
    outcome = charrnn("train", corpus, *SMALL)
    assert outcome.code == 0
    assert "0.001 minutes" in outcome.err.splitlines()[0]


def test_quiet_has_nothing_to_say(process, corpus):
    outcome = process("train", corpus, *SMALL, "--max-steps", "4", "--quiet", "--sample-every", "2")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_samples_while_training_go_to_stderr(charrnn, corpus):
    outcome = charrnn("train", corpus, *SMALL, "--max-steps", "4", "--sample-every", "2", "--json")
    assert outcome.json["steps"] == 4
    assert outcome.err.count("--- sample ---") == 2


# train: text


def test_corpus_from_files_gzip_and_standard_input_is_the_same_corpus(train, corpus):
    text = corpus.read_text()
    Path("a.txt").write_text(text[:500])
    Path("b.txt").write_text(text[500:])
    Path("c.txt.gz").write_bytes(gzip.compress(text.encode()))
    Path("d.txt.gz").write_bytes(gzip.compress(text[:9].encode()) + gzip.compress(text[9:].encode()))
    plain = train(corpus, "--max-steps", "8")
    assert plain["config"]["corpus"] == [str(corpus.absolute())]
    for given in (["a.txt", "b.txt"], ["c.txt.gz"], ["d.txt.gz"]):
        assert same(train(*given, "--max-steps", "8"), plain)
    assert same(train("-", "--max-steps", "8", stdin=text), plain)
    assert not same(train("b.txt", "a.txt", "--max-steps", "8"), plain)
    names = sorted(path.name for path in Path("runs").iterdir())
    assert names == ["a-001", "b-001", "c-001", "corpus-001", "d-001", "stdin-001"]


def test_any_file_trains_as_bytes(charrnn, train):
    data = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8).tobytes()
    Path("data.bin").write_bytes(data)
    result = train("data.bin", "--bytes", "--max-steps", "4", "--run", "r")
    assert (result["vocabulary_size"], result["config"]["text"]["bytes"]) == (256, True)
    outcome = charrnn("sample", "--run", "r", "-n", "50", "--prime", "\u00e9", "--seed", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("\u00e9")
    assert charrnn("eval", "data.bin", "--run", "r", "--json").json["chars"] == 3000
    assert len(charrnn("info", "r", "--json").json["vocabulary"]) == 256


@pytest.mark.parametrize("largest", ["\u00ff", "\u2014", "\uffff", "\U0001f600"])
def test_plain_text_beside_text_with_larger_characters(train, charrnn, largest):
    Path("plain.txt").write_text("a-b " * 100)
    Path("rich.txt").write_text(f"a{largest}b " * 100, encoding="utf-8")
    result = train("plain.txt", "rich.txt", "plain.txt", "--run", "r", "--max-steps", "2")
    assert result["vocabulary_size"] == 5
    assert charrnn("eval", "plain.txt", "--run", "r", "--json").json["chars"] == 400
    assert charrnn("eval", "rich.txt", "--run", "r", "--json").json["chars"] == 400
    assert charrnn("sample", "--run", "r", "--prime", "a-b", "-n", "2").code == 0


def test_encoding_is_respected(train, charrnn):
    Path("c.txt").write_bytes("caf\u00e9 ".encode("latin-1") * 100)
    assert train("c.txt", "--encoding", "latin-1", "--run", "r", "--max-steps", "2")["vocabulary_size"] == 5
    assert charrnn("sample", "--run", "r", "--prime", "\u00e9", "-n", "3").out.startswith("\u00e9")


def test_lines_are_records_of_their_own(train, charrnn):
    Path("names.txt").write_text("anna\nbert\ncarl\ndora\n" * 40)
    result = train("names.txt", "--lines", "--run", "r", "--max-steps", "300", "--lr", "0.02", "--warmup-steps", "0")
    assert result["config"]["text"]["lines"] is True
    options = ["--run", "r", "--json", "-n", "5", "--num-samples", "20", "--seed", "1"]
    texts = [row["text"] for row in charrnn("sample", *options).rows]
    known = {"anna", "bert", "carl", "dora"}
    assert sum(text in known for text in texts) > 15  # each sample begins at the start of a record
    assert len(known & set(texts)) > 1
    shown = charrnn("sample", "r", "-n", "5", "--num-samples", "20", "--seed", "1").out
    assert shown == "".join(f"{text}\n" for text in texts)  # a line each, without rulers
    Path("two.txt").write_text("anna\nbert\n")
    Path("swapped.txt").write_text("bert\nanna\n")
    losses = [charrnn("eval", name, "--run", "r", "--json").json for name in ("two.txt", "swapped.txt")]
    assert losses[0]["chars"] == 10  # the first character too is predicted, from the start of a record
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-5)


def test_split_is_contiguous_train_then_validation_then_test(charrnn):
    """Each part has a character of its own, so what is not trained on scores far worse than chance."""
    Path("c.txt").write_text("ab" * 320 + "cd" * 40 + "ef" * 40)
    outcome = charrnn(
        *["train", "c.txt", *SMALL, "--run", "r", "--max-steps", "60", "--lr", "0.02"],
        *["--val-fraction", "0.1", "--test-fraction", "0.1", "--json"],
    )
    result = outcome.json
    assert "6 distinct characters, 640 to train on, 80 to validate, 80 to test" in outcome.err
    scored = [charrnn("eval", "-", "--run", "r", "--json", stdin=text).json["loss"] for text in ("cd" * 40, "ef" * 40)]
    assert result["train_loss"] < 0.5 * min(scored)
    assert result["best_val_loss"] == pytest.approx(scored[0], rel=1e-5)
    assert result["test_loss"] == pytest.approx(scored[1], rel=1e-5)


def test_validation_file_leaves_the_whole_corpus_for_training(charrnn, corpus):
    Path("val.txt").write_text("the lazy dog jumps.\n" * 5)
    outcome = charrnn("train", corpus, *SMALL, "--max-steps", "4", "--val-file", "val.txt", "--run", "r", "--json")
    assert "1,350 to train on, 100 to validate, 0 to test" in outcome.err
    scored = charrnn("eval", "val.txt", "--run", "r", "--json").json
    assert outcome.json["best_val_loss"] == pytest.approx(scored["loss"], rel=1e-5)


def test_validation_loss_is_that_of_eval_on_the_same_text(train, charrnn, corpus):
    result = train(corpus, "--max-steps", "10", "--run", "r")
    Path("tail.txt").write_text(corpus.read_text()[-135:])
    assert charrnn("eval", "tail.txt", "--run", "r", "--json").json["loss"] == pytest.approx(
        result["best_val_loss"], rel=1e-5
    )


@pytest.mark.parametrize("seq_length", [1, 16, 63, 64, 65, 200])
def test_every_sequence_length_trains_and_validates(charrnn, corpus, seq_length):
    sizes = ["--hidden-size", "8", "--batch-size", "4", "--seq-length", seq_length, "--workers", "1"]
    result = charrnn("train", corpus, *sizes, "--max-steps", "2", "--json", "--quiet").json
    assert result["best_val_loss"] == pytest.approx(math.log(29), rel=0.1)


@pytest.mark.parametrize("cell", CELLS)
def test_hello_is_learnt_by_every_cell(charrnn, cell):
    outcome = charrnn("train", HELLO, "--cell", cell, "--max-steps", "300", "--run", "r", "--json")
    assert outcome.json["status"] == "completed"
    assert "the corpus is too small to validate on: 5 characters; all are trained on" in outcome.err.splitlines()
    assert (outcome.json["best_val_loss"], outcome.json["val_loss"]) == (None, None)
    assert charrnn("sample", "--run", "r", "--prime", "h", "--greedy", "-n", "4").out == "hello\n"


def test_non_ascii_text_survives_the_c_locale(process):
    text = "\u0436\u00e9\u6f22\U0001f600 " * 100
    Path("c.txt").write_text(text, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= {"LC_ALL": "C"}
    assert process("train", "c.txt", *SMALL, "--run", "r", "--max-steps", "3", "--quiet", env=environment).code == 0
    options = ["--run", "r", "--prime", "\u00e9\u6f22", "-n", "5", "--seed", "1"]
    outcome = process("sample", *options, env=environment)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch("\u00e9\u6f22[\u0436\u00e9\u6f22\U0001f600 ]{5}\n", outcome.out)


# train: where, and for how long


def test_default_run_takes_the_next_free_number(train, corpus, monkeypatch):
    Path("runs/corpus-007").mkdir(parents=True)
    assert train(corpus, "--max-steps", "1")["run"] == "runs/corpus-008"
    assert train(corpus, "--max-steps", "1")["run"] == "runs/corpus-009"
    monkeypatch.setenv("CHARRNN_RUNS", "elsewhere")
    assert train(corpus, "--max-steps", "1")["run"] == "elsewhere/corpus-001"


def test_seed_repeats_a_run_to_the_bit(train, corpus):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        train(corpus, "--max-steps", "6", "--run", name, "--seed", seed, "--dropout", "0.3")
    first, again, other = (weights(f"{name}/last.safetensors") for name in "abc")
    assert equal(first, again)
    assert not equal(first, other)


def test_first_budget_to_be_reached_ends_the_run(train, corpus):
    assert train(corpus, "--max-steps", "3", "--max-epochs", "100", "--max-minutes", "10")["steps"] == 3
    result = train(corpus, "--max-epochs", "2", "--max-steps", "1000")
    assert 2 <= result["epochs"] < 2.2
    result = train(corpus, "--max-minutes", "0.005", "--max-steps", "100000000")
    assert (result["status"], 0.3 <= result["seconds"] < 5) == ("completed", True)


def test_configuration_file_gives_options_and_the_command_line_wins(train, corpus):
    Path("sweep.toml").write_text("cell = 'gru'\nnum_layers = 2\nlearning_rate = 1\nmax_steps = 3\ndropout = 0\n")
    config = train(corpus, "--config", "sweep.toml", "--max-steps", "2")["config"]
    assert (config["model"]["cell"], config["model"]["num_layers"], config["train"]["dropout"]) == ("gru", 2, 0)
    assert (config["train"]["learning_rate"], config["train"]["max_steps"]) == (1, 2)


@pytest.mark.parametrize(
    ("toml", "check"),
    [
        (
            "lr = 0.5",
            lambda outcome: (
                json.loads(Path("runs/corpus-001/config.json").read_text())["train"]["learning_rate"] == 0.5
            ),
        ),
        ("run = 'named'", lambda outcome: Path("named/result.json").exists()),
        ("json = true", lambda outcome: json.loads(outcome.out)["steps"] == 1),
        ("quiet = true", lambda outcome: outcome.err == ""),
        ("task = 'series'\ntarget = 'b'\ncorpus = 'ab.csv'", lambda outcome: "predicts b" in outcome.err),
    ],
    ids=["lr", "run", "json", "quiet", "target"],
)
def test_every_option_may_be_given_in_a_configuration_file(charrnn, corpus, toml, check):
    Path("sweep.toml").write_text(toml)
    Path("ab.csv").write_text("a,b\n" + "1,2\n3,4\n" * 20)
    words = [] if "corpus" in toml else [corpus]
    outcome = charrnn("train", *words, "--hidden-size", "4", "--max-steps", "1", "--config", "sweep.toml")
    assert outcome.code == 0, outcome.err
    assert check(outcome)


def test_init_from_starts_with_the_weights_and_extends_the_vocabulary(train, charrnn, trained):
    Path("same.txt").write_bytes((trained.parent / "corpus.txt").read_bytes())
    Path("new.txt").write_text("the quick brown f\u00f6x jumps over the l\u00e4zy dog.\n" * 30)
    options = ["--max-steps", "0", "--init-from"]
    source = charrnn("info", trained, "--json").json
    again = train_from(charrnn, "same.txt", *options, trained, "--run", "a")
    assert again["best_val_loss"] == pytest.approx(source["training"]["best_val_loss"], rel=1e-5)
    assert equal(weights("a/best.safetensors"), weights(trained / "best.safetensors"))
    extended = train_from(charrnn, "new.txt", *options, trained / "best.safetensors", "--run", "b")
    assert extended["vocabulary_size"] == source["vocabulary_size"] + 2
    assert extended["best_val_loss"] < 0.7 * math.log(31)
    assert train_from(charrnn, "new.txt", "--max-steps", "0", "--run", "c")["best_val_loss"] > 0.9 * math.log(31)
    assert charrnn("sample", "--run", "b", "--prime", "f\u00f6", "-n", "3").out.startswith("f\u00f6")


def train_from(charrnn, *arguments):
    sizes = ["--batch-size", "8", "--seq-length", "16", "--workers", "1", "--json", "--quiet"]
    return charrnn("train", *arguments, *sizes).json


def test_init_from_leaves_dropout_of_both_kinds_to_its_options(train, charrnn, trained):
    words = ["--init-from", trained, "--max-steps", "1", "--dropout", "0.25", "--recurrent-dropout", "0.4"]
    result = charrnn("train", trained.parent / "corpus.txt", *words, "--run", "r", "--json", "--quiet").json
    assert (result["config"]["train"]["dropout"], result["config"]["train"]["recurrent_dropout"]) == (0.25, 0.4)


def test_resume_goes_on_with_a_larger_budget_from_a_corpus_that_moved(train, charrnn, corpus):
    train(corpus, "--run", "r", "--max-steps", "4")
    Path("moved.txt").write_bytes(corpus.read_bytes())
    corpus.unlink()
    result = charrnn("train", "--resume", "r", "moved.txt", "--max-steps", "9", "--json", "--quiet").json
    assert (result["run"], result["status"], result["steps"]) == ("r", "completed", 9)


def test_run_whose_corpus_moved_is_told_so_once(train, charrnn, corpus):
    train(corpus, "--run", "r", "--max-steps", "2")
    corpus.rename("moved.txt")
    assert charrnn("train", "--resume", "r", "moved.txt", "--max-steps", "4", "--json", "--quiet").json["steps"] == 4
    assert charrnn("train", "--resume", "r", "--max-steps", "6", "--json", "--quiet").json["steps"] == 6


# sample


def test_sample_text_is_prime_and_characters_and_a_line_end(charrnn, trained):
    outcome = charrnn("sample", "--run", trained, "--prime", "the q", "-n", "20", "--seed", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch(r"the q[\s\S]{20}\n", outcome.out)
    hidden = charrnn("sample", "--run", trained, "--prime", "the q", "-n", "20", "--seed", "1", "--hide-prime")
    assert hidden.out == outcome.out.removeprefix("the q")


def test_sample_json_has_a_line_for_each_sample_with_the_fields_of_the_contract(charrnn, trained):
    options = ["--run", trained, "--prime", "the ", "-n", "30", "--json"]
    rows = charrnn("sample", *options, "--num-samples", "3", "--seed", "5").rows
    assert [row["seed"] for row in rows] == [5, 6, 7]
    assert all(row.keys() == {"prime", "text", "seed", "nats"} for row in rows)
    assert all((row["prime"], len(row["text"])) == ("the ", 30) for row in rows)
    assert len({row["text"] for row in rows}) == 3
    alone = charrnn("sample", *options, "--seed", "7").json
    assert (alone["text"], alone["nats"]) == (rows[2]["text"], pytest.approx(rows[2]["nats"], rel=1e-4))


def test_nats_of_a_sample_are_its_loss_under_eval(charrnn, trained):
    options = ["-n", "40", "--seed", "1", "--temperature", "1.5", "--top-k", "20", "--json"]
    row = charrnn("sample", "--run", trained, "--prime", "the ", *options).json
    scored = charrnn("eval", "-", "--run", trained, "--per-char", "--json", stdin=row["prime"] + row["text"]).rows
    assert row["nats"] == pytest.approx(np.mean([entry["loss"] for entry in scored[4:]]), rel=1e-4)


def test_seed_repeats_a_sample_and_none_draws_a_new_one(charrnn, trained):
    options = ["--run", trained, "-n", "80"]
    first, again, other = (charrnn("sample", *options, "--seed", seed).out for seed in (3, 3, 4))
    assert first == again != other
    assert charrnn("sample", *options).out != charrnn("sample", *options).out


def test_greedy_is_temperature_zero_and_top_one(charrnn, trained):
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
def test_stop_text_ends_a_sample_before_it_though_it_comes_in_pieces(charrnn, trained, count):
    options = ["--run", trained, "-n", "200", "--seed", "2", "--json", "--num-samples", count]
    whole = charrnn("sample", *options).rows[0]["text"]
    for stop in (whole[60], whole[60:62], whole[60:70], whole[60:70] + "\n\n\n"):
        expected = whole.partition(stop)[0]
        assert charrnn("sample", *options, "--stop", stop).rows[0]["text"] == expected
    first, second = whole[90:95], whole[40:47]
    both = charrnn("sample", *options, "--stop", first, "--stop", second).rows[0]["text"]
    assert both == min(whole.partition(first)[0], whole.partition(second)[0], key=len)


def test_stop_text_is_never_shown_in_part(charrnn, trained):
    options = ["--run", trained, "-n", "200", "--seed", "2"]
    whole = charrnn("sample", *options).out
    stop = whole[60:70]
    assert charrnn("sample", *options, "--stop", stop).out == whole.partition(stop)[0] + "\n"
    # What only begins like a stop text is shown after all, at the end too.
    assert charrnn("sample", *options, "--stop", whole[195:200] + "zzz").out == whole


def test_prime_from_a_file_and_from_standard_input(charrnn, trained):
    options = ["--run", trained, "-n", "9", "--seed", "1"]
    Path("prime.txt").write_text("the fox\n")
    expected = charrnn("sample", *options, "--prime", "the fox\n").out
    assert expected.startswith("the fox\n")
    assert charrnn("sample", *options, "--prime-file", "prime.txt").out == expected
    assert charrnn("sample", *options, "--prime-file", "-", stdin="the fox\n").out == expected


def test_newest_run_is_the_default(charrnn, train, trained, monkeypatch):
    Path("x.txt").write_text("xy" * 200)
    train("x.txt", "--max-steps", "1")
    assert re.fullmatch("[xy]{20}\n", charrnn("sample", "-n", "20").out)
    Path("q.txt").write_text("qr" * 200)
    train("q.txt", "--max-steps", "1")
    assert re.fullmatch("[qr]{20}\n", charrnn("sample", "-n", "20").out)
    monkeypatch.setenv("CHARRNN_RUNS", str(trained.parent))
    assert charrnn("sample", "-n", "5", "--prime", "lazy").out.startswith("lazy")


def test_a_checkpoint_file_is_enough_wherever_it_is_copied(charrnn, trained):
    shutil.copy(trained / "best.safetensors", "copy.safetensors")
    options = ["-n", "30", "--seed", "1"]
    outcome = charrnn("sample", "--model", "copy.safetensors", *options)
    assert (outcome.code, outcome.out) == (0, charrnn("sample", "--run", trained, *options).out)


def test_best_and_last_checkpoint_can_be_told_apart(train, charrnn):
    Path("c.txt").write_text("ab" * 300)
    Path("val.txt").write_text("ba" * 20 + "bb" * 20)
    options = ["--max-steps", "60", "--eval-every", "1", "--lr", "0.02"]
    result = train("c.txt", "--val-file", "val.txt", "--run", "r", *options)
    assert result["best_step"] < result["steps"]
    losses = {
        name: charrnn("eval", "val.txt", "--run", "r", "--checkpoint", name, "--json").json["loss"]
        for name in ("best", "last")
    }
    assert losses == pytest.approx({"best": result["best_val_loss"], "last": result["val_loss"]}, rel=1e-5)
    assert losses["best"] < losses["last"]


# eval


def test_eval_json_has_exactly_the_fields_of_the_contract(charrnn, trained):
    row = charrnn("eval", "-", "--run", trained, "--json", stdin="the lazy dog.\n").json
    assert row.keys() == {"chars", "loss", "bpc", "perplexity"}
    assert row["chars"] == 14
    assert row["bpc"] == pytest.approx(row["loss"] / math.log(2))
    assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))


def test_eval_knows_its_own_text_from_noise(charrnn, trained):
    text = "the quick brown fox jumps over the lazy dog.\n" * 3
    noise = "".join(np.random.default_rng(0).permutation(list(text)))
    losses = [charrnn("eval", "-", "--run", trained, "--json", stdin=t).json["loss"] for t in (text, noise)]
    assert losses[0] < 0.5 * losses[1]
    plain = charrnn("eval", "-", "--run", trained, stdin=text)
    assert (plain.err, plain.out.count("\n")) == ("", 1)
    assert f"{losses[0]:.4f} nats" in plain.out


def test_eval_of_characters_and_of_lines_adds_up_to_that_of_the_text(charrnn, trained):
    Path("t.txt").write_text("the fox\nthe dog\n\nover")
    whole = charrnn("eval", "t.txt", "--run", trained, "--json").json
    chars = charrnn("eval", "t.txt", "--run", trained, "--json", "--per-char").rows
    lines = charrnn("eval", "t.txt", "--run", trained, "--json", "--per-line").rows
    assert "".join(row["char"] for row in chars) == "the fox\nthe dog\n\nover"
    assert np.mean([row["loss"] for row in chars]) == pytest.approx(whole["loss"], rel=1e-5)
    assert [row["chars"] for row in lines] == [8, 8, 1, 4]
    total = sum(row["loss"] * row["chars"] for row in lines)
    assert total / whole["chars"] == pytest.approx(whole["loss"], rel=1e-5)
    *shown, last = charrnn("eval", "t.txt", "--run", trained, "--per-line").out.splitlines()
    assert last == charrnn("eval", "t.txt", "--run", trained).out.strip()
    assert [float(line.split()[0]) for line in shown] == pytest.approx([row["loss"] for row in lines], abs=1e-4)


def test_eval_lines_resets_the_state_at_each_line(charrnn, trained):
    both = charrnn("eval", "-", "--run", trained, "--json", "--per-line", "--lines", stdin="the fox\nthe fox\n").rows
    assert both[0]["loss"] == pytest.approx(both[1]["loss"], rel=1e-5)
    carried = charrnn("eval", "-", "--run", trained, "--json", "--per-line", stdin="the fox\nthe fox\n").rows
    assert carried[1]["loss"] != pytest.approx(both[1]["loss"], rel=1e-3)


def test_eval_reads_gzip(charrnn, trained):
    Path("t.txt.gz").write_bytes(gzip.compress(b"the lazy dog"))
    expected = charrnn("eval", "-", "--run", trained, "--json", stdin="the lazy dog").json
    assert charrnn("eval", "t.txt.gz", "--run", trained, "--json").json == expected


# info and runs


def test_info_json_tells_configuration_vocabulary_parameters_and_training(charrnn, trained):
    values = charrnn("info", trained, "--json").json
    assert (values["model"]["cell"], values["model"]["hidden_size"]) == ("lstm", 16)
    assert "".join(values["vocabulary"]) == "\n .abcdefghijklmnopqrstuvwxyz"
    assert values["vocabulary_size"] == 29
    assert (values["training"]["status"], values["training"]["steps"]) == ("completed", 80)
    assert values["training"]["config"]["train"]["batch_size"] == 8
    model = charrnn("info", trained / "best.safetensors", "--json").json
    assert (model["model"], model["vocabulary"]) == (values["model"], values["vocabulary"])


def test_parameters_mean_the_same_in_info_as_in_a_result(charrnn, trained):
    """Names of JSON fields never change meaning between commands."""
    result = json.loads((trained / "result.json").read_text())
    assert charrnn("info", trained, "--json").json["parameters"] == result["parameters"]


def test_info_shows_a_table_of_all_parameters(charrnn, trained):
    outcome = charrnn("info", trained)
    assert (outcome.code, outcome.err) == (0, "")
    for name, array in weights(trained / "best.safetensors").items():
        shape = " x ".join(map(str, array.shape))
        assert re.search(rf"{re.escape(name)}\W+{shape}\W+{array.size:,}\W", outcome.out)
    assert "\x1b" not in outcome.out


@pytest.fixture
def three_runs(train, corpus):
    """Their results, in the order of their training."""
    cells = ("lstm", "gru", "rnn")
    results = [train(corpus, "--cell", c, "--max-steps", n) for c, n in zip(cells, (40, 4, 20), strict=True)]
    assert len({result["best_val_loss"] for result in results}) == 3
    return results


def test_runs_json_has_the_best_validation_loss_first_and_all_fields_of_the_results(charrnn, three_runs):
    rows = json.loads(charrnn("runs", "--json").out)["runs"]
    by_loss = sorted(three_runs, key=lambda result: result["best_val_loss"])
    assert [row["run"] for row in rows] == [result["run"] for result in by_loss]
    for row, result in zip(rows, by_loss, strict=True):
        assert {key: row[key] for key in RESULT - {"config"}} == {key: result[key] for key in RESULT - {"config"}}
        settings = result["config"]["model"] | result["config"]["train"] | result["config"]["text"]
        assert {key: row[key] for key in settings} == settings


def test_runs_csv_is_the_same_table(charrnn, three_runs):
    outcome = charrnn("runs", "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    listed = json.loads(charrnn("runs", "--json").out)["runs"]
    assert [row["run"] for row in rows] == [row["run"] for row in listed]
    assert [float(row["best_val_loss"]) for row in rows] == [row["best_val_loss"] for row in listed]
    assert sorted(row["cell"] for row in rows) == ["gru", "lstm", "rnn"]
    assert (outcome.err, "\x1b" in outcome.out) == ("", False)


def test_runs_are_sorted_and_chosen_by_any_field(charrnn, three_runs):
    def listed(*options):
        return [row["cell"] for row in json.loads(charrnn("runs", "--json", *options).out)["runs"]]

    assert listed("--sort", "steps") == ["gru", "rnn", "lstm"]
    assert listed("--sort", "-steps") == ["lstm", "rnn", "gru"]
    assert listed("--sort", "cell") == ["gru", "lstm", "rnn"]
    assert listed("--where", "cell=gru") == ["gru"]
    assert listed("--where", "steps=20", "--where", "hidden_size=8") == ["rnn"]
    assert listed("--where", "steps=20", "--where", "cell=gru") == []
    rate = three_runs[0]["config"]["train"]["learning_rate"]
    assert sorted(listed("--where", f"lr={rate}")) == ["gru", "lstm", "rnn"]
    assert listed("--where", "steps>=20", "--where", "cell!=lstm") == ["rnn"]
    assert listed("--where", "steps<20") == ["gru"]
    assert listed("--where", "best-step>20") == ["lstm"]
    assert listed("--where", f"run={Path(three_runs[1]['run']).name}") == ["gru"]
    assert listed("--where", "test_loss!=-", "--where", "steps=20") == []
    assert len(listed("--where", "corpus=corpus.txt")) == 3
    outcome = charrnn("runs", "--where", "steps>1e6")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "none of 3 runs matches\n")


def test_columns_are_chosen_and_named(charrnn, three_runs):
    rows = charrnn("runs", "--columns", "run,best-val-loss,lr", "--json").json["runs"]
    assert [list(row) for row in rows] == [["run", "best_val_loss", "learning_rate"]] * 3
    assert (
        charrnn("runs", "--columns", "cell,steps", "--sort", "steps", "--csv").out
        == "cell,steps\ngru,4\nrnn,20\nlstm,40\n"
    )
    assert charrnn("runs", "--columns", "cell,lr").out.split()[:2] == ["cell", "lr"]
    charrnn("runs", "--columns", "cell", "--group-by", "cell").fails(2, "--columns and --group-by exclude each other")


def test_groups_of_runs_are_compared_by_their_medians(charrnn, train, corpus):
    losses = {"lstm": [], "gru": []}
    for cell, seed in itertools.product(losses, (1, 2, 3)):
        losses[cell].append(train(corpus, "--cell", cell, "--seed", seed, "--max-steps", "4")["best_val_loss"])
    groups = charrnn("runs", "--group-by", "cell,hidden-size", "--json").json["groups"]
    expected = [
        {"cell": cell, "hidden_size": 8, "runs": 3, "median": sorted(of)[1], "least": min(of), "greatest": max(of)}
        for cell, of in losses.items()
    ]
    assert groups == sorted(expected, key=lambda group: group["median"])
    assert charrnn("runs", "--group-by", "cell", "--csv").out.splitlines()[0] == "cell,runs,median,least,greatest"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal_and_cuts_neither_run_nor_loss(train, corpus, width):
    name = "a-run-with-a-rather-long-name"
    results = [train(corpus, "--run", f"runs/{name}-{n}", "--max-steps", "4", "--seed", n) for n in (1, 2)]
    parent, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen([sys.executable, "-m", "charrnn", "runs"], stdout=terminal, env=environment) as child:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):
            while data := os.read(parent, 1 << 16):
                shown += data
        assert child.wait(30) == 0
    os.close(parent)
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= width
    for result in results:
        (line,) = [line for line in lines if Path(result["run"]).name in line]
        assert f"{result['best_val_loss']:.4f}" in line
    assert ("no room for: " in " ".join(lines)) == (width < 120)


def test_runs_table_shows_every_run_and_what_sets_them_apart(charrnn, three_runs):
    outcome = charrnn("runs")
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    lines = outcome.out.splitlines()
    for result in three_runs:
        (line,) = [line for line in lines if Path(result["run"]).name in line]
        assert f" {result['config']['model']['cell']} " in line
        assert " completed " in line
    assert "hidden_size 8" in outcome.out


def breakages():
    def metrics(text):
        def damage(run):
            (run / "result.json").unlink()
            (run / "metrics.jsonl").write_bytes(text)

        return damage

    def overwrite(name, text):
        return lambda run: (run / name).write_bytes(text)

    return {
        "no result": (lambda run: (run / "result.json").unlink(), "unfinished"),
        "nothing but its configuration": (
            lambda run: [p.unlink() for p in run.iterdir() if p.name != "config.json"],
            "unfinished",
        ),
        "empty": (lambda run: [p.unlink() for p in run.iterdir()], "broken"),
        "torn result": (overwrite("result.json", b'{"status": "comp'), "broken"),
        "binary configuration": (overwrite("config.json", b"\xff\x00"), "broken"),
        "unknown cell": (lambda run: replace_text(run / "config.json", '"lstm"', '"mamba"'), "broken"),
        "torn metrics": (metrics(b'{"step": 1, "val_lo'), None),
        "metrics without fields": (metrics(b"{}\n"), None),
        "metrics of another shape": (metrics(b"[1]\n"), None),
        "result of another shape": (overwrite("result.json", b"[]"), "broken"),
    }


def replace_text(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("kind", breakages())
def test_unfinished_and_broken_runs_are_listed_as_such(charrnn, train, trained, corpus, kind):
    damage, status = breakages()[kind]
    train(corpus, "--max-steps", "2")
    shutil.copytree(trained, "runs/other")
    damage(Path("runs/other"))
    rows = {Path(row["run"]).name: row["status"] for row in json.loads(charrnn("runs", "--json").out)["runs"]}
    assert rows["corpus-001"] == "completed"
    assert rows["other"] in ([status] if status else ["broken", "unfinished"])
    for options in ([], ["--csv"], ["--sort", "steps"]):
        outcome = charrnn("runs", *options)
        assert (outcome.code, outcome.err) == (0, "")
        assert rows["other"] in outcome.out


def test_no_runs_at_all_is_said(charrnn):
    Path("runs").mkdir()
    outcome = charrnn("runs")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs under runs\n")
    assert json.loads(charrnn("runs", "--json").out)["runs"] == []


def test_pipes_in_and_out(corpus, trained):
    script = f"""
    cat corpus.txt | charrnn train - --hidden-size 8 --max-steps 2 --json --quiet | head -c 8
    charrnn sample --run "{trained}" -n 40 --hide-prime | charrnn eval - --run "{trained}" --json
    """
    ended = shell(script)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, _, second = ended.stdout.partition("{")[2].partition("{")
    assert first.startswith('"run": ')
    assert json.loads("{" + second)["chars"] == 41


def test_a_run_with_an_extended_vocabulary_resumes(train, charrnn, trained):
    Path("new.txt").write_text("the quick brown f\u00f6x jumps over the l\u00e4zy dog.\n" * 30)
    started = train_from(charrnn, "new.txt", "--max-steps", "2", "--init-from", trained, "--run", "a")
    resumed = charrnn("train", "--resume", "a", "--max-steps", "4", "--json", "--quiet")
    assert (resumed.code, resumed.json["steps"]) == (0, 4)
    assert resumed.json["vocabulary_size"] == started["vocabulary_size"]


def test_bench_shows_where_the_time_of_a_run_goes(charrnn, corpus):
    words = ["bench", corpus, *["--hidden-size", "8", "--batch-size", "2", "--workers", "2", "--seconds", "0.1"]]
    phases = {each["name"]: each for each in charrnn(*words, "--phases", "--json", "--dropout", "0.5").json}
    whole = sum(each["seconds"] * each["times"] for each in phases.values())
    assert whole == pytest.approx(300, rel=0.01)  # the default minutes, and nothing left out
    assert phases["start"]["times"] == 1 and phases["evaluation"]["times"] <= 20 < phases["gradient"]["times"]
    assert all(phases[name]["seconds"] > 0 for name in ("gradient", "update", "masks", "evaluation", "save"))
    assert "evaluation" in charrnn(*words, "--phases").out
    charrnn(*words, "--phases", "--device", "torch").fails(2, "--phases goes with the NumPy engine, not with --device")
