"""A disk that fails: every write, fsync and rename of a run in turn, and a disk that is really full."""

import errno
import os
import re
import subprocess
import sys

import pytest

from charrnn.cli.app import main
from charrnn.runs import files

from .conftest import arguments, outcome


class FaultyDisk:
    """Stands for `os` and `open` in charrnn.runs.files; the operation number `fails` raises `error`."""

    def __init__(self, fails, error):
        self.fails, self.error, self.done = fails, error, 0

    def tick(self):
        self.done += 1
        if self.done == self.fails:
            raise OSError(self.error, os.strerror(self.error))

    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in ("fsync", "replace", "truncate"):
            return call

        def ticking(*args):
            self.tick()
            return call(*args)

        return ticking

    def open_file(self, *args):
        self.tick()
        return FaultyFile(open(*args), self)


class FaultyFile:
    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        try:
            self.disk.tick()
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        return self.file.write(data)


def run_cli(command):
    with pytest.raises(SystemExit) as exit_:
        main(command)
    return exit_.value.code


def fail_at(number, error, corpus, run, monkeypatch):
    """Exit code of a run whose operation `number` fails; None if it has fewer operations."""
    disk = FaultyDisk(number, error)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", disk)
        patch.setattr(files, "open", disk.open_file, raising=False)
        code = run_cli(arguments(run, corpus))
    return code if disk.done >= number else None


def check(number, error, corpus, run, finished, monkeypatch, capsys):
    code = fail_at(number, error, corpus, run, monkeypatch)
    if code is None:
        return False
    assert code == 6
    where, what = f"cannot write {re.escape(str(run))}/\\S+", os.strerror(error)
    line = f"charrnn: error: {where}: {what} \\(what was saved before is intact\\)\n"
    assert re.fullmatch(line, capsys.readouterr().err)
    again = ["train", "--resume", str(run), "--quiet"] if (run / "config.json").exists() else arguments(run, corpus)
    assert run_cli(again) == 0
    assert outcome(run) == finished()
    return True


@pytest.mark.parametrize("number", range(1, 36, 2))
def test_a_failing_write_ends_with_exit_6_and_loses_nothing(number, corpus, finished, tmp_path, monkeypatch, capsys):
    error = (errno.ENOSPC, errno.EIO)[number % 4 // 2]
    assert check(number, error, corpus, tmp_path / "run", finished, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_every_write_fsync_and_rename_of_a_run_failing_in_turn(error, corpus, finished, tmp_path, monkeypatch, capsys):
    number = 1
    while check(number, error, corpus, tmp_path / f"run{number}", finished, monkeypatch, capsys):
        number += 1
    print(f"{number - 1} operations failed with {errno.errorcode[error]}")
    assert number > 100


def test_a_full_disk_ends_with_exit_6_and_the_run_goes_on_once_there_is_room(corpus, finished, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "size=40k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        run = disk / "run"
        command = [sys.executable, "-m", "charrnn", *arguments(run, corpus)]
        full = subprocess.run(command, capture_output=True, text=True)
        assert full.returncode == 6, full.stderr
        message = "No space left on device (what was saved before is intact)"
        assert re.fullmatch(f"charrnn: error: cannot write {run}/\\S+: {re.escape(message)}\n", full.stderr)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        again = ["train", "--resume", str(run), "--quiet"] if (run / "config.json").exists() else command[3:]
        subprocess.run([sys.executable, "-m", "charrnn", *again], check=True)
        assert outcome(run) == finished()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
