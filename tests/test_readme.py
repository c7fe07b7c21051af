"""The examples in the READMEs run as written, and the names that the READMEs mention exist."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.cli.app import COMMANDS, main

ROOT = Path(__file__).parents[1]
TOP = (ROOT / "README.md").read_text()
SWEEP = (ROOT / "charrnn" / "sweep" / "README.md").read_text()
CONTRIBUTORS = (ROOT / "charrnn" / "README.md").read_text()
TEXT = "The Fox and the Crow met again. The Fox said nothing. e f h o s e T F r n t.\n" * 30
MAX_LINES = 150
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "charrnn/**/*.md", "data/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def blocks(language):
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TOP + SWEEP, re.DOTALL)


(TASKS,) = (block for block in blocks("sh") if "--task" in block)
EXAMPLES = [
    line.split("  #")[0]
    for block in blocks("sh")
    if block != TASKS
    for line in block.splitlines()
    if line.startswith("charrnn ")
]


def with_small_budget(words):
    """The same command with a tiny model and few steps."""
    if words[0] == "train":
        small = [] if "--resume" in words or "--init-from" in words else ["--hidden-size", "8"]
        return [*words, *small, "--workers", "1", "--max-steps", "12" if "--resume" in words else "4"]
    if words[0] == "sweep":
        return [*words, "--max-steps", "2", "--trials", "2", "--workers", "1"]
    if words[0] == "bench":
        return [*words, "--seconds", "0.1", "--hidden-size", "8"]
    return words


def run(*words):
    with pytest.raises(SystemExit) as ending:
        main(list(words))
    assert ending.value.code == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with data/, corpus.txt and the runs corpus-001 and fables-001."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "corpus.txt").write_text(TEXT)
    with contextlib.chdir(folder):
        for name, file in (("corpus", "corpus.txt"), ("fables", "data/fables.txt")):
            run("train", file, "--run", f"runs/{name}-001", "--hidden-size", "8", "--max-steps", "4", "--quiet")
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """The test runs in a copy of this folder."""
    shutil.copytree(trained, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def test_the_readme_has_an_example_of_each_command():
    commands = {words[0] for line in [*EXAMPLES, *re.findall(r"charrnn .*", TASKS)] for words in [line.split()[1:]]}
    assert commands == set(COMMANDS)


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_runs_as_written(command, runs):
    if "--device torch" in command:
        pytest.importorskip("torch", reason="the extra `torch` is not installed")
    if "runs/corpus " in f"{command} ":  # the folder of the sweep in the example before it
        run("sweep", "corpus.txt", "--grid", "lr=0.01,0.02", "--hidden-size", "8", "--max-steps", "2", "--quiet")
    run(*with_small_budget(shlex.split(command)[1:]))


@pytest.fixture
def shell(runs, tmp_path, monkeypatch):
    """Runs a script in which `charrnn` is a command, with 2 steps instead of 200; environment variables as keywords."""
    command = tmp_path / "bin" / "charrnn"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m charrnn "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)

    def run(script, **variables):
        command = ["bash", "-e", "-c", script.replace("200", "2")]
        return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True).stdout

    return run


def test_the_examples_of_all_tasks_run_as_written(shell):
    out = shell(TASKS.replace("--max-minutes 1", "--max-steps 4 --hidden-size 8"))
    assert "rmse" in out
    assert len(out.splitlines()) > 900


@pytest.mark.slow
def test_the_chapter_in_ten_commands_runs_as_written(shell):
    pytest.importorskip("plotext", reason="the extra `plot` is not installed")
    chapter = (
        (ROOT / "charrnn" / "nn" / "README.md").read_text().partition("in ten commands\n")[2].partition("\n## ")[0]
    )
    commands = re.findall(r"^ {7,}(.*charrnn .*)$", chapter, re.MULTILINE)
    assert len(commands) == 10
    small = re.sub(r"--max-minutes 0.5|--max-steps 300", "--max-steps 4 --hidden-size 8", "\n".join(commands))
    out = shell(small)
    assert "k = 91" in out
    assert {path.name for path in Path("runs").iterdir()} > {"hello", "recall-lstm", "recall-rnn", "season"}


def recipe(beginning):
    """The line of a shell block that begins like this."""
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(beginning)]
    return line


def test_the_shell_loop_runs_as_written(shell):
    rows = shell(recipe("for ")).splitlines()
    assert len([row for row in rows if row.startswith("runs/")]) == 6  # four new runs and the two of the fixture


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed (apt install parallel)")
def test_the_recipe_for_gnu_parallel_runs_as_written(shell):
    shell(recipe("parallel "))
    names = {f"runs/{cell}-{rate}" for cell in ("lstm", "gru") for rate in ("0.003", "0.01")}
    assert all(Path(name, "result.json").exists() for name in names)


def test_the_recipe_for_slurm_runs_as_written_also_when_a_job_is_queued_again(shell):
    (script,) = blocks("bash")
    for number in (0, 1, 2, 3, 4, 5, 5):
        shell(script, SLURM_ARRAY_TASK_ID=str(number), SLURM_CPUS_PER_TASK="1")
    names = {path.parent.name for path in Path("runs").glob("*-[12]*/result.json")}
    assert names == {f"{cell}-{size}" for cell in ("lstm", "gru", "rnn") for size in (128, 256)}


def test_the_python_example_runs_as_written(runs, capsys):
    (example,) = blocks("python")
    variables = {}
    exec(compile(example, "README.md", "exec"), variables)
    text, answers = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert len(text) == 200
    assert answers.startswith("[{'label': ")


def test_the_top_readme_is_short_and_has_an_index():
    assert len(TOP.splitlines()) <= MAX_LINES
    titles = re.findall(r"^## (.*)", TOP, re.MULTILINE)
    anchors = [title.lower().replace(" ", "-") for title in titles]
    assert re.findall(r"\]\(#(.*?)\)", TOP) == anchors


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_that_exist(name):
    page = ROOT / name
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), target


def test_files_and_folders_named_for_contributors_exist():
    """A name without a folder, such as `gru.py`, can be in any folder of the package."""
    names = set(re.findall(r"`([\w/]+\.(?:py|js|md)|[\w/]+/)`", CONTRIBUTORS))
    assert len(names) > 50
    places = (ROOT, ROOT / "charrnn", *(path for path in (ROOT / "charrnn").rglob("*") if path.is_dir()))
    assert {name for name in names if not any((place / name).exists() for place in places)} == set()


def test_functions_and_classes_named_for_contributors_exist():
    source = "\n".join(path.read_text() for path in (ROOT / "charrnn").rglob("*.py"))
    names = {name.rsplit(".")[-1] for name in re.findall(r"`([\w.]+)\(", CONTRIBUTORS)}
    names |= set(re.findall(r"`([A-Z]\w*[a-z]\w*)`", CONTRIBUTORS))
    assert len(names) > 40
    assert {name for name in names if not re.search(rf"(def|class) {name}\b", source)} == set()


def test_ci_runs_the_test_command_of_the_readme():
    (setup,) = [line for block in blocks("sh") for line in block.splitlines() if "[dev]" in line]
    assert setup in (ROOT / ".ci" / "run").read_text()
