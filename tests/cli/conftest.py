"""Runs commands in this process, or in another process where the operating system matters."""

import contextlib
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from charrnn.cli.app import main
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
SMALL = ("--hidden-size", "8", "--batch-size", "8", "--seq-length", "16", "--workers", "1")
SIGNALS = (*STOP_SIGNALS, *SAVE_SIGNALS)
DATA = Path(__file__).parents[2] / "data"
TASK_FILES = {  # the file of each task, and how many of its lines are used
    "classify": ("kinds.tsv", 120),
    "tag": ("syllables.tsv", 120),
    "translate": ("dates.tsv", 60),
    "series": ("season.csv", 120),
    "caption": ("shapes.txt", 80),
}
MESSAGES = Path(__file__).with_name("messages.json")
UPDATE = "CHARRNN_UPDATE_MESSAGES"


@pytest.fixture(scope="session")
def messages():
    """The wording of all error messages, by test. To update messages.json: CHARRNN_UPDATE_MESSAGES=1 pytest -n 0."""
    pinned = json.loads(MESSAGES.read_text()) if MESSAGES.exists() else {}
    yield pinned
    if UPDATE in os.environ:
        MESSAGES.write_text(json.dumps(pinned, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


@pytest.fixture
def check_wording(messages, request, tmp_path, tmp_path_factory):
    """Compares an error message with the wording in messages.json. Paths of this machine are replaced."""
    key = f"{request.node.path.name}::{request.node.name}"
    expected = iter(messages.get(key, []))
    if UPDATE in os.environ:
        messages.pop(key, None)

    def check(message):
        places = {str(tmp_path): "TMP", str(tmp_path_factory.getbasetemp()): "TMP", sys.executable: "PYTHON"}
        for place, name in places.items():
            message = message.replace(place, name)
        if UPDATE in os.environ:
            messages.setdefault(key, []).append(message)
        else:
            assert message == next(expected, None), f"to accept the new wording: {UPDATE}=1 pytest -n 0"

    return check


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str
    check_wording: Callable = field(repr=False)

    @property
    def json(self):
        """stdout, which must be one line of JSON."""
        assert self.code == 0, self.err
        assert self.out.endswith("\n") and self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def rows(self):
        """stdout, which must be lines of JSON."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    def fails(self, code, *facts, is_pinned=True):
        """Asserts the exit code, and that stderr is one line that contains these facts.

        is_pinned: whether its wording is compared. It cannot be if a library wrote a part of it.
        """
        prefix = "charrnn: error: "
        assert self.code == code, self.err
        assert self.err.startswith(prefix) and self.err.count("\n") == 1, self.err
        for fact in facts:
            assert str(fact) in self.err
        if is_pinned:
            self.check_wording(self.err.removeprefix(prefix).rstrip("\n"))


def error_cases(*cases):
    """Parametrises a test over (command line, exit code, facts in the message...)."""
    parameters = [pytest.param(shlex.split(line), code, facts, id=line) for line, code, *facts in cases]
    return pytest.mark.parametrize(("arguments", "code", "facts"), parameters)


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """Each test has its own directory without runs. It leaves the signal handlers unchanged."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_RUNS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def charrnn(capsys, monkeypatch, check_wording):
    """Runs a command in this process: charrnn("eval", "text.txt", stdin="...") -> Outcome."""

    def run(*arguments, stdin=""):
        capsys.readouterr()
        with tempfile.TemporaryFile() as file, monkeypatch.context() as patch:
            file.write(stdin if isinstance(stdin, bytes) else stdin.encode())
            file.seek(0)
            patch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as ending:
                main([str(argument) for argument in arguments])
        return Outcome(ending.value.code, *capsys.readouterr(), check_wording)

    return run


@pytest.fixture
def train(charrnn):
    """Trains a small model in this process: train("c.txt", "--run", "r") -> the result."""

    def run(*arguments, stdin=""):
        return charrnn("train", *arguments, *SMALL, "--json", "--quiet", stdin=stdin).json

    return run


def command(*arguments):
    """The arguments of a process that runs charrnn."""
    return [sys.executable, "-m", "charrnn", *map(str, arguments)]


@pytest.fixture
def process(check_wording):
    """Runs a command in another process -> Outcome. Options are those of subprocess.run."""

    def run(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
        ended = subprocess.run(command(*arguments), check=False, **options)
        out = (ended.stdout or b"").decode()
        return Outcome(ended.returncode, out, (ended.stderr or b"").decode(), check_wording)

    return run


@pytest.fixture
def started():
    """Starts `charrnn train` -> the process after its first evaluation. It is killed at the end of the test."""
    processes = []

    def start(*arguments, **options):
        child = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        processes.append(child)
        for line in iter(child.stderr.readline, b""):
            if line.startswith(b"step "):
                return child
        raise AssertionError("the training ended before its first evaluation")

    yield start
    for child in processes:
        child.kill()
        child.communicate()


def on_terminal(*arguments, columns=80, stream="stdout", **environment):
    """Runs a command with stdout or stderr on a terminal. Returns what the terminal shows, and the other stream."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    import fcntl
    import termios

    parent, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "COLUMNS")}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: terminal}
    environment = inherited | {"TERM": "xterm-256color"} | environment
    with subprocess.Popen(command(*arguments), env=environment, **streams) as child:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # Linux reports EIO when the terminal has no writer any more
            while data := os.read(parent, 1 << 16):
                shown += data
        out, err = child.communicate(timeout=60)
    os.close(parent)
    assert child.returncode == 0, err or shown
    return shown.decode(), (err if stream == "stdout" else out).decode()


def read_files(directory):
    """The content of every file in a directory."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.fixture
def corpus(tmp_path):
    """A small corpus, as a path relative to the directory of the test."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    return Path("corpus.txt")


def train_in_process(folder, *arguments):
    """Runs `charrnn train` in this process, in a folder. Its signal handlers are removed."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHARRNN_RUNS", raising=False)
        with pytest.raises(SystemExit) as ending:
            main(["train", *arguments])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert ending.value.code == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of 80 steps on TEXT, good enough to distinguish its characters. It is shared by tests: do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text(TEXT)
    options = ["--hidden-size", "16", "--batch-size", "8", "--seq-length", "16", "--workers", "1", "--lr", "0.02"]
    options += ["--warmup-steps", "0", "--max-steps", "80", "--run", "run", "--quiet"]
    train_in_process(folder, "corpus.txt", *options)
    return folder / "run"


def task_arguments(task):
    """The arguments of `charrnn train` for a task, in the directory of `task_runs`."""
    name = TASK_FILES[task][0]
    return [name, "--features", "shapes.csv"] if task == "caption" else [name, "--task", task]


@pytest.fixture(scope="session")
def task_directory(tmp_path_factory):
    """The start of each data set, and a short run of each task, named after it."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, lines in (*TASK_FILES.values(), ("shapes.csv", 80)):
        (folder / name).write_text("".join((DATA / name).read_text().splitlines(keepends=True)[:lines]))
    options = ["--hidden-size", "12", "--batch-size", "4", "--workers", "1", "--max-steps", "30", "--lr", "0.02"]
    options += ["--test-fraction", "0.2", "--quiet"]
    for task in TASK_FILES:
        words = [*task_arguments(task), *options, "--run", f"runs/{task}"]
        train_in_process(folder, *words)
    return folder


@pytest.fixture
def task_runs(task_directory, monkeypatch):
    """The test runs in the directory of the task runs. They are shared by tests: do not change them."""
    monkeypatch.chdir(task_directory)
    return task_directory


def task_inputs(task):
    """Seven inputs for `charrnn predict`."""
    return "".join(line.split("\t")[0] + "\n" for line in Path(TASK_FILES[task][0]).read_text().splitlines()[:7])
