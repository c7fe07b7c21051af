"""The application: its commands, and the one boundary where errors become a line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from charrnn import __version__
from charrnn.cli.terminal import mend_streams, say
from charrnn.errors import CharRNNError, OutOfMemoryError, UsageError

# Name: the function, by its module, and what the list of commands says of it. Only the command that is asked for is
# imported.
COMMANDS = {
    "train": ("train:train", "Train a model on text files."),
    "sample": ("sample:sample", "Write text with a trained model, character by character."),
    "predict": ("predict:predict", "What a trained model says of new inputs: a line in, a line out, at once."),
    "eval": ("evaluate:evaluate", "What a text or records cost under a trained model, and how often it is right."),
    "view": ("view:view", "A text, character by character, coloured by what the network makes of it."),
    "info": ("info:info", "What a run or a checkpoint file is: settings, vocabulary, state."),
    "runs": ("runs:runs", "A table of all runs, the best validation loss first."),
    "bench": ("bench:bench", "Time training and sampling of a configuration on this machine."),
    "sweep": ("sweep:sweep", "Search for good options: many runs on one corpus."),
    "plot": ("plot:plot", "Draw the losses of runs or of a sweep's trials, or how far gradients reach back."),
    "export": ("export:export", "Write a trained network as an ONNX file, for programs in any language."),
    "page": ("page:page", "Make a web page that holds a model: it writes, with no network and no server."),
}
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class Commands(typer.core.TyperGroup):
    """The commands, each imported when it is asked for. Their list is plain text: what Typer imports to draw a page
    takes longer than all of ours."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"rich_markup_mode": None})

    def list_commands(self, context: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:
        if name not in COMMANDS:
            if close := difflib.get_close_matches(name, COMMANDS, 1, 0.7):
                raise UsageError(f"no such command: {name}", f"did you mean {close[0]}?")
            return None
        module, function = COMMANDS[name][0].split(":")
        command = getattr(importlib.import_module(f"charrnn.cli.{module}"), function)
        alone = typer.Typer(rich_markup_mode="rich", add_completion=False, context_settings=CONTEXT)
        alone.command(name)(command)
        return _explained(typer.main.get_command(alone))

    def format_commands(self, context: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _explained(command: Any) -> Any:
    """The command with its help page made even: examples keep their lines, other paragraphs fill the page; a default in
    words needs no parentheses, a flag has no type."""
    parts = (part.splitlines() for part in command.help.split("\n\n"))
    command.help = "\n\n".join(
        "\n".join(map(str.strip, lines)) if lines[0].startswith("  ") else " ".join(lines) for lines in parts
    )
    for parameter in command.get_params(
        typer.Context(command, **CONTEXT)
    ):  # the option --help among them, which it keeps
        if isinstance(parameter.show_default, str):
            parameter.help += f" [dim]\\[default: {parameter.show_default}][/dim]"
            parameter.show_default = False
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif getattr(parameter, "multiple", False):
            parameter.metavar = "<str>"
        elif (kind := parameter.type.name).endswith(" range"):
            parameter.metavar = f"<{kind.removesuffix(' range')}>"
    return command


app = typer.Typer(
    name="charrnn",
    cls=Commands,
    help="Train character-level RNN, LSTM and GRU language models on the CPU, and sample text from them.",
    epilog="First steps: charrnn train FILE, then charrnn sample. Each command's --help has examples.",
    rich_markup_mode="rich",
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs a command and exits with its code: an error is one line on stderr; only a bug shows a traceback."""
    mend_streams()
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's: what is not finite is noticed where it matters
    try:
        code: Any = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except CharRNNError as error:
        _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        _fail(error.format_message(), 2)
    except (BrokenPipeError, SystemExit):
        code = 0  # `charrnn sample | head`: the reader has seen enough, which Typer turns into an exit of its own
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except MemoryError:
        _fail(str(OutOfMemoryError("out of memory")), 6)
    except OSError as error:  # what no room has an answer to: the system refuses
        _fail(_refusal(error), 6)
    except (LookupError, ValueError) as error:
        if COMPLETION not in os.environ:
            raise
        _fail(f"{COMPLETION} is for a shell's completion, which sets more than that: {error}", 2)
    _leave(int(code or 0))


COMPLETION = "_CHARRNN_COMPLETE"
UNWRITABLE = (5, 9, 27, 28, 122)  # EIO, EBADF, EFBIG, ENOSPC, EDQUOT


def _refusal(error: OSError) -> str:
    if error.filename is None and error.errno in UNWRITABLE:
        return f"cannot write the output: {error.strerror}"
    if error.filename is None and error.errno == 2:
        return "the working directory is not there any more"
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def _fail(message: str, code: int) -> NoReturn:
    say(f"charrnn: error: {' '.join(message.split())}")
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exits; what cannot be flushed any more is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
