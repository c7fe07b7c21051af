"""The READMEs are run: every charrnn command in them, the shell recipes, the Python example."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.cli.app import main

ROOT = Path(__file__).parents[1]
TOP = (ROOT / "README.md").read_text()
README = TOP + (ROOT / "charrnn" / "sweep" / "README.md").read_text()
TEXT = "The Fox and the Crow met again. The Fox said nothing. e f h o s e T F r n t.\n" * 30


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


(TASKS,) = (block for block in blocks("sh") if "--task" in block)
COMMANDS = [
    line.split("  #")[0]
    for block in blocks("sh")
    if block != TASKS
    for line in block.splitlines()
    if line.startswith("charrnn ")
]


def quickly(words):
    """The same command on a small budget."""
    if words[0] == "train":
        small = [] if "--resume" in words or "--init-from" in words else ["--hidden-size", "8"]
        return [*words, *small, "--workers", "1", "--max-steps", "12" if "--resume" in words else "4"]
    if words[0] == "sweep":
        return [*words, "--max-steps", "2", "--trials", "2", "--workers", "1"]
    if words[0] == "bench":
        return [*words, "--seconds", "0.5"]
    return words


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(ROOT / "data")
    Path("corpus.txt").write_text(TEXT)
    for name, file in (("corpus", "corpus.txt"), ("fables", "data/fables.txt")):
        run("train", file, "--run", f"runs/{name}-001", "--hidden-size", "8", "--max-steps", "4", "--quiet")


def test_there_are_commands_to_test():
    assert len(COMMANDS) >= 11
    assert {command.split()[1] for command in COMMANDS} >= {
        *("train", "sample", "eval", "info", "runs", "bench", "sweep", "plot", "view", "page", "export")
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs_as_written(command, texts):
    if "--device torch" in command:
        pytest.importorskip("torch", reason="the extra `torch` is not installed")
    if "runs/corpus " in f"{command} ":  # the folder of the sweep above it
        run("sweep", "corpus.txt", "--grid", "lr=0.01,0.02", "--hidden-size", "8", "--max-steps", "2", "--quiet")
    run(*quickly(shlex.split(command)[1:]))


@pytest.fixture
def shell(texts, tmp_path, monkeypatch):
    """Runs a recipe, with 2 steps for 200, where `charrnn` is a command; environment variables as keywords."""
    command = tmp_path / "bin" / "charrnn"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m charrnn "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)

    def run(script, **variables):
        command = ["bash", "-e", "-c", script.replace("200", "2")]
        return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True).stdout

    return run


def test_the_tasks_of_the_readme_run_as_written_one_after_the_other(shell):
    out = shell(TASKS.replace("--max-minutes 1", "--max-steps 4 --hidden-size 8"))
    assert "rmse" in out and len(out.splitlines()) > 900


def recipe(beginning):
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(beginning)]
    return line


def test_the_shell_loop_of_the_readme_runs_as_written(shell):
    rows = shell(recipe("for ")).splitlines()
    assert len([row for row in rows if row.startswith("runs/")]) == 6  # its four and the two that were there


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed (apt install parallel)")
def test_the_recipe_for_gnu_parallel_runs_as_written(shell):
    shell(recipe("parallel "))
    runs = {f"runs/{cell}-{rate}" for cell in ("lstm", "gru") for rate in ("0.003", "0.01")}
    assert all(Path(run, "result.json").exists() for run in runs)


def test_the_recipe_for_slurm_runs_as_written_and_again(shell):
    (script,) = blocks("bash")
    for number in range(6):
        for _ in range(1 + (number == 5)):  # the last one is queued again
            shell(script, SLURM_ARRAY_TASK_ID=str(number), SLURM_CPUS_PER_TASK="1")
    found = {path.parent.name for path in Path("runs").glob("*-[12]*/result.json")}
    assert found == {f"{cell}-{size}" for cell in ("lstm", "gru", "rnn") for size in (128, 256)}


def test_the_python_example_of_the_readme_runs_as_written(texts, capsys):
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    text, loss = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert len(text) == 200
    assert 0 < float(loss) < 10


def test_the_top_readme_is_short_and_its_links_lead_somewhere():
    assert len(TOP.splitlines()) <= 150
    for page in ROOT.rglob("README.md"):
        if ".venv" not in page.parts:
            for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_ci_runs_the_test_command_of_the_readme():
    (setup,) = [line for block in blocks("sh") for line in block.splitlines() if "[dev]" in line]
    assert setup in (ROOT / ".ci" / "run").read_text()
