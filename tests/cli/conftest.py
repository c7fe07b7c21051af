"""The command line under test: in process where that will do, in a process of its own where the system matters."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from charrnn.cli.app import main

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
SMALL = ("--hidden-size", "8", "--batch-size", "8", "--seq-length", "16", "--workers", "1")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """What stdout holds, which must be a single JSON line."""
        assert self.code == 0, self.err
        assert self.out.endswith("\n") and self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def rows(self):
        """What stdout holds: a JSON object a line."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    def fails(self, code, message):
        """Exit code `code`, and on stderr nothing but the one line of the error."""
        assert (self.code, self.err) == (code, f"charrnn: error: {message}\n")


@pytest.fixture(autouse=True)
def _at_home(tmp_path, monkeypatch):
    """Every test has a directory of its own, no runs of others, and leaves the signal handlers as they were."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_RUNS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def charrnn(capsys, monkeypatch):
    """Runs a command in this process: charrnn("eval", "text.txt", stdin="...") -> Outcome."""

    def run(*arguments, stdin=None):
        capsys.readouterr()
        words = [str(argument) for argument in arguments]
        with tempfile.TemporaryFile() as file, monkeypatch.context() as patch:
            file.write(stdin if isinstance(stdin, bytes) else (stdin or "").encode())
            file.seek(0)
            patch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as ending:
                main(words)
        code = ending.value.code
        return Outcome(code if isinstance(code, int) else -1, *capsys.readouterr())

    return run


@pytest.fixture
def train(charrnn):
    """Trains a tiny model in this process: train("c.txt", "--run", "r", ...) -> the result as a dictionary."""

    def run(*arguments, stdin=None):
        return charrnn("train", *arguments, *SMALL, "--json", "--quiet", stdin=stdin).json

    return run


@pytest.fixture
def process():
    """Runs a command in a process of its own -> Outcome. Options are those of subprocess.run."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
        ended = subprocess.run(command, check=False, **options)
        return Outcome(ended.returncode, (ended.stdout or b"").decode(), (ended.stderr or b"").decode())

    return run


@pytest.fixture
def started():
    """Starts `charrnn train` and gives the process once it has written its first evaluation; kills it at the end."""
    processes = []

    def start(*arguments, **options):
        command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        processes.append(child)
        for line in iter(child.stderr.readline, b""):
            if line.startswith(b"step "):
                return child
        raise AssertionError("it ended before its first evaluation")

    yield start
    for child in processes:
        child.kill()
        child.communicate()


@pytest.fixture
def corpus(tmp_path):
    """A small corpus, as a path relative to the test's directory."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    return Path("corpus.txt")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of 80 steps on TEXT, good enough to tell its characters apart. Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text(TEXT)
    command = [sys.executable, "-m", "charrnn", "train", "corpus.txt", "--run", "run", "--max-steps", "80", "--quiet"]
    command += ["--hidden-size", "16", "--batch-size", "8", "--seq-length", "16", "--workers", "1", "--lr", "0.02"]
    environment = {name: value for name, value in os.environ.items() if name != "CHARRNN_RUNS"}
    subprocess.run([*command, "--warmup-steps", "0"], cwd=folder, env=environment, check=True, timeout=60)
    return folder / "run"
