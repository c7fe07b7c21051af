"""The program itself: help, imports, options, pipes and standard streams."""

import json
import os
import re
import subprocess
import sys

import pytest

from charrnn.cli import reference
from charrnn.cli.app import COMMANDS

from .conftest import command, error_cases

IMPORTED = """if True:
    import atexit, sys
    atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
    from charrnn.cli.app import main
    main(sys.argv[1:])
"""
DRAWING = {"typer.rich_utils", "rich", "tqdm", "optuna", "matplotlib"}


def imported_modules(*arguments):
    """The modules that a command has imported when it ends."""
    ended = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    return set(ended.stderr.splitlines()[-1].split())


def test_the_list_of_commands_imports_no_command_and_no_large_library():
    modules = imported_modules("--help")
    assert not modules & {*DRAWING, "typer", "numpy"}
    assert {name for name in modules if name.startswith("charrnn.")} == {
        *("charrnn.cli", "charrnn.cli.app", "charrnn.cli.terminal", "charrnn.errors", "charrnn.system")
    }


def test_a_command_imports_only_what_it_needs(trained):
    modules = imported_modules("sample", "--run", str(trained), "--length", "3")
    assert not modules & DRAWING
    assert not {name for name in modules if re.match(r"charrnn\.(training|sweep|plots|analysis|web)\b", name)}
    of_cli = {name.removeprefix("charrnn.cli.") for name in modules if name.startswith("charrnn.cli.")}
    assert of_cli == {"app", "arguments", "parameters", "sample", "terminal"}


def test_without_a_command_the_list_of_commands_is_shown(charrnn):
    outcome = charrnn()
    assert (outcome.code, outcome.out, outcome.err) == (2, charrnn("--help").out, "")


def test_the_version_is_printed(charrnn):
    assert re.fullmatch(r"charrnn \d+\.\d+\.\d+\n", charrnn("--version").out)


def test_the_reference_is_up_to_date():
    text = reference.README.read_text(encoding="utf-8")
    assert text == reference.update(text), "run python -m charrnn.cli.reference"
    assert [match[1] for match in reference.GENERATED.finditer(text) if match[1] in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_page_has_the_summary_of_the_command_and_the_options_of_the_reference(charrnn, name):
    text = reference.README.read_text(encoding="utf-8")
    section = text.partition(f"<!-- generated: {name} -->")[2].partition("<!-- end -->")[0]
    page = charrnn(name, "--help").out
    for shown in (page, charrnn("--help").out):
        assert COMMANDS[name].summary in " ".join(shown.split())
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", page))
    for names in re.findall(r"^\| (`-.*?`) |options as for `train`: (.*)", section, re.MULTILINE):
        assert set(re.findall(r"`(-[\w-]+)`", "".join(names))) <= options


@error_cases(
    ("paint", 2, "no such command: paint", "charrnn --help"),
    ("trian", 2, "no such command: trian", "did you mean train?"),
    ("--colour train", 2, "no such option: --colour"),
    ("sample --length -7", 2, "--length -7", "at least 0"),
    ("sample --num-samples 0", 2, "--num-samples 0", "at least 1"),
    ("sample --no-repeat-ngram 1", 2, "--no-repeat-ngram 1", "at least 2"),
    ("sample --seed -7", 2, "--seed -7", "at least 0"),
    ("eval c.txt --per-line --per-char", 2, "--per-line", "--per-char", "cannot be used together"),
    ("eval c.txt --run r --model m", 2, "--run", "--model", "cannot be used together"),
    ("sample --run r --model m", 2, "--run", "--model", "cannot be used together"),
    ("sample --prime a --prime-file b", 2, "--prime", "--prime-file", "cannot be used together"),
    ("runs --json --csv", 2, "--json", "--csv", "cannot be used together"),
    ("runs --columns cell --group-by cell", 2, "--columns", "--group-by", "cannot be used together"),
    ("train c.txt --val-file v --val-fraction 0.2", 2, "--val-file", "--val-fraction", "cannot be used together"),
    ("train c.txt --bytes --encoding latin-1", 2, "--bytes", "--encoding", "cannot be used together"),
    ("train --resume r --run s", 2, "--resume", "--run", "cannot be used together"),
    ("train --resume r --init-from s", 2, "--resume", "--init-from", "cannot be used together"),
    ("train c.txt --init-from m --cell gru", 2, "--cell", "--init-from", "cannot be used together", "architecture"),
    ("train c.txt --init-from m --hidden-size 4", 2, "--hidden-size", "--init-from", "cannot be used together"),
    ("train c.txt --init-from m --num-layers 2", 2, "--num-layers", "--init-from", "cannot be used together"),
    ("train c.txt --init-from m --embedding-size 3", 2, "--embedding-size", "--init-from", "cannot be used together"),
    ("train c.txt --hidden-size big", 2, "--hidden-size big", "whole number"),
    ("train c.txt --dropout half", 2, "--dropout half", "number"),
    ("train", 2, "no corpus", "charrnn train FILE"),
)
def test_a_usage_error_is_one_line_that_names_the_options(charrnn, arguments, code, facts):
    charrnn(*arguments).fails(code, *facts)


@error_cases(
    ("train c.txt --colour red", 2, "No such option: --colour"),
    ("train c.txt --hidden-size", 2, "'--hidden-size' requires an argument"),
    ("info a b", 2, "unexpected extra argument"),
)
def test_an_error_of_the_parser_is_one_line_that_names_the_option(charrnn, arguments, code, facts):
    charrnn(*arguments).fails(code, *facts, is_pinned=False)  # the wording is Typer's


@pytest.mark.parametrize(
    "arguments",
    [["sample", "--run", "RUN"], ["info", "RUN"], ["runs", "ROOT", "--csv"], ["eval", "corpus.txt", "--run", "RUN"]],
    ids=lambda arguments: arguments[0],
)
def test_a_full_standard_output_is_an_error(process, corpus, trained, arguments):
    paths = {"RUN": trained, "ROOT": trained.parent}
    with open("/dev/full", "wb") as full:
        outcome = process(*(paths.get(word, word) for word in arguments), stdout=full)
    outcome.fails(6, "cannot write the output", "No space left on device")


@pytest.mark.parametrize("length", ["0", "100000"])
def test_a_reader_that_ends_early_is_no_error(trained, length):
    script = 'set -o pipefail; "$0" -m charrnn sample --run "$1" -n "$2" | head -c 10; exit ${PIPESTATUS[0]}'
    words = ["bash", "-c", script, sys.executable, str(trained), length]
    ended = subprocess.run(words, capture_output=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr, len(ended.stdout)) == (0, b"", 10)


def test_commands_can_be_connected_by_pipes(corpus, trained):
    script = f"""
    set -eo pipefail
    charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}
    cat corpus.txt | charrnn train - --hidden-size 8 --max-steps 2 --json --quiet | head -c 8
    charrnn sample --run "{trained}" -n 40 --hide-prime | charrnn eval - --run "{trained}" --json
    """
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    first, _, second = ended.stdout.partition("{")[2].partition("{")
    assert (first[:7], ended.stderr) == ('"run": ', "")
    assert json.loads("{" + second)["chars"] == 41


def test_a_shell_can_complete_commands_and_options(tmp_path):
    def complete(line, word):
        variables = {"_CHARRNN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
        ended = subprocess.run(command(), env=os.environ | variables, capture_output=True, text=True, check=True)
        return ended.stdout.split()

    assert complete("charrnn sa", 1) == ["sample"]
    assert complete("charrnn sample --temp", 2) == ["--temperature"]
    for run in ("runs/fox-001", "runs/fox-002", "runs/hen", "fox-here"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.json").touch()
    assert complete("charrnn sample fo", 2) == ["fox-001", "fox-002", "fox-here"]
    assert complete("charrnn train --resume runs/fox", 3) == ["runs/fox-001", "runs/fox-002"]


def test_commands_work_without_docstrings(process, monkeypatch):
    """PYTHONOPTIMIZE=2 removes them."""
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert process("runs").code == 0
    outcome = process("plot", "--help")
    assert "Draw the losses of runs" in " ".join(outcome.out.split())
