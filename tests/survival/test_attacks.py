"""Attacks that are generated: commands upon damaged runs, odd streams and options at and beyond their ends.

Whatever comes, a command ends in time with a documented exit code and at most one line of error: no traceback, no
warning, nothing that a terminal would obey.
"""

import contextlib
import copy
import dataclasses
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save

from charrnn.cli.app import main
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, SamplingOptions, TrainingOptions
from charrnn.runs.checkpoint import _digest

CODES = {0, 2, 3, 4, 5, 6}
SECONDS = 30  # for one command
CASES = 10  # a test
TINY = ("--hidden-size", "4", "--batch-size", "4", "--seq-length", "8", "--workers", "1")
FILES = ("config.json", "metrics.jsonl", "result.json", "best.safetensors", "last.safetensors")
COMMANDS = (
    ("info", "r"),
    ("info", "r", "--json"),
    ("info", "r", "--toml"),
    ("runs", "."),
    ("runs", ".", "--json"),
    ("runs", ".", "--group-by", "cell,seed"),
    ("sample", "r", "-n", "5"),
    ("eval", "corpus.txt", "--run", "r"),
    ("predict", "corpus.txt", "--run", "r"),
    ("train", "--resume", "r", "--max-steps", "6", "-q"),
    ("train", "--resume", "r"),
    ("train", "corpus.txt", "--init-from", "r", "--max-steps", "1", "--workers", "1", "-q"),
    ("plot", "r", "--terminal"),
)
VALUES = (
    *(None, True, -1, 0, 1, 2, 33, 1024, 10**6, 10**9, 10**30, 10**100, -(10**18), 0.5, 1e308, -1e-300, float("nan")),
    *("", "lstm", "gru", "a\x1b[31mb", "\x9b2J", "\u202e", "a\0b", "\ud800", "\udcff", "x" * 5000, "/dev/zero", "1"),
    *([], [[]], {}, {"a": 1}, [None], ["\x1b"], [1e308], [10**30]),
)


class TooLongError(Exception):
    """A command that does not end."""


def run(*words, stdin=os.devnull):
    """A command in this process: its exit code, stdout, stderr and the warnings raised."""

    def late(*_):
        raise TooLongError(words)

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before, handlers = signal.signal(signal.SIGALRM, late), {n: signal.getsignal(n) for n in (1, 2, 15)}
    signal.alarm(SECONDS)
    try:
        with contextlib.ExitStack() as stack:
            sys.stdin = stack.enter_context(open(stdin))
            warned = stack.enter_context(warnings.catch_warnings(record=True))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            ending = stack.enter_context(pytest.raises(SystemExit))
            main(list(words))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.stdin = sys.__stdin__
    texts = [stream.detach().getvalue().decode() if not stream.flush() else "" for stream in (out, err)]
    return ending.value.code, *texts, [str(warning.message) for warning in warned]


def harmless(words, code, out, err, warned=()):
    case = f"{words}: {code}\n{out[-500:]}\n{err[-3000:]}\n{warned}"
    assert code in CODES, case
    assert not warned, case
    assert "Traceback" not in err, case
    if code:
        (line,) = [line for line in err.splitlines() if line.startswith("charrnn: error: ")]
        assert err.endswith(line + "\n"), case
    asked = out if words[0] not in ("sample", "predict") else ""  # the text that was asked for
    assert all(character.isprintable() or character in "\n\t" for character in err + asked), case


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with a corpus and two runs on it."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "corpus.txt").write_text("the quick brown fox.\n" * 30)
    with contextlib.chdir(folder):
        for name, *more in (("r",), ("other", "--cell", "gru", "--hidden-size", "5", "--seed", "2")):
            words = ["train", "corpus.txt", *TINY, *more, "--run", name, "--max-steps", "4", "--eval-every", "1", "-q"]
            assert run(*words)[0] == 0
    return folder


def replaced(rng, value):
    """The value with one thing in it, anywhere, replaced, added or gone."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = copy.copy(value)
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if rng.random() < 0.1:
            del value[key]
        else:
            value[key] = replaced(rng, value[key])
        return value
    return copy.deepcopy(rng.choice(VALUES))


def deep(depth=100_000):
    return b"[" * depth + b"]" * depth


def damage(rng, path):
    """Puts something else in the place of a file; says what."""
    kinds = ["missing", "empty", "directory", "fifo", "endless", "circle", "huge", "noise", "swapped", "deep", "torn"]
    kind = rng.choice([*kinds, *["value"] * 16])
    data, other = path.read_bytes(), path.parent.parent / "other" / path.name
    path.unlink()
    match kind:
        case "empty" | "noise" | "torn" | "deep":
            kept = {"empty": b"", "noise": rng.randbytes(300), "torn": data[: rng.randrange(len(data))], "deep": deep()}
            path.write_bytes(kept[kind])
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "circle":
            path.symlink_to(path.name)
        case "huge":
            path.write_bytes(data)
            os.truncate(path, 10**11)
        case "swapped":
            shutil.copy(other, path)
        case "value" if path.suffix == ".safetensors":
            forge(rng, path, data)
        case "value":
            rows = data.splitlines() if path.suffix == ".jsonl" else [data]
            at = rng.randrange(len(rows))
            rows[at] = json.dumps(replaced(rng, json.loads(rows[at]))).encode()
            path.write_bytes(b"\n".join(rows) + b"\n")
    return kind


def forge(rng, path, data):
    """A checkpoint with one thing in what it says of itself replaced, and the checksum made good."""
    path.write_bytes(data)
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["charrnn"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about["sha256"]
    if rng.random() < 0.25:
        name = rng.choice(list(tensors))
        kinds = ("float64", "int32", "bool")
        change = rng.choice([lambda a: a.astype(rng.choice(kinds)), lambda a: a[:-1], lambda a: a * 1e38])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors[name] = change(tensors[name])
    else:
        about = replaced(rng, about)
    if isinstance(about, dict):
        about["sha256"] = _digest(about, tensors)
    path.write_bytes(save(tensors, {"charrnn": json.dumps(about)}))


@pytest.mark.parametrize("seed", [*range(14), *(pytest.param(n, marks=pytest.mark.slow) for n in range(14, 160))])
def test_damaged_runs(base, tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    for number in range(CASES):
        folder = tmp_path / str(number)
        shutil.copytree(base, folder)
        monkeypatch.chdir(folder)
        done = [damage(rng, folder / "r" / name) for name in rng.sample(FILES, rng.choice((1, 1, 1, 2)))]
        words = rng.choice(COMMANDS)
        harmless((*words, *done), *run(*words))
        shutil.rmtree(folder)


def option_cases():
    """Each option of train, sample and the like with values at and beyond its ends."""
    trains = ("train", "corpus.txt", *TINY[:2], "--workers", "1", "--max-steps", "1", "-q")
    samples = ("sample", "r", "-n", "2")
    for words, classes in ((trains, (ModelOptions, DataOptions, TrainingOptions)), (samples, (SamplingOptions,))):
        for spec in itertools.chain(*(dataclasses.fields(cls) for cls in classes)):
            limits = [spec.metadata[name] for name in ("low", "high", "below") if spec.metadata[name] is not None]
            values = {str(limit) for limit in limits} | {str(limit + d) for limit in limits for d in (-1, 1)}
            values |= {"", "nan", "inf", "-1", "1e308", "1e-320", "9" * 400, "x", "\x1b[31m", "0", "1", "2", "65536"}
            if spec.type in ("bool", bool):
                values = {""}
            for value in sorted(values):
                option = f"{flag(spec.name)}"
                yield (*words, option) if spec.type in ("bool", bool) else (*words, f"{option}={value}")
    for command, option in (
        ("sample", "--num-samples"),
        ("sample", "--length"),
        ("sample", "--seed"),
        ("runs", "--sort"),
    ):
        for value in ("0", "-1", "9" * 400, "", "x", "1e9"):
            yield (command, *(["r", "-n", "3"] if command == "sample" else ["."]), f"{option}={value}")


OPTIONS = list(option_cases())
ENDLESS = ("--length=0", f"--length={'9' * 400}", *(f"--max-steps={steps}" for steps in (65536, 10**12 - 1, 10**12)))


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, -(-len(OPTIONS) // 40)))]
)
def test_options_at_and_beyond_their_ends(base, tmp_path, monkeypatch, part):
    shutil.copytree(base, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    shuffled = random.Random(0).sample(OPTIONS, len(OPTIONS))
    for words in shuffled[40 * part : 40 * (part + 1)]:
        if words[-1] in ENDLESS:
            continue  # as asked for
        harmless(words, *run(*words))


STREAMS = ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "1</dev/null", "2</dev/null")
STREAMED = (
    "info r",
    "runs .",
    "sample r -n 3",
    "eval - --run r",
    "train corpus.txt --max-steps 2 --workers 2 --hidden-size 4 --batch-size 16 --seq-length 8 --json",
    "train - --max-steps 1 --workers 1 --hidden-size 4 --batch-size 4 --seq-length 8",
    "train --resume r --max-steps 5 --json",
    "--help",
)


def in_shell(line, folder):
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("streams", "command"),
    [
        pytest.param(*case, marks=[] if n % 9 == 0 else pytest.mark.slow)
        for n, case in enumerate(itertools.product(STREAMS, STREAMED))
    ],
)
def test_standard_streams_that_are_closed_full_or_read_only(base, tmp_path, streams, command):
    shutil.copytree(base, tmp_path / "w")
    line = f"{sys.executable} -W error -m charrnn {command} {streams}"
    ended = subprocess.run(
        line, shell=True, cwd=tmp_path / "w", capture_output=True, text=True, timeout=60, check=False
    )
    told = ended.returncode == 0 or not ("2>" in streams or "2<" in streams)  # else its line is lost
    harmless(command.split(), ended.returncode, ended.stdout, ended.stderr if told else NO_LINE)
    writes = ended.returncode == 0 and not command.startswith("train") and (">&-" in streams or ">/dev/full" in streams)
    assert not (writes and not streams.startswith("2>")), "a result that could not be written is an error"


NO_LINE = "charrnn: error: unseen\n"


@pytest.mark.parametrize("limit", ["-f 1", "-n 12", "-v 200000", "-v 400000"])
def test_limits_of_the_process(base, tmp_path, limit):
    shutil.copytree(base, tmp_path / "w")
    train = "train corpus.txt --max-steps 2 --workers 2 --hidden-size 256 --batch-size 16 --seq-length 8"
    line = f"ulimit {limit}; OPENBLAS_NUM_THREADS=1 exec {sys.executable} -m charrnn {train}"
    ended = subprocess.run(
        line, shell=True, cwd=tmp_path / "w", capture_output=True, text=True, timeout=60, check=False
    )
    harmless(train.split(), ended.returncode, ended.stdout, ended.stderr)
    assert ended.returncode in (0, 6)


def test_what_cannot_fit_is_refused_before_it_is_tried(base, monkeypatch):
    monkeypatch.chdir(base)
    for options in (("--hidden-size", "65536"), ("--num-layers", "64", "--hidden-size", "8000")):
        code, _, err, _ = run("train", "corpus.txt", "--max-steps", "1", *options)
        assert code == 6
        assert "GB of memory; there are " in err and "(lower --hidden-size, " in err
    assert not Path("runs").exists()


def test_a_working_directory_that_is_gone(tmp_path):
    line = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -P -m charrnn train corpus.txt"
    ended = in_shell(line, tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (6, 1), ended.stderr


@pytest.mark.parametrize(
    "value",
    [
        "complete_bash",
        *(pytest.param(v, marks=pytest.mark.slow) for v in ("complete_fish", "complete_zsh", "source_bash", "x", "")),
    ],
)
def test_a_shell_s_completion_without_its_companions(tmp_path, value):
    for more in ("", "COMP_WORDS=charrnn", "COMP_WORDS='charrnn tr' COMP_CWORD=x", "_TYPER_COMPLETE_ARGS="):
        ended = in_shell(f"_CHARRNN_COMPLETE={value} {more} {Path(sys.executable).with_name('charrnn')}", tmp_path)
        assert "Traceback" not in ended.stderr and ended.returncode in (0, 1, 2), ended.stderr


def test_ctrl_c_while_modules_are_imported(tmp_path):
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3):
        child = subprocess.Popen(
            [sys.executable, "-m", "charrnn", "sample"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(delay)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert b"Traceback" not in err or b"/charrnn/" not in err, err  # Python itself may still be starting
