"""Generated attacks: damaged runs, options at and beyond their limits, closed streams and resource limits.

Each command must end in time with a documented exit code and at most one error line. It must print no traceback, no
warning and no control character.
"""

import contextlib
import copy
import dataclasses
import hashlib
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
from safetensors.numpy import load_file, save

from charrnn.cli.app import main
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, SamplingOptions, TrainingOptions
from charrnn.runs.files import dump_json
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS

EXIT_CODES = {0, 2, 3, 4, 5, 6}
TIME_LIMIT = 30  # seconds for one command
CASES_PER_TEST = 10
OPTIONS_PER_TEST = 40
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
# Values that replace a part of a JSON file.
HOSTILE_VALUES = (
    *(None, True, -1, 0, 1, 2, 33, 1024, 10**6, 10**9, 10**30, 10**100, -(10**18), 0.5, 1e308, -1e-300, float("nan")),
    *("", "lstm", "gru", "a\x1b[31mb", "\x9b2J", "\u202e", "a\0b", "\ud800", "\udcff", "x" * 5000, "/dev/zero", "1"),
    *([], [[]], {}, {"a": 1}, [None], ["\x1b"], [1e308], [10**30]),
)


class TimeLimitError(Exception):
    """A command that has not ended in time."""


def run(*arguments, stdin=os.devnull):
    """Runs a command in this process. Returns its exit code, stdout, stderr and the warnings raised."""

    def raise_time_limit(*_):
        raise TimeLimitError(arguments)

    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8")
    handlers = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, *SAVE_SIGNALS)}
    alarm_handler = signal.signal(signal.SIGALRM, raise_time_limit)
    signal.alarm(TIME_LIMIT)
    try:
        with contextlib.ExitStack() as stack:
            sys.stdin = stack.enter_context(open(stdin))
            warned = stack.enter_context(warnings.catch_warnings(record=True))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            exit_ = stack.enter_context(pytest.raises(SystemExit))
            main(list(arguments))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm_handler)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.stdin = sys.__stdin__
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.detach().getvalue().decode())
    return exit_.value.code, *texts, [str(warning.message) for warning in warned]


def assert_harmless(arguments, code, out, err, warned=()):
    case = f"{arguments}: {code}\n{out[-500:]}\n{err[-3000:]}\n{warned}"
    assert code in EXIT_CODES, case
    assert not warned, case
    assert "Traceback" not in err, case
    if code:
        (line,) = [line for line in err.splitlines() if line.startswith("charrnn: error: ")]
        assert err.endswith(line + "\n"), case
    messages = err if arguments[0] in ("sample", "predict") else err + out  # these two print what the model writes
    assert all(character.isprintable() or character in "\n\t" for character in messages), case


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with a corpus and two runs, `r` and `other`."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "corpus.txt").write_text("the quick brown fox.\n" * 30)
    other_options = ("--cell", "gru", "--hidden-size", "5", "--seed", "2")
    with contextlib.chdir(folder):
        for name, options in (("r", ()), ("other", other_options)):
            budget = ("--max-steps", "4", "--eval-every", "1", "-q")
            code, _, err, _ = run("train", "corpus.txt", *TINY, *options, "--run", name, *budget)
            assert code == 0, err
    return folder


def replace_somewhere(rng, value):
    """A copy of a JSON value in which one member at any depth is replaced or deleted."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = copy.copy(value)
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if rng.random() < 0.1:
            del value[key]
        else:
            value[key] = replace_somewhere(rng, value[key])
        return value
    return copy.deepcopy(rng.choice(HOSTILE_VALUES))


def deeply_nested(depth=100_000):
    return b"[" * depth + b"]" * depth


def damage(rng, path):
    """Replaces a file by something else. Returns the kind of damage."""
    rare_kinds = ["missing", "empty", "directory", "fifo", "endless", "circular link", "huge", "noise"]
    rare_kinds += ["other run", "deep", "truncated"]
    kind = rng.choice([*rare_kinds, *["value"] * 16])
    data = path.read_bytes()
    other = path.parent.parent / "other" / path.name
    path.unlink()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "noise":
            path.write_bytes(rng.randbytes(300))
        case "truncated":
            path.write_bytes(data[: rng.randrange(len(data))])
        case "deep":
            path.write_bytes(deeply_nested())
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "circular link":
            path.symlink_to(path.name)
        case "huge":
            path.write_bytes(data)
            os.truncate(path, 10**11)
        case "other run":
            shutil.copy(other, path)
        case "value" if path.suffix == ".safetensors":
            path.write_bytes(data)
            forge_checkpoint(rng, path)
        case "value":
            rows = data.splitlines() if path.suffix == ".jsonl" else [data]
            n = rng.randrange(len(rows))
            rows[n] = json.dumps(replace_somewhere(rng, json.loads(rows[n]))).encode()
            path.write_bytes(b"\n".join(rows) + b"\n")
    return kind


def forge_checkpoint(rng, path):
    """Changes one tensor or one value of the metadata of a checkpoint, with a checksum that matches."""
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["charrnn"])
    tensors = load_file(path)
    del metadata["sha256"]
    if rng.random() < 0.25:
        name = rng.choice(list(tensors))
        dtype = rng.choice(["float64", "int32", "bool"])
        change = rng.choice([lambda a: a.astype(dtype), lambda a: a[:-1], lambda a: a * 1e38])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors[name] = change(tensors[name])
    else:
        metadata = replace_somewhere(rng, metadata)
    if isinstance(metadata, dict):
        metadata["sha256"] = checksum(metadata, tensors)
    path.write_bytes(save(tensors, {"charrnn": json.dumps(metadata)}))


def checksum(metadata, tensors):
    """See charrnn/runs/README.md."""
    sha256 = hashlib.sha256(dump_json(metadata).encode())
    for name in sorted(tensors):
        sha256.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode() + tensors[name].tobytes())
    return sha256.hexdigest()


@pytest.mark.parametrize("seed", [*range(14), *(pytest.param(n, marks=pytest.mark.slow) for n in range(14, 160))])
def test_commands_on_damaged_runs_are_harmless(base, tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    for number in range(CASES_PER_TEST):
        folder = tmp_path / str(number)
        shutil.copytree(base, folder)
        monkeypatch.chdir(folder)
        kinds = [damage(rng, folder / "r" / name) for name in rng.sample(FILES, rng.choice((1, 1, 1, 2)))]
        arguments = rng.choice(COMMANDS)
        assert_harmless((*arguments, *kinds), *run(*arguments))
        shutil.rmtree(folder)


def option_cases():
    """Commands with an option whose value is at or beyond a limit of the option, or not a value of its type."""
    train = ("train", "corpus.txt", *TINY[:2], "--workers", "1", "--max-steps", "1", "-q")
    sample = ("sample", "r", "-n", "2")
    for command, classes in ((train, (ModelOptions, DataOptions, TrainingOptions)), (sample, (SamplingOptions,))):
        for spec in itertools.chain(*(dataclasses.fields(cls) for cls in classes)):
            if spec.type in ("bool", bool):
                yield (*command, flag(spec.name))
                continue
            limits = [spec.metadata[name] for name in ("low", "high", "below") if spec.metadata[name] is not None]
            values = {str(limit + difference) for limit in limits for difference in (-1, 0, 1)}
            values |= {"", "nan", "inf", "-1", "1e308", "1e-320", "9" * 400, "x", "\x1b[31m", "0", "1", "2", "65536"}
            for value in sorted(values):
                yield (*command, f"{flag(spec.name)}={value}")
    for value in ("0", "-1", "9" * 400, "", "x", "1e9"):
        for option in ("--num-samples", "--length", "--seed"):
            yield ("sample", "r", "-n", "3", f"{option}={value}")
        yield ("runs", ".", f"--sort={value}")


OPTION_CASES = list(option_cases())
# Values that are valid, but with which a command runs for a very long time.
LONG_RUNNING = {
    "--length=0",
    f"--length={'9' * 400}",
    f"--num-samples={'9' * 400}",
    "--max-steps=65536",
    f"--max-steps={10**12 - 1}",
    f"--max-steps={10**12}",
}
NUM_PARTS = -(-len(OPTION_CASES) // OPTIONS_PER_TEST)


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, NUM_PARTS))])
def test_options_at_and_beyond_their_limits_are_harmless(base, tmp_path, monkeypatch, part):
    shutil.copytree(base, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    shuffled = random.Random(0).sample(OPTION_CASES, len(OPTION_CASES))
    for arguments in shuffled[part * OPTIONS_PER_TEST : (part + 1) * OPTIONS_PER_TEST]:
        if arguments[-1] not in LONG_RUNNING:
            assert_harmless(arguments, *run(*arguments))


REDIRECTIONS = (
    *("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"),  # closed
    *(">/dev/full", "2>/dev/full"),
    *("1</dev/null", "2</dev/null"),  # read only
)
REDIRECTED = (
    "info r",
    "runs .",
    "sample r -n 3",
    "eval - --run r",
    "train corpus.txt --max-steps 2 --workers 2 --hidden-size 4 --batch-size 16 --seq-length 8 --json",
    "train - --max-steps 1 --workers 1 --hidden-size 4 --batch-size 4 --seq-length 8",
    "train --resume r --max-steps 5 --json",
    "--help",
)


def run_in_shell(line, folder):
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("redirections", "command"),
    [
        pytest.param(*case, marks=[] if n % 9 == 0 else pytest.mark.slow)
        for n, case in enumerate(itertools.product(REDIRECTIONS, REDIRECTED))
    ],
)
def test_standard_streams_that_are_closed_full_or_read_only_are_harmless(base, tmp_path, redirections, command):
    shutil.copytree(base, tmp_path / "w")
    completed = run_in_shell(f"{sys.executable} -W error -m charrnn {command} {redirections}", tmp_path / "w")
    err = completed.stderr
    if completed.returncode and ("2>" in redirections or "2<" in redirections):
        err = "charrnn: error: its line cannot be seen\n"
    assert_harmless(command.split(), completed.returncode, completed.stdout, err)
    if redirections.startswith((">&-", ">/dev/full", "<&- >&-")) and not command.startswith("train"):
        assert completed.returncode != 0, "a result that cannot be written is an error"


@pytest.mark.parametrize("limit", ["-f 1", "-n 12", "-v 200000", "-v 400000"])
def test_resource_limits_are_harmless(base, tmp_path, limit):
    shutil.copytree(base, tmp_path / "w")
    train = "train corpus.txt --max-steps 2 --workers 2 --hidden-size 256 --batch-size 16 --seq-length 8"
    line = f"ulimit {limit}; OPENBLAS_NUM_THREADS=1 exec {sys.executable} -m charrnn {train}"
    completed = run_in_shell(line, tmp_path / "w")
    assert_harmless(train.split(), completed.returncode, completed.stdout, completed.stderr)
    assert completed.returncode in (0, 6)


def test_a_network_that_does_not_fit_the_memory_is_refused_before_it_is_created(base, monkeypatch):
    monkeypatch.chdir(base)
    for options in (("--hidden-size", "65536"), ("--num-layers", "64", "--hidden-size", "8000")):
        code, _, err, _ = run("train", "corpus.txt", "--max-steps", "1", *options)
        assert code == 6
        assert " GB of memory" in err
        assert "--hidden-size" in err
    assert not Path("runs").exists()


def test_a_deleted_working_directory_is_a_storage_error(tmp_path):
    line = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -P -m charrnn train corpus.txt"
    completed = run_in_shell(line, tmp_path)
    assert (completed.returncode, completed.stderr.count("\n")) == (6, 1), completed.stderr


@pytest.mark.parametrize(
    "value",
    [
        "complete_bash",
        *(pytest.param(v, marks=pytest.mark.slow) for v in ("complete_fish", "complete_zsh", "source_bash", "x", "")),
    ],
)
def test_incomplete_variables_of_shell_completion_are_harmless(tmp_path, value):
    command = Path(sys.executable).with_name("charrnn")
    for others in ("", "COMP_WORDS=charrnn", "COMP_WORDS='charrnn tr' COMP_CWORD=x", "_TYPER_COMPLETE_ARGS="):
        completed = run_in_shell(f"_CHARRNN_COMPLETE={value} {others} {command}", tmp_path)
        assert "Traceback" not in completed.stderr
        assert completed.returncode in (0, 1, 2), completed.stderr


def test_ctrl_c_during_imports_prints_no_traceback(tmp_path):
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "charrnn", "sample"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert b"Traceback" not in err or b"/charrnn/" not in err, err  # Python itself may still be starting
