"""Signals: a run is saved, and the printed command continues it."""

import json
import shlex
import signal
import subprocess

import pytest

from charrnn.runs.checkpoint import load_checkpoint

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
