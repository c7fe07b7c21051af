"""Entry point of the command line: runs a command and reports an error as one line with an exit code."""

from __future__ import annotations

import difflib
import errno
import importlib
import inspect
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from charrnn import __version__
from charrnn.cli.terminal import prepare_streams, print_stderr
from charrnn.errors import CharRNNError, OutOfMemoryError, UsageError
from charrnn.system import is_closed_pipe


class Command(NamedTuple):
    """A command: the module of this package and the function that implement it, and the first line of its help."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "train": Command("train", "train", "Train a model."),
    "sample": Command("sample", "sample", "Generate text with a trained model, character by character."),
    "predict": Command("predict", "predict", "Predict the output for each line of a file with a trained model."),
    "eval": Command("evaluate", "evaluate", "Compute the loss and other metrics of a trained model on a file."),
    "view": Command("view", "view", "Show what a network computes at each character of a text."),
    "info": Command("info", "info", "Show the options, vocabulary and state of a run or a checkpoint."),
    "runs": Command("runs", "runs", "List all runs, the lowest validation loss first."),
    "bench": Command("bench", "bench", "Time training and sampling on this machine."),
    "sweep": Command("sweep", "sweep", "Search for good options by training many runs on one corpus."),
    "plot": Command("plot", "plot", "Draw the losses of runs, the trials of a sweep, or the flow of gradients."),
    "export": Command("export", "export", "Save a trained network as an ONNX file."),
    "report": Command("report", "report", "Make a web page that shows runs: curves, samples and options."),
    "page": Command("page", "page", "Make a web page that contains a model and generates text."),
}
DESCRIPTION = "Train character-level RNN, LSTM and GRU networks on the CPU, and use them."
FIRST_STEPS = "First steps: charrnn train FILE, then charrnn sample. For examples, see charrnn COMMAND --help."
HELP_FLAGS = ("-h", "--help")
OPTIONS = {
    "-h, --help": "Show this page.",
    "--version": "Show the version.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show the completion script for the current shell.",
}
COMPLETION_FLAGS = ("--install-completion", "--show-completion")
COMPLETION_VARIABLE = "_CHARRNN_COMPLETE"  # set by the completion script of a shell
WRITE_ERRORS = (errno.EIO, errno.EBADF, errno.EFBIG, errno.ENOSPC, errno.EDQUOT)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs a command and exits. An error is reported as one line on stderr; only a bug produces a traceback."""
    prepare_streams()
    # The code checks explicitly for values that are not finite, so the warnings of NumPy are not needed.
    warnings.simplefilter("ignore", RuntimeWarning)
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except CharRNNError as error:
        _fail(str(error), error.exit_code)
    except SystemExit:  # Typer raises it after --help
        code = 0
    except KeyboardInterrupt:
        code = 130
    except MemoryError:
        _fail(str(OutOfMemoryError("out of memory")), OutOfMemoryError.exit_code)
    except OSError as error:
        if not is_closed_pipe(error):
            _fail(_describe_os_error(error), 6)
        code = 0  # the reader has closed the pipe, as in `charrnn sample | head`
    _exit(code)


def _run(arguments: list[str]) -> int:
    """Runs the command line. Returns the exit code."""
    if COMPLETION_VARIABLE in os.environ or (arguments and arguments[0] in COMPLETION_FLAGS):
        return _complete(arguments)
    if not arguments or arguments[0] in HELP_FLAGS:
        print(_help_page(), end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        print(f"charrnn {__version__}")
        return 0
    if name.startswith("-"):
        raise UsageError(f"no such option: {name}", "options follow the name of a command")
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1, 0.7)
        raise UsageError(f"no such command: {name}", f"did you mean {close[0]}?" if close else "see charrnn --help")
    return _run_command(name, rest)


def _run_command(name: str, arguments: list[str]) -> int:
    """Runs one command. Only this command is imported."""
    app = _new_app(add_completion=False)
    _add_command(app, name)
    return _call_app(app, arguments, f"charrnn {name}")


def _complete(arguments: list[str]) -> int:
    """Prints completions for a shell, or installs or shows the completion script."""
    app = _new_app(add_completion=True)
    for name in COMMANDS:
        _add_command(app, name)
    try:
        return _call_app(app, arguments, "charrnn")
    except (LookupError, ValueError) as error:
        raise UsageError(f"invalid {COMPLETION_VARIABLE}, which only a completion script should set: {error}") from None


def _new_app(*, add_completion: bool) -> Any:
    import typer

    return typer.Typer(
        rich_markup_mode="rich",
        add_completion=add_completion,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": list(HELP_FLAGS)},
    )


def _add_command(app: Any, name: str) -> None:
    from charrnn.cli.parameters import for_typer

    function = load_command(name)
    app.command(name, help=help_text(function) or COMMANDS[name].summary)(for_typer(function))


def _call_app(app: Any, arguments: list[str], program: str) -> int:
    import typer

    try:
        return int(app(args=arguments, prog_name=program, standalone_mode=False) or 0)
    except typer.TyperException as error:
        raise UsageError(" ".join(error.format_message().split())) from None
    except typer.Abort:
        raise KeyboardInterrupt from None


def load_command(name: str) -> Callable[..., None]:
    """The function of a command."""
    command = COMMANDS[name]
    function: Callable[..., None] = getattr(importlib.import_module(f"charrnn.cli.{command.module}"), command.function)
    return function


def help_text(function: Callable[..., None]) -> str:
    """Returns the docstring with each paragraph joined to one line. Indented paragraphs (examples) keep their lines."""
    paragraphs = [paragraph.split("\n") for paragraph in inspect.cleandoc(function.__doc__ or "").split("\n\n")]
    return "\n\n".join(
        "\n".join(map(str.strip, lines)) if lines[0].startswith("  ") else " ".join(lines) for lines in paragraphs
    )


def _help_page() -> str:
    """Returns the page that lists all commands. It is plain text, because importing Typer and Rich takes longer."""
    width = min(80, shutil.get_terminal_size().columns)
    indent = 4 + max(map(len, COMMANDS))
    lines = ["Usage: charrnn COMMAND [OPTIONS]", "", DESCRIPTION, "", "Commands:"]
    for name, command in COMMANDS.items():
        first = f"  {name}".ljust(indent)
        lines += textwrap.wrap(command.summary, width, initial_indent=first, subsequent_indent=" " * indent)
    lines += ["", "Options:"]
    for option, text in OPTIONS.items():
        lines.append(f"  {option:22}{text}")
    return "\n".join([*lines, "", *textwrap.wrap(FIRST_STEPS, width)]) + "\n"


def _describe_os_error(error: OSError) -> str:
    if error.filename is None and error.errno in WRITE_ERRORS:
        return f"cannot write the output: {error.strerror}"
    if error.filename is None and error.errno == errno.ENOENT:
        return "the working directory no longer exists"
    return f"{error.filename or 'system error'}: {error.strerror or error}"


def _fail(message: str, code: int) -> NoReturn:
    print_stderr(f"charrnn: error: {' '.join(message.split())}")
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Exits. Output that cannot be written is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
