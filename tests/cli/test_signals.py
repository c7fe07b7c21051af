"""Signals: a run is saved, and the printed command continues it."""

import json
import os
import shlex
import signal
import subprocess
import time

import pytest

from charrnn.cli.signals import interrupting
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS

from .conftest import SMALL, command

ENDLESS = (*SMALL, "--max-steps", "100000000", "--eval-every", "20")


def interrupt(child, number=signal.SIGINT):
    """Sends a signal. Returns stdout, and the arguments of the command that continues the run."""
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    before, _, resume_command = err.decode().splitlines()[-1].partition("charrnn ")
    assert before == "interrupted and saved; to continue: "
    return out, shlex.split(resume_command)


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2), (signal.SIGHUP, 129, 1)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_an_interrupted_run_is_saved_and_the_printed_command_continues_it(
    started, corpus, tmp_path, number, code, workers
):
    child = started("train", corpus, "--run", "r", "--json", *ENDLESS, "--workers", workers)
    out, resume_command = interrupt(child, number)
    assert child.returncode == code
    result = json.loads(out)
    assert (result["status"], result["workers"]) == ("interrupted", workers)
    assert json.loads((tmp_path / "r" / "result.json").read_text()) == result
    assert load_checkpoint(tmp_path / "r" / "last.safetensors").training["state"]["step"] == result["steps"]
    child = started(*resume_command, "--json")
    out, _ = interrupt(child, number)
    assert child.returncode == code
    assert json.loads(out)["steps"] > result["steps"] > 0


@pytest.mark.parametrize("first", [number for number in STOP_SIGNALS if number != signal.SIGINT])
def test_more_signals_while_a_run_is_saved_are_ignored(started, corpus, tmp_path, first):
    """A terminal that is closed sends several signals within a few milliseconds. So do schedulers."""
    child = started("train", corpus, "--run", "r", "--json", *ENDLESS)
    for seconds, number in (0, first), (0.005, first), (0.02, signal.SIGHUP), (0.1, signal.SIGTERM):
        time.sleep(seconds)
        child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 128 + first
    result = json.loads(out)
    assert result["status"] == "interrupted"
    assert load_checkpoint(tmp_path / "r" / "last.safetensors").training["state"]["step"] == result["steps"] > 0
    assert err.decode().endswith("interrupted and saved; to continue: charrnn train --resume r\n")


class Work:
    """Work that records what it is asked to do."""

    def __init__(self):
        self.requests = []

    def interrupt(self, number):
        self.requests.append(number)

    def request_save(self):
        self.requests.append("save")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_after_a_signal_only_a_second_ctrl_c_has_an_effect(number):
    work = Work()
    others = [other for other in (*STOP_SIGNALS, *SAVE_SIGNALS) if other != signal.SIGINT]
    with interrupting(work):
        for save_signal in SAVE_SIGNALS:
            os.kill(os.getpid(), save_signal)
        os.kill(os.getpid(), number)
        assert {signal.getsignal(other) for other in others} == {signal.SIG_IGN}
        if number != signal.SIGINT:
            os.kill(os.getpid(), signal.SIGINT)  # the first Ctrl-C has no effect
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert work.requests[:2] == ["save", number]
    assert {signal.getsignal(other) for other in others} == {signal.SIG_IGN}


def test_a_signal_to_save_does_not_end_a_run(corpus, tmp_path):
    words = ["train", corpus, "--run", "r", *ENDLESS[:-2]]
    last = tmp_path / "r" / "last.safetensors"
    with subprocess.Popen(command(*words), stderr=subprocess.DEVNULL) as child:
        while not (tmp_path / "r" / "config.json").exists():
            time.sleep(0.02)
        while load_checkpoint(last).training["state"]["step"] == 0:
            child.send_signal(signal.SIGUSR2)
            time.sleep(0.02)
        assert child.poll() is None
        child.terminate()
    assert child.returncode == 128 + signal.SIGTERM


def test_the_printed_command_quotes_the_name_of_the_run(started, corpus):
    child = started("train", corpus, "--run", "my run", *ENDLESS)
    assert interrupt(child)[1] == ["train", "--resume", "my run"]


def test_an_interrupted_resume_keeps_its_larger_budget(started, train, corpus):
    train(corpus, "--run", "r", "--max-steps", "10")
    child = started("train", "--resume", "r", "--max-steps", "100000000", "--eval-every", "20")
    _, resume_command = interrupt(child)
    assert child.returncode == 130
    child = started(*resume_command, "--json")
    out, _ = interrupt(child)
    assert (child.returncode, json.loads(out)["status"]) == (130, "interrupted")


def test_a_signal_that_is_ignored_at_the_start_stays_ignored(started, corpus):
    child = started(
        *["train", corpus, *SMALL, "--max-steps", "300", "--eval-every", "20", "--json"],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    child.send_signal(signal.SIGHUP)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, json.loads(out)["status"]) == (0, "completed")


def test_an_interrupted_sample_prints_no_error(trained):
    words = command("sample", "--run", trained, "-n", "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.read(200)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, b"")
