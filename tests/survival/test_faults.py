"""A failing disk: each write, fsync, rename, truncation and deletion of a run fails in turn; and a full disk."""

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from charrnn import system
from charrnn.cli.app import main
from charrnn.runs import files

from .conftest import CHARRNN, outcome, resume_arguments, train_arguments

INTACT = "files saved earlier are intact"
FAILING_CALLS = ("fsync", "replace", "truncate", "unlink")


class FaultyDisk:
    """Replaces `os` and `open` in charrnn.runs.files. The operation with the number `failing_number` fails."""

    def __init__(self, failing_number, error):
        self.failing_number = failing_number
        self.error = error
        self.operations = 0

    def count_operation(self):
        self.operations += 1
        if self.operations == self.failing_number:
            raise OSError(self.error, os.strerror(self.error))

    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in FAILING_CALLS:
            return call

        def counted_call(*args):
            self.count_operation()
            return call(*args)

        return counted_call

    def open_file(self, *args):
        self.count_operation()
        return FaultyFile(open(*args), self)


class FaultyFile:
    """A file. A write that fails writes half of the data."""

    def __init__(self, file, disk):
        self.file = file
        self.disk = disk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        try:
            self.disk.count_operation()
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        return self.file.write(data)


def run_command(arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def run_with_fault(number, error, arguments, monkeypatch):
    """The exit code of a command whose operation `number` fails; None if it has fewer operations."""
    disk = FaultyDisk(number, error)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", disk)
        patch.setattr(system, "os", disk)
        patch.setattr(files, "open", disk.open_file, raising=False)
        code = run_command(arguments)
    return code if disk.operations >= number else None


def survives_fault(number, error, corpus, run, undisturbed, monkeypatch, capsys):
    """Checks a run whose operation `number` fails, and its resume. Returns False if it has fewer operations."""
    code = run_with_fault(number, error, train_arguments(run, corpus), monkeypatch)
    if code is None:
        return False
    assert code == 6
    written = f"cannot write {re.escape(str(run))}/\\S+: {os.strerror(error)} \\({INTACT}\\)"
    allocated = f"cannot allocate [0-9,]+ bytes of shared memory: {os.strerror(error)} \\(lower .*\\)"
    assert re.fullmatch(f"charrnn: error: ({written}|{allocated})\n", capsys.readouterr().err)
    assert run_command(resume_arguments(run, corpus)) == 0
    assert outcome(run) == undisturbed()
    return True


@pytest.mark.parametrize("number", range(1, 36, 2))
def test_a_failed_operation_ends_with_exit_6_and_loses_nothing(
    number, corpus, undisturbed, tmp_path, monkeypatch, capsys
):
    error = (errno.ENOSPC, errno.EIO)[number % 4 // 2]
    assert survives_fault(number, error, corpus, tmp_path / "run", undisturbed, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_every_operation_of_a_run_fails_in_turn(error, corpus, undisturbed, tmp_path, monkeypatch, capsys):
    number = 1
    while survives_fault(number, error, corpus, tmp_path / f"run{number}", undisturbed, monkeypatch, capsys):
        number += 1
    print(f"{number - 1} operations failed with {errno.errorcode[error]}")
    assert number > 100


@pytest.mark.parametrize("number", [3, 8, 13, 18, 22, 23])
def test_a_failed_resume_of_a_finished_run_can_be_repeated(number, corpus, tmp_path, monkeypatch, capsys):
    """The first operations read the run and write last.safetensors and config.json; 22 and 23 delete result.json."""

    def resume(run):
        return ["train", "--resume", str(run), "--max-steps", "40", "--quiet"]

    for run in (tmp_path / "run", tmp_path / "undisturbed"):
        assert run_command(train_arguments(run, corpus)) == 0
    assert run_with_fault(number, errno.EIO, resume(tmp_path / "run"), monkeypatch) == 6
    assert INTACT in capsys.readouterr().err
    assert (tmp_path / "run" / "result.json").exists() == (number <= 22)
    assert run_command(resume(tmp_path / "run")) == 0
    assert run_command(resume(tmp_path / "undisturbed")) == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "command",
    [
        "page --run RUN --output new/page.html",
        "report RUN --output new/report.html",
        pytest.param("plot RUN --output new/curve.png", marks=pytest.mark.slow),
        pytest.param("view CORPUS --run RUN --output new/units.svg", marks=pytest.mark.slow),
        "export new/model.onnx --run RUN",
    ],
)
def test_an_output_file_is_complete_or_unchanged(command, corpus, tmp_path, monkeypatch, capsys):
    """The operations fail in turn: first those that read the run, then those that write the file."""
    if not command.startswith(("page", "report")):
        pytest.importorskip("onnx" if command.startswith("export") else "matplotlib")
    monkeypatch.chdir(tmp_path)
    assert run_command(train_arguments(tmp_path / "run", corpus)) == 0
    arguments = command.replace("RUN", "run").replace("CORPUS", str(corpus)).split()
    output = Path(next(argument for argument in arguments if argument.startswith("new/")))
    output.parent.mkdir()
    outcomes = []
    number = 1
    output.write_bytes(b"old")
    while (code := run_with_fault(number, errno.ENOSPC, arguments, monkeypatch)) is not None:
        outcomes.append((code, output.read_bytes() == b"old"))
        if code == 6:
            message = f"charrnn: error: cannot write {output}: No space left on device ({INTACT})\n"
            assert capsys.readouterr().err.endswith(message)
        assert list(output.parent.iterdir()) == [output]
        output.write_bytes(b"old")
        number += 1
    assert output.read_bytes() != b"old"
    # (0, False): a file that is not necessary cannot be read; (4, True): the run cannot be read
    assert set(outcomes[:-5]) <= {(0, False), (4, True)}
    # opening, writing, syncing and renaming the temporary file, then syncing the directory
    assert outcomes[-5:] == [(6, True)] * 4 + [(6, False)]


def test_a_run_on_a_full_disk_ends_with_exit_6_and_can_be_resumed_after_space_is_freed(corpus, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        run = disk / "run"
        full = subprocess.run([*CHARRNN, *train_arguments(run, corpus)], capture_output=True, text=True, check=False)
        assert full.returncode == 6, full.stderr
        line = f"charrnn: error: cannot write {run}/\\S+: No space left on device \\({INTACT}\\)\n"
        assert re.fullmatch(line, full.stderr)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        subprocess.run([*CHARRNN, *resume_arguments(run, corpus)], check=True)
        assert outcome(run) == undisturbed()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
