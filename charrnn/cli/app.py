"""The application: its commands, and the one boundary where errors become a line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from charrnn import __version__
from charrnn.cli.bench import bench
from charrnn.cli.evaluate import evaluate
from charrnn.cli.inspect import info, runs
from charrnn.cli.plot import plot
from charrnn.cli.sample import sample
from charrnn.cli.sweep import sweep
from charrnn.cli.train import train
from charrnn.errors import CharRNNError


class Overview(typer.core.TyperGroup):
    """The list of the commands as plain text: what Typer imports to draw a page takes longer than all of ours."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"rich_markup_mode": None})


app = typer.Typer(
    name="charrnn",
    cls=Overview,
    help="Train character-level RNN, LSTM and GRU language models on the CPU, and sample text from them.",
    epilog="First steps: charrnn train FILE, then charrnn sample. Each command's --help has examples.",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(sample)
app.command("eval")(evaluate)
app.command()(info)
app.command()(runs)
app.command()(bench)
app.command()(sweep)
app.command()(plot)


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
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        code: Any = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except CharRNNError as error:
        _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        _fail(error.format_message() + _input(error), 2)
    except (BrokenPipeError, SystemExit):
        code = 0  # `charrnn sample | head`: the reader has seen enough, which Typer turns into an exit of its own
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            _fail(f"cannot write the output: {error.strerror}", 6)
        raise
    _leave(int(code or 0))


_NO_ROOM = (5, 28, 122)  # EIO, ENOSPC, EDQUOT


def _input(error: typer.TyperException) -> str:
    """The value that could not be parsed, where Typer knows it."""
    details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    return f", not {details[0]['input']!r}" if details else ""


def _fail(message: str, code: int) -> NoReturn:
    line = " ".join(message.split())
    print(f"charrnn: error: {line}", file=sys.stderr)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exits; what cannot be flushed any more is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
