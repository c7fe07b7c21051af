"""Updates the generated parts of README.md, the reference of the command line: `python -m charrnn.cli.reference`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from charrnn.cli.app import COMMANDS, help_text, load_command
from charrnn.cli.parameters import Parameter, command_parameters
from charrnn.runs.reports import Metrics, Result

README = Path(__file__).with_name("README.md")
GENERATED = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", re.DOTALL)
TRAIN_PANELS = ("Model", "Data", "Training")  # for other commands than `train`, only the names are listed
FIELDS = {"metrics": Metrics.names(), "result": Result.names()}


def update(text: str) -> str:
    """Returns the text with all generated parts regenerated."""
    return GENERATED.sub(lambda match: f"<!-- generated: {match[1]} -->\n{_generate(match[1])}\n<!-- end -->", text)


def _generate(name: str) -> str:
    """The generated part with a given name, which is a command or a key of FIELDS."""
    if name in COMMANDS:
        return "\n\n".join(_command_blocks(name))
    return ", ".join(f"`{field}`" for field in FIELDS[name])


def _command_blocks(name: str) -> Iterator[str]:
    """Usage, help and options of a command."""
    function = load_command(name)
    parameters = command_parameters(function)
    usage = [f"charrnn {name} [OPTIONS]", *(_usage(parameter) for parameter in parameters if parameter.is_argument)]
    yield _code_block(" ".join(usage))
    for paragraph in help_text(function).split("\n\n"):
        if paragraph.startswith("[bold]"):
            continue
        is_example = "charrnn " in paragraph.partition("\n")[0]
        yield _code_block(paragraph) if is_example else _escape(paragraph)
    panels: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        panel = "Arguments" if parameter.is_argument else parameter.info.rich_help_panel or "Options"
        panels.setdefault(panel, []).append(parameter)
    for panel, members in panels.items():
        if panel in TRAIN_PANELS and name != "train":
            yield f"{panel} options as for `train`: {', '.join(_names(member) for member in members)}"
        else:
            yield "\n".join([f"| {panel} | | default |", "|---|---|---|", *map(_table_row, members)])


def _code_block(text: str) -> str:
    return f"```sh\n{text}\n```"


def _usage(argument: Parameter) -> str:
    name = argument.value_name + ("..." if argument.is_list else "")
    return name if argument.is_required else f"[{name}]"


def _names(parameter: Parameter) -> str:
    return ", ".join(f"`{name}`" for name in parameter.flags or [parameter.value_name])


def _table_row(parameter: Parameter) -> str:
    names = _names(parameter)
    if parameter.value_name and not parameter.is_argument:
        names += f" `{parameter.value_name}`"
    return f"| {names} | {_escape(parameter.info.help)} | {_escape(parameter.default_text)} |"


def _escape(text: str) -> str:
    """The text as Markdown. Names of options become code."""
    text = text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"`\g<0>`", text)


if __name__ == "__main__":
    README.write_text(update(README.read_text(encoding="utf-8")), encoding="utf-8")
