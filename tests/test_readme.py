"""The README is run: every charrnn command in it, the shell loop, the Python example."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.cli.app import main

README = (Path(__file__).parents[1] / "README.md").read_text()
TEXT = "The Fox and the Crow met again. The Fox said nothing. e f h o s e T F r n t.\n" * 30


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    line.split("  #")[0] for block in blocks("sh") for line in block.splitlines() if line.startswith("charrnn ")
]


def quickly(words):
    """The same command on a small budget."""
    if words[0] == "train":
        small = [] if "--resume" in words or "--init-from" in words else ["--hidden-size", "8"]
        return [*words, *small, "--workers", "1", "--max-steps", "12" if "--resume" in words else "4"]
    return words


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("corpus.txt", "more.txt", "names.txt", "held-out.txt"):
        Path(name).write_text(TEXT)
    for name in ("corpus", "fables"):
        run("train", "corpus.txt", "--run", f"runs/{name}-001", "--hidden-size", "8", "--max-steps", "4", "--quiet")


def test_there_are_commands_to_test():
    assert len(COMMANDS) >= 11
    assert {command.split()[1] for command in COMMANDS} >= {"train", "sample", "eval", "info", "runs", "bench"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs_as_written(command, texts):
    run(*quickly(shlex.split(command)[1:]))


def test_the_shell_loop_of_the_readme_runs_as_written(texts):
    (loop,) = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("for ")]
    script = f'charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}\n' + loop.replace("200", "2")
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    rows = ended.stdout.splitlines()
    assert len([row for row in rows if row.startswith("runs/")]) == 6  # its four and the two that were there


def test_the_python_example_of_the_readme_runs_as_written(texts, capsys):
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    text, loss = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert len(text) == 200
    assert 0 < float(loss) < 10


def test_ci_runs_the_test_command_of_the_readme():
    (setup,) = [line for block in blocks("sh") for line in block.splitlines() if "[dev]" in line]
    assert setup in (Path(__file__).parents[1] / ".ci" / "run").read_text()
